"""The size of an encoder, in parameters or multiply-adds, as a function of its gates.

It is part of every step's loss: all gates are worked on together, in few operations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from wedefense.config.frontend import PRUNING_UNITS
from wedefense.frontend.whisper import HOP, WINDOW
from wedefense.pruning.gates import blocks, convolutions, sites
from wedefense.pruning.hard_concrete import HardConcrete, open_probability
from wedefense.utils.devices import numbers_on

SAMPLES = 32000  # 2 s of audio, for multiply-adds
Openness = Callable[[Sequence[HardConcrete]], Tensor]  # all units of the gates, one gate after the other, float64


@dataclass(frozen=True)
class Sublayers:
    """Expected open units, and the probability that any is: a sublayer without open units is cut as a whole."""

    units: Tensor   # (blocks,) float64
    exists: Tensor  # (blocks,) float64

    def first(self, count: int) -> "Sublayers":
        """Those of the first blocks."""
        return Sublayers(self.units[:count], self.exists[:count])


@dataclass(frozen=True)
class Widths:
    channels: Tensor       # (convolutions,) float64
    attention: Sublayers   # its units are heads
    feed_forward: Sublayers


def expected_openness(gates: Sequence[HardConcrete]) -> Tensor:
    """Openness as probabilities."""
    return open_probability(torch.cat([gate.log_alpha for gate in gates])).double()


def decided_openness(gates: Sequence[HardConcrete]) -> Tensor:
    """Openness as evaluation decides it: 0 or 1."""
    return torch.cat([gate.is_open() for gate in gates]).double()


def minimal_openness(gates: Sequence[HardConcrete]) -> Tensor:
    """Openness with everything closed that may be."""
    needed = [float(unit < gate.minimum) for gate in gates for unit in range(gate.count)]
    return torch.tensor(needed, dtype=torch.float64, device=gates[0].log_alpha.device)


def widths(encoder: nn.Module, openness: Openness | None) -> Widths:
    """Expected widths with independent gates; without `openness` all gates are open."""
    found = {unit: [site for site in sites(encoder) if site.unit == unit] for unit in PRUNING_UNITS}
    gated = [site for own in found.values() for site in own if site.is_gated and openness is not None]
    opened: Sequence[Tensor] = ()
    if gated and openness is not None:
        opened = openness([site.gate for site in gated]).split([site.count for site in gated])
    parts = {unit: [(site.layer, part) for site, part in zip(gated, opened) if site.unit == unit] for unit in found}
    layers = {unit: len(convolutions(encoder) if unit == "conv" else blocks(encoder)) for unit in found}
    device = gated[0].gate.log_alpha.device if gated else torch.device("cpu")

    def units(unit: str, of_gates: Callable[[Tensor], Tensor], of_others: Callable[[int], int]) -> Tensor:
        """(layers,): what gates (layers with gates, units) and plain counts make."""
        counts = [0] * layers[unit]
        for site in found[unit]:
            counts[site.layer] = of_others(site.count)
        values = numbers_on(tuple(counts), device).double()
        if not parts[unit]:
            return values
        places, rows = zip(*parts[unit])
        even = len({len(row) for row in rows}) == 1
        own = of_gates(torch.stack(rows) if even else pad_sequence(rows, batch_first=True))
        return own if len(places) == len(counts) else values.index_copy(0, numbers_on(places, device), own)

    def sublayers(unit: str, whole: str) -> Sublayers:
        kept = units(whole, lambda rows: rows[:, 0], lambda count: 1)
        return Sublayers(kept * units(unit, lambda rows: rows.sum(1), lambda count: count),
                         kept * units(unit, lambda rows: 1 - _Product.apply(1 - rows), lambda count: 1))

    return Widths(units("conv", lambda rows: rows.sum(1), lambda count: count),
                  sublayers("head", "attlayer"), sublayers("interm", "ffnlayer"))


class _Product(torch.autograd.Function):
    """The product of each row; the gradient of PyTorch's looks for zeros, and waits for the device to do so."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows.prod(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        rows, = ctx.saved_tensors
        one = torch.ones_like(rows[:, :1])
        before = torch.cat((one, rows[:, :-1]), 1).cumprod(1)
        after = torch.cat((one, rows[:, 1:].flip(1)), 1).cumprod(1).flip(1)
        return gradient[:, None] * before * after


def gated_parameters(encoder: nn.Module, width: Widths, scaled: bool) -> Tensor:
    """Parameters whose number depends on the widths; `scaled`: the last convolution's outputs have a factor each."""
    shape, total = encoder.architecture, 0.0
    if len(width.channels):
        kernels = [kernel for _, kernel, _ in shape.conv_layers]
        others = [shape.conv_bias + 2 * (shape.extractor_norm == "layer_norm" or i == 0) for i in range(len(kernels))]
        total = (width.channels * (_inputs(width) * _on(kernels, width) + _on(others, width))).sum()
        total = total + width.channels[-1] * (2 + shape.dim + scaled)  # norm and projection to the transformer
    per_head = 3 * shape.head_dim * (shape.dim + 1) + shape.head_dim * shape.dim
    once = shape.dim
    if shape.rel_buckets:
        once += 8 * (shape.head_dim + 1) + shape.total_heads
    attention, feed_forward = width.attention, width.feed_forward
    return total + (attention.units * per_head + attention.exists * once
                    + feed_forward.units * (2 * shape.dim + 1) + feed_forward.exists * shape.dim).sum()


def _inputs(width: Widths) -> Tensor:
    """(convolutions,): the channels that each convolution sees."""
    return torch.cat((torch.ones_like(width.channels[:1]), width.channels[:-1]))


def _on(numbers: list[int], width: Widths) -> Tensor:
    return numbers_on(tuple(numbers), width.channels.device)


def frame_counts(encoder: nn.Module, samples: int) -> tuple[list[int], list[int]]:
    """Frames that each convolution makes of so many samples, and those that attend to one another: one number, or
    one for each of Whisper's windows."""
    shape, counts, length = encoder.architecture, [], samples
    if shape.mel_bins:
        length = -(-samples // HOP)
        windows = [min(WINDOW, length - start) for start in range(0, length, WINDOW)]
        return [length, -(-length // 2)], [-(-window // 2) for window in windows]
    for _, kernel, stride in shape.conv_layers:
        length = (length - kernel) // stride + 1
        counts.append(length)
    return counts, counts[-1:]


def gated_multiply_adds(encoder: nn.Module, width: Widths, samples: int) -> Tensor:
    """Multiply-adds of so many samples that depend on the widths."""
    shape, total = encoder.architecture, 0.0
    lengths, windows = frame_counts(encoder, samples)
    frames, pairs = sum(windows), sum(window * window for window in windows)
    if len(width.channels):
        products = [length * kernel for length, (_, kernel, _) in zip(lengths, shape.conv_layers)]
        total = (width.channels * _inputs(width) * _on(products, width)).sum() + frames * shape.dim * width.channels[-1]
    bias_gate = 8 if shape.rel_buckets else 0  # outputs per head of the layer that scales WavLM's position bias
    per_head = shape.head_dim * (frames * (4 * shape.dim + bias_gate) + 2 * pairs)
    return total + (width.attention.units * per_head + width.feed_forward.units * (frames * 2 * shape.dim)).sum()


def fixed_multiply_adds(encoder: nn.Module, samples: int) -> int:
    """Those of the parts that are never cut: positions, Whisper's convolutions, bottlenecks of adapters."""
    shape, (lengths, windows) = encoder.architecture, frame_counts(encoder, samples)
    detour = sum(windows) * sum(part.weight.numel() for block in blocks(encoder) if block.bottlenecks is not None
                                for part in block.bottlenecks.modules() if isinstance(part, nn.Linear))
    if shape.mel_bins:
        return detour + 3 * shape.dim * (lengths[0] * shape.mel_bins + lengths[1] * shape.dim)
    kernel = shape.pos_conv_kernel if shape.pos_conv_depth == 1 else \
        shape.pos_conv_depth * max(3, shape.pos_conv_kernel // shape.pos_conv_depth)
    return detour + lengths[-1] * shape.dim * (shape.dim // shape.pos_conv_groups) * kernel


def multiply_adds(encoder: nn.Module, samples: int) -> int:
    """Of the encoder as it stands and as far as it runs, without gates; the rule is that of `wedefense.models.cost`."""
    whole, depth = widths(encoder, None), encoder.depth
    run = Widths(whole.channels, whole.attention.first(depth), whole.feed_forward.first(depth))
    return int(fixed_multiply_adds(encoder, samples) + gated_multiply_adds(encoder, run, samples))


class Size:
    """The encoder's parameters or multiply-adds, whole and by its gates."""

    def __init__(self, encoder: nn.Module, measure: Literal["parameters", "multiply-adds"] = "parameters"):
        self.encoder, self.measure = encoder, measure
        own = [p.numel() for name, p in encoder.named_parameters() if not name.endswith("gate.log_alpha")]
        has_scale = encoder.architecture.conv_output_scale
        self.scaled = has_scale or any(layer.gate is not None for layer in convolutions(encoder)[-1:])
        whole = widths(encoder, None)
        if measure == "parameters":
            self.original = sum(own)
            self.fixed = self.original - gated_parameters(encoder, whole, has_scale).item()
        else:
            self.fixed = fixed_multiply_adds(encoder, SAMPLES)
            self.original = self.fixed + gated_multiply_adds(encoder, whole, SAMPLES).item()

    def of(self, openness: Openness) -> Tensor:
        """The expected size (float64), differentiable; with gates of 0 and 1 exactly that of the cut encoder."""
        width = widths(self.encoder, openness)
        if self.measure == "parameters":
            gated = gated_parameters(self.encoder, width, self.scaled)
        else:
            gated = gated_multiply_adds(self.encoder, width, SAMPLES)
        return self.fixed + gated

    def sparsity(self, openness: Openness) -> Tensor:
        """The fraction removed."""
        return 1 - self.of(openness) / self.original
