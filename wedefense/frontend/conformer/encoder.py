"""The Conformer (Gulati et al., Interspeech 2020) as NeMo builds it, under NeMo's parameter names."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.conformer.mel import LogMel
from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.utils.devices import numbers_on


class FeedForward(nn.Module):
    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        self.linear1 = nn.Linear(architecture.dim, architecture.ff_dim, bias=architecture.bias)
        self.linear2 = nn.Linear(architecture.ff_dim, architecture.dim, bias=architecture.bias)
        self.dropout = nn.Dropout(architecture.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.silu(self.linear1(x))))


class Convolution(nn.Module):
    """A gated product, a depthwise convolution over time, a norm, a product."""

    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        dim, bias = architecture.dim, architecture.bias
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=bias)
        self.depthwise_conv = nn.Conv1d(dim, dim, architecture.kernel, padding=architecture.kernel // 2, groups=dim,
                                        bias=bias)
        self.over_time = architecture.conv_norm == "batch_norm"
        self.batch_norm = nn.BatchNorm1d(dim) if self.over_time else nn.LayerNorm(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, frames, dim), mask (batch, frames) -> (batch, frames, dim)"""
        x = F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1) * mask[:, None]  # (batch, dim, frames)
        x = self.depthwise_conv(x)
        x = self.batch_norm(x) if self.over_time else self.batch_norm(x.transpose(1, 2)).transpose(1, 2)
        return self.pointwise_conv2(F.silu(x)).transpose(1, 2)


class RelativeAttention(nn.Module):
    """Attention with the relative positions of Transformer-XL (Dai et al., ACL 2019, section 3.3)."""

    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        dim, bias = architecture.dim, architecture.bias
        self.heads, self.dropout = architecture.heads, architecture.dropout_attention
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(dim, dim, bias=bias) for _ in range(4))
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(self.heads, dim // self.heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(self.heads, dim // self.heads))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """x (batch, frames, dim), positions (2 * frames - 1, dim), mask (batch, frames) -> (batch, frames, dim)"""
        query, key, value = (self._split(linear(x)) for linear in (self.linear_q, self.linear_k, self.linear_v))
        place = self._split(self.linear_pos(positions)[None])                    # (1, heads, 2 * frames - 1, head_dim)
        by_place = (query + self.pos_bias_v[:, None]) @ place.transpose(2, 3)    # from the farthest before on
        bias = _shifted(by_place) / math.sqrt(query.shape[3])                    # (batch, heads, frames, frames)
        bias = bias.masked_fill(~mask[:, None, None], float("-inf"))
        x = F.scaled_dot_product_attention((query + self.pos_bias_u[:, None]).to(value.dtype), key, value,
                                           bias.to(value.dtype), self.dropout if self.training else 0.0)
        return self.linear_out(x.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)                  # (batch, heads, frames, head_dim)


def _shifted(scores: Tensor) -> Tensor:
    """(..., frames, 2 * frames - 1) by distance -> (..., frames, frames) by frame: row i from column frames - 1 - i."""
    frames = scores.shape[2]
    index = torch.arange(frames, device=scores.device)
    index = (frames - 1 - index)[:, None] + index                                # (frames, frames)
    return scores.gather(3, index.expand(*scores.shape[:2], -1, -1))


class Block(nn.Module):
    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        dim = architecture.dim
        self.norm_feed_forward1, self.feed_forward1 = nn.LayerNorm(dim), FeedForward(architecture)
        self.norm_self_att, self.self_attn = nn.LayerNorm(dim), RelativeAttention(architecture)
        self.norm_conv, self.conv = nn.LayerNorm(dim), Convolution(architecture)
        self.norm_feed_forward2, self.feed_forward2 = nn.LayerNorm(dim), FeedForward(architecture)
        self.norm_out = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(architecture.dropout)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.feed_forward1(self.norm_feed_forward1(x))) / 2
        x = x + self.dropout(self.self_attn(self.norm_self_att(x), positions, mask))
        x = x + self.dropout(self.conv(self.norm_conv(x), mask))
        x = x + self.dropout(self.feed_forward2(self.norm_feed_forward2(x))) / 2
        return self.norm_out(x)


class Shortening(nn.Module):
    """Convolutions of stride 2 over time and bands, then a product: (batch, frames, bands) -> fewer frames of dim."""

    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        channels, bands, layers = architecture.shortening_channels, architecture.mel_bins, []
        for number in range(architecture.shorter.bit_length() - 1):
            before = channels if number else 1
            deep = number and architecture.shortening == "dw_striding"
            layers.append(nn.Conv2d(before, channels, 3, stride=2, padding=1, groups=before if deep else 1))
            layers += [nn.Conv2d(channels, channels, 1)] if deep else []
            layers.append(nn.ReLU())
            bands = (bands + 1) // 2
        self.conv = nn.Sequential(*layers)
        self.out = nn.Linear(channels * bands, architecture.dim)

    def forward(self, x: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        x = x[:, None]                                                           # (batch, 1, frames, bands)
        for layer in self.conv:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                counts = [-(-count // layer.stride[0]) for count in counts]      # biases are in what is padded too
                x = x * frame_mask(numbers_on(tuple(counts), x.device), x.shape[2])[:, None, :, None]
        return self.out(x.transpose(1, 2).flatten(2)), counts


def relative_positions(frames: int, dim: int, device: torch.device) -> Tensor:
    """(2 * frames - 1, dim) sinusoids of the distances frames - 1, ..., 1 - frames."""
    distance = torch.arange(frames - 1, -frames, -1, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=device, dtype=torch.float32) * -(math.log(10000.0) / dim))
    return torch.stack([(distance * rate).sin(), (distance * rate).cos()], dim=2).flatten(1)


class ConformerEncoder(nn.Module):
    """`forward(wav, lengths)` gives N+1 layers: the input of the first block, then the output of every block.

    An utterance alone and in any padded batch gets the same features in evaluation.
    """

    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        self.architecture = architecture
        self.featurizer = LogMel(architecture)
        self.pre_encode = Shortening(architecture)
        self.layers = nn.ModuleList(Block(architecture) for _ in range(architecture.num_blocks))
        self.scale = math.sqrt(architecture.dim) if architecture.scaled_input else 1.0
        self.dropout = nn.Dropout(architecture.dropout_input)
        self.depth = architecture.num_blocks  # how many blocks run

    def stop_after(self, layer: int) -> None:
        """Run no further than `layer` (0: the input of the first block); what follows is frozen."""
        self.depth = layer
        self.layers[layer:].requires_grad_(False)

    def forward(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        """wav (batch, samples), lengths on the host -> N+1 layers (batch, frames, dim)"""
        with torch.no_grad():
            mel, counts = self.featurizer(wav, on_host(lengths))
        x, counts = self.pre_encode(mel, counts)                                 # (batch, frames, dim)
        lengths = numbers_on(tuple(counts), x.device)
        mask = frame_mask(lengths, x.shape[1])
        positions = relative_positions(x.shape[1], x.shape[2], x.device)
        layers = [self.dropout(x * self.scale)]
        for block in self.layers[:self.depth]:
            layers.append(block(layers[-1], positions, mask))
        return LayerFeatures([layer * mask[..., None] for layer in layers], lengths, counts)
