"""Position as a convolution over frames: one wide weight-normed one, or data2vec's stack of narrow ones."""

import math

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from wedefense.frontend.ssl.architecture import Architecture


def same_conv(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """(batch, frames, dim) -> the same shape; an even kernel sees one frame more of the past than of the future."""
    y = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=conv.padding, groups=conv.groups)
    return y[:, :, :x.shape[1]].transpose(1, 2)


class PositionalConv(nn.Module):
    """wav2vec 2.0: one convolution with a weight norm over its taps."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=2 / math.sqrt(kernel * dim))
        nn.init.zeros_(conv.bias)
        self.conv = weight_norm(conv, dim=2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (batch, frames, dim) with zeros on padding, mask (batch, frames, 1) or None -> what to add to x."""
        return F.gelu(same_conv(self.conv, x))


class StackedLayer(nn.Module):
    """One convolution of data2vec's stack."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        x = same_conv(self.conv, x)
        return F.gelu(F.layer_norm(x, x.shape[-1:]))


class StackedPositionalConv(nn.Module):
    """data2vec: narrow convolutions, each followed by a layer norm without parameters."""

    def __init__(self, dim: int, kernel: int, groups: int, depth: int):
        super().__init__()
        kernel = max(3, kernel // depth)
        self.layers = nn.ModuleList(StackedLayer(dim, kernel, groups) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """As `PositionalConv`; padding is zeroed before each layer, as it is at the edge of an utterance alone."""
        for layer in self.layers:
            x = layer(x)
            if mask is not None:
                x = x * mask
        return x


def positional_conv(architecture: Architecture) -> nn.Module:
    dim, kernel, groups = architecture.dim, architecture.pos_conv_kernel, architecture.pos_conv_groups
    if architecture.pos_conv_depth > 1:
        return StackedPositionalConv(dim, kernel, groups, architecture.pos_conv_depth)
    return PositionalConv(dim, kernel, groups)
