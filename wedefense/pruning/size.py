"""The size of an encoder, in parameters or multiply-adds, as a function of its gates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wedefense.frontend.whisper import HOP, WINDOW
from wedefense.pruning.gates import blocks, convolutions
from wedefense.pruning.hard_concrete import HardConcrete

SAMPLES = 32000  # 2 s of audio, for multiply-adds
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


def frame_counts(encoder: nn.Module, samples: int) -> tuple[list[int], list[int]]:
    """Frames that each convolution makes of so many samples, and those that attend to one another: one number, or
    one for each of Whisper's windows."""
    shape, made, length = encoder.architecture, [], samples
    if shape.mel_bins:
        length = -(-samples // HOP)
        windows = [min(WINDOW, length - start) for start in range(0, length, WINDOW)]
        return [length, -(-length // 2)], [-(-window // 2) for window in windows]
    for _, kernel, stride in shape.conv_layers:
        length = (length - kernel) // stride + 1
        made.append(length)
    return made, made[-1:]


def gated_multiply_adds(encoder: nn.Module, width: Widths, samples: int) -> Tensor | float:
    """Multiply-adds of so many samples that depend on the widths."""
    shape, total, before = encoder.architecture, 0.0, 1
    lengths, windows = frame_counts(encoder, samples)
    for (_, kernel, _), channels, length in zip(shape.conv_layers, width.channels, lengths):
        total = total + length * channels * before * kernel
        before = channels
    frames, pairs = sum(windows), sum(window * window for window in windows)
    if width.channels:
        total = total + frames * before * shape.dim
    bias_gate = 8 if shape.rel_buckets else 0  # outputs per head of the layer that scales WavLM's position bias
    per_head = shape.head_dim * (frames * (4 * shape.dim + bias_gate) + 2 * pairs)
    for attention, feed_forward in zip(width.attention, width.feed_forward):
        total = total + attention.units * per_head + frames * feed_forward.units * 2 * shape.dim
    return total


def fixed_multiply_adds(encoder: nn.Module, samples: int) -> int:
    """Those of the parts that are never cut: positions, and Whisper's convolutions."""
    shape, (lengths, _) = encoder.architecture, frame_counts(encoder, samples)
    if shape.mel_bins:
        return 3 * shape.dim * (lengths[0] * shape.mel_bins + lengths[1] * shape.dim)
    kernel = shape.pos_conv_kernel if shape.pos_conv_depth == 1 else \
        shape.pos_conv_depth * max(3, shape.pos_conv_kernel // shape.pos_conv_depth)
    return lengths[-1] * shape.dim * (shape.dim // shape.pos_conv_groups) * kernel


def multiply_adds(encoder: nn.Module, samples: int) -> int:
    """Of the encoder as it stands and as far as it runs, without gates; the rule is that of `wedefense.models.cost`."""
    whole, depth = widths(encoder, None), encoder.depth
    run = Widths(whole.channels, whole.attention[:depth], whole.feed_forward[:depth])
    return int(fixed_multiply_adds(encoder, samples) + gated_multiply_adds(encoder, run, samples))


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
            self.fixed = fixed_multiply_adds(encoder, SAMPLES)
            self.original = self.fixed + gated_multiply_adds(encoder, whole, SAMPLES)

    def of(self, openness: Openness) -> Tensor:
        """The expected size (float64), differentiable; with gates of 0 and 1 exactly that of the cut encoder."""
        width = widths(self.encoder, openness)
        if self.measure == "parameters":
            gated = gated_parameters(self.encoder, width, self.scaled)
        else:
            gated = gated_multiply_adds(self.encoder, width, SAMPLES)
        return torch.as_tensor(self.fixed + gated)

    def sparsity(self, openness: Openness) -> Tensor:
        """The fraction removed."""
        return 1 - self.of(openness) / self.original
