"""ReDimNet: between maps of (channels, frequency, time) and sequences of (channels x frequency, time) and back.

Yakovlev et al., Interspeech 2024 (arXiv 2407.18223). Parameter names are those of WeSpeaker's checkpoints.
"""

from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import ReDimNetOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import SpeakerNetwork
from wedefense.models.pooling import ASTP, POOLINGS

HEADS, TIME_KERNELS = 4, (7, 19, 31, 59)


class Stage(NamedTuple):
    stride: int      # of frequency; channels grow by it
    blocks: int
    widening: int    # of the channels inside the stage
    narrowing: int | None  # of the sequence inside its context block; None: it has none


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (batch, channels, ...)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class ConvNeXt(nn.Module):
    """A grouped convolution, norm, GELU, product, added; over (frequency, time) or, with a number as kernel, time."""

    def __init__(self, channels: int, kernel, group_size: int):
        super().__init__()
        flat = isinstance(kernel, int)
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if flat else (nn.Conv2d, nn.BatchNorm2d)
        self.dwconvs = nn.ModuleList([conv(channels, channels, kernel, padding="same", groups=channels // group_size)])
        self.norm, self.pwconv1 = norm(channels), conv(channels, channels, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.pwconv1(F.gelu(self.norm(self.dwconvs[0](x * mask))))


class FrequencyGate(nn.Module):
    """Each frequency times a weight that the means of all frequencies decide."""

    def __init__(self, frequencies: int, inside: int):
        super().__init__()
        self.squeeze, self.exitation = nn.Linear(frequencies, inside), nn.Linear(inside, frequencies)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask).sum((1, 3)) / (mask.sum((1, 3)) * x.shape[1])           # (batch, frequencies)
        return x * self.exitation(self.squeeze(mean).relu()).sigmoid()[:, None, :, None]


class Residual(nn.Module):
    """Two grouped convolutions, a product after each, added."""

    def __init__(self, channels: int, frequencies: int, group_size: int, gated: bool):
        super().__init__()
        groups = channels // group_size
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=groups)
                                  for _ in range(2))
        self.conv1pw, self.conv2pw = (nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.bn1, self.bn2 = (nn.BatchNorm2d(channels) for _ in range(2))
        self.se = FrequencyGate(frequencies, min(64, max(channels, 32))) if gated else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.bn1(self.conv1pw(self.conv1(x * mask)).relu()) * mask
        h = self.bn2(self.conv2pw(self.conv2(h)))
        return ((h if self.se is None else self.se(h, mask)) + x).relu()


class _Block2d(nn.Module):
    def __init__(self, kind: str, channels: int, frequencies: int, group_size: int):
        super().__init__()
        self.conv_block = (ConvNeXt(channels, (3, 3), group_size) if kind == "convnext_like"
                           else Residual(channels, frequencies, group_size, kind.endswith("fwse")))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv_block(x, mask)


class _Narrow(nn.Sequential):
    """From the channels inside a stage to those that leave it."""

    def __init__(self, inside: int, channels: int, group_size: int):
        super().__init__(nn.Conv2d(inside, channels, 3, padding="same", groups=channels // group_size),
                         nn.BatchNorm2d(channels, eps=1e-6), nn.GELU(), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().forward(x * mask)


class _FeedForward(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x), approximate="tanh"))


class _Attention(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, frames, dim), mask (batch, 1, 1, frames)"""
        query, key, value = (linear(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
                             for linear in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.attention, self.feed_forward = _Attention(dim), _FeedForward(dim)
        self.layer_norm, self.final_layer_norm = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, dim, frames), mask (batch, 1, frames) -> (batch, dim, frames)"""
        x = x.transpose(1, 2)
        x = self.layer_norm(x + self.attention(x, mask[:, None]))
        return self.final_layer_norm(x + self.feed_forward(x)).transpose(1, 2)


class TimeContext(nn.Module):
    """A narrow network over time beside the sequence: convolutions of growing length, then attention."""

    def __init__(self, channels: int, inside: int):
        super().__init__()
        self.red_dim_conv = nn.Sequential(nn.Conv1d(channels, inside, 1), ChannelNorm(inside))
        self.tcm = nn.ModuleList([*(ConvNeXt(inside, kernel, 1) for kernel in TIME_KERNELS), Transformer(inside)])
        self.exp_dim_conv = nn.Conv1d(inside, channels, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.red_dim_conv(x)
        for part in self.tcm:
            h = part(h, mask)
        return x + self.exp_dim_conv(h)


def to_1d(x: Tensor) -> Tensor:
    """(batch, channels, frequencies, frames) -> (batch, frequencies * channels, frames)"""
    return x.transpose(1, 2).flatten(1, 2)


class _Backbone(nn.Module):
    def __init__(self, kind: str, frequencies: int, channels: int, stages: tuple[Stage, ...], group_size: int):
        super().__init__()
        width = channels * frequencies
        self.inputs_weights = nn.ParameterList(
            [nn.Parameter(torch.ones(1, 1, 1, 1), requires_grad=False),
             *(nn.Parameter(torch.zeros(1, count + 1, width, 1)) for count in range(1, len(stages) + 1))])
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding="same"), ChannelNorm(channels))
        self.shapes, parts = [], []
        for stage in stages:
            self.shapes.append((channels, frequencies))
            inside = stage.stride * channels * stage.widening
            layers = [nn.Conv2d(channels, inside, (stage.stride, 1), (stage.stride, 1))]
            channels, frequencies = stage.stride * channels, frequencies // stage.stride
            layers += [_Block2d(kind, inside, frequencies, group_size) for _ in range(stage.blocks)]
            if stage.widening != 1:
                layers.append(_Narrow(inside, channels, group_size))
            layers.append(nn.Identity())  # where WeSpeaker's list has the change of shape
            if stage.narrowing is not None:
                layers.append(TimeContext(width, max(1, width // stage.narrowing // HEADS) * HEADS))
            parts.append(nn.ModuleList(layers))
        for number, layers in enumerate(parts):
            setattr(self, f"stage{number}", layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, 1, frequencies, frames), mask (batch, 1, frames) -> (batch, width, frames)"""
        outputs = [to_1d(self.stem(x))]
        for number, (channels, frequencies) in enumerate(self.shapes):
            h = self._weighted(outputs, number).unflatten(1, (frequencies, channels)).transpose(1, 2)
            enter, *layers = getattr(self, f"stage{number}")
            h = enter(h)                                                            # (batch, channels, freq., frames)
            for layer in layers:
                if isinstance(layer, nn.Identity):
                    h = to_1d(h)
                else:
                    h = layer(h, mask[:, None] if h.dim() == 4 else mask)
            outputs.append(h)
        return self._weighted(outputs, -1)

    def _weighted(self, outputs: list[Tensor], which: int) -> Tensor:
        if len(outputs) == 1:
            return outputs[0]
        return (self.inputs_weights[which].softmax(1) * torch.stack(outputs, dim=1)).sum(1)


class ReDimNet(SpeakerNetwork):
    kind: str
    channels: int
    stages: tuple[Stage, ...]
    group_size: int

    def __init__(self, options: ReDimNetOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.spare = -feat_dim % prod(stage.stride for stage in self.stages)  # zeros, where strides do not divide it
        self.backbone = _Backbone(self.kind, feat_dim + self.spare, self.channels, self.stages, self.group_size)
        width = self.channels * (feat_dim + self.spare)
        self.pool = (ASTP(width, global_context_att=True) if options.pooling_func == "ASTP"
                     else POOLINGS[options.pooling_func](width))
        self.add_embedding(self.pool.out_dim, options.two_emb_layer)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        mask = frame_mask(lengths, x.shape[1])
        x = F.pad(x, (0, self.spare)).transpose(1, 2)[:, None]                    # (batch, 1, dim, frames)
        return self.embedding(self.pool(self.backbone(x, mask[:, None]), mask))


class ReDimNetB0(ReDimNet):
    kind, channels, group_size = "basic_resnet", 10, 1
    stages = (Stage(1, 2, 1, 30), Stage(2, 3, 2, 30), Stage(1, 3, 3, 30), Stage(2, 4, 2, 10), Stage(1, 3, 1, 10))


class ReDimNetB1(ReDimNet):
    kind, channels, group_size = "convnext_like", 12, 8
    stages = (Stage(1, 2, 1, None), Stage(2, 3, 1, None), Stage(3, 4, 1, 12), Stage(2, 5, 1, 12), Stage(2, 3, 1, 8))


class ReDimNetB2(ReDimNet):
    kind, channels, group_size = "convnext_like", 16, 4
    stages = (Stage(1, 2, 1, 12), Stage(2, 2, 1, 12), Stage(1, 3, 1, 12), Stage(2, 4, 1, 8), Stage(1, 4, 1, 8),
              Stage(2, 4, 1, 4))


class ReDimNetB3(ReDimNet):
    kind, channels, group_size = "basic_resnet_fwse", 16, 1
    stages = (Stage(1, 6, 4, 32), Stage(2, 6, 2, 32), Stage(1, 8, 2, 32), Stage(2, 10, 2, 16), Stage(1, 10, 1, 16),
              Stage(2, 8, 1, 16))


class ReDimNetB4(ReDimNet):
    kind, channels, group_size = "basic_resnet_fwse", 32, 1
    stages = (Stage(1, 4, 2, 48), Stage(2, 4, 2, 48), Stage(1, 6, 2, 48), Stage(2, 6, 1, 32), Stage(1, 8, 1, 24),
              Stage(2, 4, 1, 16))


class ReDimNetB5(ReDimNetB4):
    group_size = 16


class ReDimNetB6(ReDimNet):
    kind, channels, group_size = "basic_resnet", 32, 32
    stages = (Stage(1, 4, 4, 32), Stage(2, 6, 2, 32), Stage(1, 6, 2, 24), Stage(3, 8, 1, 24), Stage(1, 8, 1, 16),
              Stage(2, 8, 1, 16))
