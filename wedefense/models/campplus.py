"""CAM++: a densely connected time-delay network whose layers mask what they say by what surrounds it.

Wang et al., Interspeech 2023 (arXiv 2303.00332). Parameter names are those of WeSpeaker's checkpoints.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from wedefense.config.models import CAMPPlusOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend, halved
from wedefense.models.pooling import POOLINGS

SEGMENT = 100  # frames whose mean is the nearer context of a mask
GROWTH, WIDTH, START = 32, 128, 128
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of each dense block


class _NormRelu(nn.Sequential):
    def __init__(self, channels: int):
        super().__init__(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


class _FrequencyBlock(nn.Module):
    """A residual block over (frequency, time) that shortens frequency alone."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, (stride, 1), 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, channels, 1, (stride, 1), bias=False),
                                          nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x)).relu() * mask
        return (self.bn2(self.conv2(h)) + self.shortcut(x)).relu() * mask


class _Head(nn.Module):
    """Convolutions over (frequency, time), an eighth of the frequencies left, side by side."""

    def __init__(self, channels: int, feat_dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1, self.layer2 = (nn.ModuleList(_FrequencyBlock(channels, stride) for stride in (2, 1))
                                    for _ in range(2))
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.out_dim = channels * halved(feat_dim, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, dim, frames), mask (batch, 1, frames) -> (batch, out_dim, frames)"""
        mask = mask[:, None]
        x = self.bn1(self.conv1(x[:, None])).relu() * mask          # (batch, channels, dim, frames)
        for block in (*self.layer1, *self.layer2):
            x = block(x, mask)
        return (self.bn2(self.conv2(x)).relu() * mask).flatten(1, 2)


class _ContextMasked(nn.Module):
    """A convolution, times a mask of the mean over the utterance and over the segment that a frame lies in."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(channels_in, channels_in // 2, 1)
        self.linear2 = nn.Conv1d(channels_in // 2, channels_out, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x * mask
        context = x.sum(2, keepdim=True) / mask.sum(2, keepdim=True) + _segment_means(x, mask)
        return self.linear_local(x) * self.linear2(self.linear1(context).relu()).sigmoid()


def _segment_means(x: Tensor, mask: Tensor) -> Tensor:
    """x (batch, channels, frames), zero where padded -> each frame the mean of its segment's frames."""
    frames = x.shape[2]
    spare = -frames % SEGMENT
    sums, counts = (nn.functional.pad(y, (0, spare)).unflatten(2, (-1, SEGMENT)).sum(3) for y in (x, mask.to(x.dtype)))
    return (sums / counts.clamp(min=1)).repeat_interleave(SEGMENT, dim=2)[:, :, :frames]


class _DenseLayer(nn.Module):
    def __init__(self, channels_in: int, dilation: int):
        super().__init__()
        self.nonlinear1 = _NormRelu(channels_in)
        self.linear1 = nn.Conv1d(channels_in, WIDTH, 1, bias=False)
        self.nonlinear2 = _NormRelu(WIDTH)
        self.cam_layer = _ContextMasked(WIDTH, GROWTH, dilation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))), mask)


class CAMPPlus(Backend):
    min_frames = 2  # of one frame there is no deviation

    def __init__(self, options: CAMPPlusOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.head = _Head(32, feat_dim)
        first = nn.Conv1d(self.head.out_dim, START, 5, stride=2, padding=2, bias=False)
        parts = OrderedDict(tdnn=nn.Sequential(OrderedDict(linear=first, nonlinear=_NormRelu(START))))
        channels = START
        for number, (layers, dilation) in enumerate(BLOCKS, 1):
            parts[f"block{number}"] = nn.ModuleDict({
                f"tdnnd{layer + 1}": _DenseLayer(channels + layer * GROWTH, dilation) for layer in range(layers)})
            channels += layers * GROWTH
            parts[f"transit{number}"] = nn.Sequential(OrderedDict(
                nonlinear=_NormRelu(channels), linear=nn.Conv1d(channels, channels // 2, 1, bias=False)))
            channels //= 2
        parts["out_nonlinear"] = _NormRelu(channels)
        parts["stats"] = POOLINGS[options.pooling_func](channels)
        parts["dense"] = nn.Sequential(OrderedDict(
            linear=nn.Conv1d(parts["stats"].out_dim, options.embed_dim, 1, bias=False),
            nonlinear=nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(options.embed_dim, affine=False)))))
        self.xvector = nn.ModuleDict(parts)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        x = self.head(x.transpose(1, 2), frame_mask(lengths, x.shape[1])[:, None])
        mask = frame_mask(halved(lengths), halved(x.shape[2]))[:, None]  # (batch, 1, frames / 2)
        part = self.xvector
        x = part["tdnn"](x)
        for number in range(1, len(BLOCKS) + 1):
            for layer in part[f"block{number}"].values():
                x = torch.cat([x, layer(x, mask)], dim=1)                # (batch, channels + growth, frames / 2)
            x = part[f"transit{number}"](x)
        x = part["stats"](part["out_nonlinear"](x), mask[:, 0])
        return part["dense"](x[..., None])[..., 0]                       # (batch, embed_dim)
