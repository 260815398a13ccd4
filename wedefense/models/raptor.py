"""RAPTOR: gates of all layers from their attentive means over time, and a Conformer with a class token.

Kulkarni et al., 2026, arXiv 2603.06164 (DF-Arena's 500M and 1B). The Conformer is that of TCM (Truong et al.,
Interspeech 2024): in each block tokens of the heads join the sequence (Head Token attention, arXiv 2210.05958), and
the class token takes their mean and that of the frames. Parameter names are those of the released checkpoints.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import RAPTOROptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.backend import AttentionShares, check_inputs
from wedefense.models.pooling import masked_softmax


class PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:
        return self.fn(self.norm(x), *mask)


class Halved(nn.Module):
    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) / 2


class FeedForward(nn.Module):
    def __init__(self, dim: int, mult: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, mult * dim), nn.SiLU(), nn.Dropout(0.0), nn.Linear(mult * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class HeadTokenAttention(nn.Module):
    """Self-attention with a token of each head; x is (batch, tokens, dim), the first of them the class token."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.ht_proj = nn.Linear(self.head_dim, dim)
        self.ht_norm = nn.LayerNorm(self.head_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, heads, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        count = x.shape[1]
        x = torch.cat([x, self._head_tokens(x, mask)], dim=1)               # (batch, tokens + heads, dim)
        seen = torch.cat([mask, mask.new_ones(mask.shape[0], self.heads)], dim=1)
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        x = self.proj(x.transpose(1, 2).flatten(2))
        token, frames, heads = x[:, :1], x[:, 1:count], x[:, count:]
        token = token + heads.mean(dim=1, keepdim=True) + _mean(frames, mask[:, 1:])
        return torch.cat([token, frames], dim=1)

    def _head_tokens(self, x: Tensor, mask: Tensor) -> Tensor:
        """The mean of each head's part of all tokens -> (batch, heads, dim)"""
        parts = _mean(x, mask).unflatten(2, (self.heads, self.head_dim))[:, 0]      # (batch, heads, head_dim)
        parts = self.ht_proj(parts).unflatten(2, (self.heads, self.head_dim))       # (batch, heads, heads, head_dim)
        return F.gelu(self.ht_norm(parts)).flatten(2) + self.pos_embed


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """(batch, time, dim) -> (batch, 1, dim)"""
    mask = mask[..., None]
    return (x * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)


class DepthwiseConv(nn.Module):
    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.padding = kernel // 2, kernel // 2 - (kernel + 1) % 2
        self.conv = nn.Conv1d(channels, channels, kernel, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class Convolution(nn.Module):
    """The places of `net` that hold nothing keep the released numbering."""

    def __init__(self, dim: int, expansion: int, kernel: int):
        super().__init__()
        wide = expansion * dim
        self.net = nn.Sequential(nn.LayerNorm(dim), nn.Identity(), nn.Conv1d(dim, 2 * wide, 1), nn.GLU(dim=1),
                                 DepthwiseConv(wide, kernel), nn.BatchNorm1d(wide), nn.SiLU(), nn.Conv1d(wide, dim, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        norm, _, widen, gate, *rest = self.net
        x = gate(widen(norm(x).transpose(1, 2))) * mask[:, None]                    # (batch, wide, tokens)
        for layer in rest:
            x = layer(x)
        return x.transpose(1, 2)


class Block(nn.Module):
    def __init__(self, options: RAPTOROptions, dim: int):
        super().__init__()
        self.ff1 = Halved(PreNorm(dim, FeedForward(dim, options.ff_mult)))
        self.attn = PreNorm(dim, HeadTokenAttention(dim, options.heads))
        self.conv = Convolution(dim, options.conv_expansion, options.kernel_size)
        self.ff2 = Halved(PreNorm(dim, FeedForward(dim, options.ff_mult)))
        self.post_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.ff1(x)
        x = x + self.attn(x, mask)
        x = x + self.conv(x, mask)
        x = x + self.ff2(x)
        return self.post_norm(x)


class TokenConformer(nn.Module):
    """Frames with sinusoidal positions, the class token before them; what the blocks leave of the token comes out."""

    def __init__(self, options: RAPTOROptions, dim: int):
        super().__init__()
        self.encoder_blocks = nn.ModuleList(Block(options, dim) for _ in range(options.num_blocks))
        self.class_token = nn.Parameter(torch.rand(1, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + positions(x.shape[1], x.shape[2], x.device)
        x = torch.cat([self.class_token.expand(x.shape[0], 1, -1), x], dim=1)       # (batch, 1 + frames, dim)
        mask = torch.cat([mask.new_ones(mask.shape[0], 1), mask], dim=1)
        for block in self.encoder_blocks:
            x = block(x, mask)
        return x[:, 0]


def positions(frames: int, dim: int, device: torch.device | None = None) -> Tensor:
    """(frames, dim): sines at even places, cosines at odd ones, of wavelengths from 2 pi to 20,000 pi."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device, dtype=torch.float64) * (-math.log(10000.0) / dim))
    angles = (torch.arange(frames, device=device)[:, None] * rates).float()
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim]


class RAPTOR(nn.Module):
    min_frames = 1
    has_boundaries = False

    def __init__(self, options: RAPTOROptions, feat_dim: int, num_layers: int):
        super().__init__()
        check_inputs(options, feat_dim, num_layers)
        dim = -(-feat_dim // (2 * options.heads)) * 2 * options.heads
        self.fit = nn.Linear(feat_dim, dim) if dim != feat_dim else nn.Identity()
        self.embed_dim = dim if options.embed_dim == -1 else options.embed_dim
        self.attn_scores = nn.Linear(feat_dim, 1, bias=False)
        self.fc0 = nn.Linear(feat_dim, 1)
        self.first_bn = nn.BatchNorm2d(1)
        self.conformer = TokenConformer(options, dim)
        self.fc = nn.Linear(dim, self.embed_dim) if self.embed_dim != dim else nn.Identity()

    def forward(self, features: LayerFeatures) -> Tensor:
        mask = features.mask()
        x = torch.zeros_like(features.layers[0])
        for layer in features.layers:
            _, gate = self._look(layer, mask)
            x = torch.addcmul(x, layer, gate.to(layer.dtype))
        x = F.selu(self.first_bn(x[:, None])[:, 0]) * mask[..., None]               # (batch, frames, dim)
        return self.fc(self.conformer(self.fit(x) * mask[..., None], mask))         # (batch, embed_dim)

    def attention_shares(self, features: LayerFeatures) -> AttentionShares:
        """How far the gate of each layer is open, from 0 to 1, and by which of its frames."""
        mask = features.mask()
        weights, gates = zip(*(self._look(layer, mask) for layer in features.layers))
        return AttentionShares({"gates": torch.cat(gates, dim=1)[..., 0]}, torch.stack(weights, dim=2), "layer")

    def _look(self, layer: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """-> shares of the frames (batch, frames), gate (batch, 1, 1)"""
        weights = masked_softmax(self.attn_scores(layer)[..., 0].float(), mask).to(layer.dtype)
        return weights, self.fc0(weights[:, None] @ layer).sigmoid()
