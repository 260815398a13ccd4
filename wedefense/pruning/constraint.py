"""The size of an encoder as a function of its gates, and the pull towards a smaller one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wedefense.pruning.gates import blocks, convolutions
from wedefense.pruning.hard_concrete import HardConcrete

SECONDS = 2.0       # of audio, for multiply-adds
SAMPLE_RATE = 16000
Openness = Callable[[HardConcrete], Tensor]


@dataclass(frozen=True)
class Sublayer:
    """Expected open units, and the probability that any is: a sublayer without open units is cut as a whole."""

    units: Tensor | float
    exists: Tensor | float


@dataclass(frozen=True)
class Widths:
    channels: list[Tensor | float]
    attention: list[Sublayer]  # units are heads; one for each block
    feed_forward: list[Sublayer]


def learnt(gate: HardConcrete) -> Tensor:
    """Openness as probabilities."""
    return gate.open_probability().double()


def decided(gate: HardConcrete) -> Tensor:
    """Openness as evaluation decides it: 0 or 1."""
    return gate.is_open().double()


def no_more_than_needed(gate: HardConcrete) -> Tensor:
    """Openness with everything closed that may be."""
    openness = torch.zeros_like(gate.log_alpha, dtype=torch.float64)
    openness[:gate.minimum] = 1
    return openness


def widths(encoder: nn.Module, openness: Openness | None) -> Widths:
    """Expected widths with independent gates; without `openness` all gates are open."""
    channels = [_expected(layer.gate, openness, layer.conv.out_channels) for layer in convolutions(encoder)]
    attention, feed_forward = [], []
    for block in blocks(encoder):
        sublayer = block.attention if block.has_attention else None
        attention.append(_sublayer(sublayer, openness, sublayer.heads if sublayer else 0))
        sublayer = block.feed_forward
        hidden = 0 if sublayer is None else sublayer.intermediate_dense.out_features
        feed_forward.append(_sublayer(sublayer, openness, hidden))
    return Widths(channels, attention, feed_forward)


def _expected(gate: HardConcrete | None, openness: Openness | None, count: int) -> Tensor | float:
    return float(count) if gate is None or openness is None else openness(gate).sum()


def _sublayer(module: nn.Module | None, openness: Openness | None, count: int) -> Sublayer:
    if module is None:
        return Sublayer(0.0, 0.0)
    units, exists = float(count), 1.0
    if openness is not None and module.gate is not None:
        probability = openness(module.gate)
        units, exists = probability.sum(), 1 - (1 - probability).prod()
    if openness is not None and module.sublayer_gate is not None:
        whole = openness(module.sublayer_gate).squeeze()
        units, exists = whole * units, whole * exists
    return Sublayer(units, exists)


def gated_parameters(encoder: nn.Module, width: Widths, scaled: bool) -> Tensor | float:
    """Parameters whose number depends on the widths; `scaled`: the last convolution's outputs have a factor each."""
    shape, total, before = encoder.architecture, 0.0, 1
    for i, ((_, kernel, _), channels) in enumerate(zip(shape.conv_layers, width.channels)):
        normed = shape.extractor_norm == "layer_norm" or i == 0
        total = total + channels * (before * kernel + shape.conv_bias + 2 * normed)
        before = channels
    if width.channels:
        total = total + before * (2 + shape.dim + scaled)  # norm and projection to the transformer
    for attention, feed_forward in zip(width.attention, width.feed_forward):
        per_head = 3 * shape.head_dim * (shape.dim + 1) + shape.head_dim * shape.dim
        once = shape.dim
        if shape.rel_buckets:
            once += 8 * (shape.head_dim + 1) + shape.total_heads
        total = total + attention.units * per_head + attention.exists * once
        total = total + feed_forward.units * (2 * shape.dim + 1) + feed_forward.exists * shape.dim
    return total


def gated_multiply_adds(encoder: nn.Module, width: Widths) -> Tensor | float:
    """Multiply-adds of `SECONDS` of audio that depend on the widths."""
    shape, total, before = encoder.architecture, 0.0, 1
    length = int(SECONDS * SAMPLE_RATE)
    for (_, kernel, stride), channels in zip(shape.conv_layers, width.channels):
        length = (length - kernel) // stride + 1
        total = total + length * channels * before * kernel
        before = channels
    frames = length
    if width.channels:
        total = total + frames * before * shape.dim
    else:
        frames = length // 320
    for attention, feed_forward in zip(width.attention, width.feed_forward):
        per_head = frames * shape.head_dim * (4 * shape.dim + 2 * frames)
        total = total + attention.units * per_head + frames * feed_forward.units * 2 * shape.dim
    return total


def fixed_multiply_adds(encoder: nn.Module) -> int:
    """Those of the parts that are never cut: positions, and Whisper's convolutions."""
    shape = encoder.architecture
    if shape.mel_bins:
        return int(SECONDS * 100) * shape.dim * 3 * (shape.mel_bins + shape.dim // 2)
    frames = int(SECONDS * SAMPLE_RATE)
    for _, kernel, stride in shape.conv_layers:
        frames = (frames - kernel) // stride + 1
    kernel = shape.pos_conv_kernel if shape.pos_conv_depth == 1 else \
        shape.pos_conv_depth * max(3, shape.pos_conv_kernel // shape.pos_conv_depth)
    return frames * shape.dim * (shape.dim // shape.pos_conv_groups) * kernel


class Size:
    """The encoder's parameters or multiply-adds, whole and by its gates."""

    def __init__(self, encoder: nn.Module, measure: Literal["parameters", "multiply-adds"] = "parameters"):
        self.encoder, self.measure = encoder, measure
        own = [p.numel() for name, p in encoder.named_parameters() if not name.endswith("gate.log_alpha")]
        has_scale = getattr(encoder.architecture, "conv_output_scale", False)
        self.scaled = has_scale or any(layer.gate is not None for layer in convolutions(encoder)[-1:])
        whole = widths(encoder, None)
        if measure == "parameters":
            self.original = sum(own)
            self.fixed = self.original - gated_parameters(encoder, whole, has_scale)
        else:
            self.fixed = fixed_multiply_adds(encoder)
            self.original = self.fixed + gated_multiply_adds(encoder, whole)

    def of(self, openness: Openness) -> Tensor:
        """The expected size (float64), differentiable; with gates of 0 and 1 exactly that of the cut encoder."""
        width = widths(self.encoder, openness)
        if self.measure == "parameters":
            gated = gated_parameters(self.encoder, width, self.scaled)
        else:
            gated = gated_multiply_adds(self.encoder, width)
        return torch.as_tensor(self.fixed + gated)

    def sparsity(self, openness: Openness) -> Tensor:
        """The fraction removed."""
        return 1 - self.of(openness) / self.original


class Lagrangian(nn.Module):
    """l1 * (sparsity - target) + l2 * (sparsity - target)^2, with multipliers that are learnt by ascent.

    l1 is unconstrained: it pulls the sparsity up as well as down.
    """

    def __init__(self):
        super().__init__()
        self.l1 = nn.Parameter(torch.zeros(()))
        self.l2 = nn.Parameter(torch.zeros(()))

    def forward(self, sparsity: Tensor, target: float) -> Tensor:
        gap = (sparsity - target).float()
        return self.l1 * gap + self.l2 * gap.square()


def words(sparsity: float) -> str:
    """`0.3` -> "remove 30 %, keep 70 %"."""
    removed = round(100 * sparsity, 1)
    return f"remove {removed:g} %, keep {math.fsum((100, -removed)):g} %"
