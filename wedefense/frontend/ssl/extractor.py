"""The convolutions that turn samples into frames.

All utterances run as one signal: each is cut into slots of one frame shift (320 samples), and the slots of all
utterances follow one another. Every convolution's stride divides the slot, so an utterance's valid frames see
its own samples alone, and the windows that cross into the next utterance are the ones past its last valid frame.
Padding to the longest utterance is never computed. Rows are times, columns channels, and a convolution is a
product with rows that hold a window each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wedefense.frontend.features import frame_mask
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.fusing import (
    extracts_fused,
    folded_weights,
    fused_frames,
    samples_fused,
    window_statistics,
)
from wedefense.frontend.ssl.packing import KEPT, within
from wedefense.frontend.ssl.products import StridedConv, Weights, working_dtype
from wedefense.utils.devices import kept, send_together

# how many values of the first layer run at a time: on a CPU, what a layer writes the next finds in the cache;
# elsewhere it bounds the memory
CHUNK_ON_CPU, CHUNK = 2**21, 2**29


def conv_lengths(lengths: Sequence[int], conv_layers: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Frames that the convolutions make of so many samples."""
    frames = np.asarray(lengths)
    for _, kernel, stride in conv_layers:
        frames = (frames - kernel) // stride + 1
    return frames.clip(min=0)


def open_layer_norm(x: Tensor, norm: nn.LayerNorm, gate: Tensor | None) -> Tensor:
    """Layer norm with statistics over the channels whose gate is open.

    Cutting closed channels away leaves a layer norm over the others; with their values still in the statistics
    the cut model would differ from the gated one. Closed channels come out as 0.
    """
    if gate is None:
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    is_open = (gate > 0).to(x.dtype)
    count = is_open.sum().clamp(min=1)
    mean = (x * is_open).sum(-1, keepdim=True) / count
    centred = (x - mean) * is_open
    variance = centred.square().sum(-1, keepdim=True) / count
    return (centred * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias) * is_open


@dataclass(frozen=True)
class Slots:
    """Where the slots of a batch lie, worked out on the host and sent to the device at once."""

    stride: int
    longest: int         # slots of the longest utterance
    windows: Tensor      # (batch,): valid windows of the first layer
    starts: Tensor       # (batch + 1,): the first slot of each utterance, and the number of slots
    owner: Tensor        # (slots,): the utterance of a slot
    left: Tensor         # (slots,): how many of these windows begin in the slot or later in its utterance
    rows: Tensor         # (valid frames,): the slots that begin a valid frame
    used: Tensor | None  # (slots,): the slots of the padded batch that hold samples; None: all of them

    def cut(self, wav: Tensor) -> Tensor:
        """(batch, samples) -> (slots, stride), the utterances one after the other."""
        signal = F.pad(wav, (0, -wav.shape[1] % self.stride)).view(-1, self.stride)
        return signal if self.used is None else signal[self.used]


@kept(maxsize=KEPT)
def slots_of(samples: tuple[int, ...], frames: tuple[int, ...], first: tuple[int, int], stride: int,
             device: torch.device) -> Slots:
    """`first`: kernel and stride of the first layer. Those of fixed crops are worked out once."""
    slots = -(-np.array(samples) // stride)  # of each utterance
    windows = (np.array(samples) - first[0]) // first[1] + 1
    owner, place = np.repeat(np.arange(len(slots)), slots), within(slots)
    left = windows[owner] - place * (stride // first[1])
    rows = np.repeat(np.cumsum(slots) - slots, frames) + within(frames)
    used = owner * slots.max() + place if slots.min() < slots.max() else owner[:0]
    with torch.inference_mode(False):  # what is kept must serve training too
        windows, starts, owner, left, rows, used = send_together(
            device, windows, np.cumsum((0, *slots)), owner, left, rows, used)
    return Slots(stride, int(slots.max()), windows, starts, owner, left, rows, used if len(used) else None)


class _Layer(nn.Module):
    """A convolution, its norm if it has one, GELU, and a gate per output channel.

    `gate` (a callable that gives a multiplier per channel) applies after the activation; layer norms here and in
    the feature projection take their statistics over the open channels only, see `open_layer_norm`. Norms over
    time see each channel by itself, so closing others does not touch them.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int, bias: bool, norm: nn.Module | None):
        super().__init__()
        self.conv = StridedConv(inputs, channels, kernel, stride, bias)
        if norm is not None:
            self.layer_norm = norm
        self.norms_channels = isinstance(norm, nn.LayerNorm)
        self.norms_time = isinstance(norm, nn.GroupNorm)
        self.gate = None

    def open_gate(self) -> Tensor | None:
        return None if self.gate is None else self.gate()

    def finish(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Norm over channels if there is one, activation, gate."""
        if self.norms_channels:
            x = open_layer_norm(x, self.layer_norm, gate)
        x = F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)
        return x if gate is None else x * gate


class ConvLayer(_Layer):
    """Those after the first."""

    def forward(self, x: Tensor, weights: Weights, gate: Tensor | None) -> Tensor:
        """(time, in) -> (windows, channels)."""
        x = self.conv(x, weights, gelu=not self.norms_channels)
        return self.finish(x, gate) if self.norms_channels else x if gate is None else x * gate


class FirstLayer(_Layer):
    """The layer that sees samples.

    Samples stay in float32 in lower precisions too: speech falls by 60 dB towards high frequencies, which
    bfloat16 samples would drown.

    With a norm over time, convolution and norm are one product whose weights are scaled per utterance: a channel
    is linear in its window, so its mean and variance over an utterance follow from the mean and covariance of the
    utterance's valid windows, and no pass over the channels is needed. A bias before a norm over time cancels.
    """

    def weights(self, signal: Tensor, slots: Slots) -> Tensor:
        """(batch or 1, kernel + 1, channels): weights per utterance; the last row is what is added."""
        weight = self.conv.weight[:, 0].to(signal.dtype)  # (channels, kernel)
        if not self.norms_time:
            bias = weight.new_zeros(len(weight)) if self.conv.bias is None else self.conv.bias.to(weight.dtype)
            return torch.cat((weight.t(), bias[None]))[None]
        norm, by_kernels = self.layer_norm, samples_fused(signal, self.conv.stride[0])
        trained = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())
        if by_kernels and not trained:
            return folded_weights(signal, slots, self.conv, norm)
        mean, covariance = (window_statistics(signal, slots, self.conv) if by_kernels
                            else self._window_statistics(signal, slots))
        wide = weight.double()
        variance = torch.einsum("ck,bkl,cl->bc", wide, covariance, wide)
        scale = norm.weight.double() * torch.rsqrt(variance.clamp(min=0) + norm.eps)  # (batch, channels)
        shift = norm.bias.double() - (mean @ wide.t()) * scale
        return torch.cat((scale[:, None] * wide.t(), shift[:, None]), 1).to(weight.dtype)

    def _window_statistics(self, signal: Tensor, slots: Slots) -> tuple[Tensor, Tensor]:
        """Mean (batch, kernel) and covariance (batch, kernel, kernel) of each utterance's valid windows, float64."""
        x, count = self.windows(signal)[:, :, :self.conv.kernel_size[0]].double(), slots.windows
        x = x * frame_mask(slots.left, x.shape[1])[:, :, None]  # (slots, windows, kernel)
        first, second = (torch.zeros(len(count), *part.shape[1:], dtype=x.dtype, device=x.device)
                         .index_add(0, slots.owner, part) for part in (x.sum(1), x.transpose(1, 2) @ x))
        mean, square = first / count[:, None], second / count[:, None, None]
        return mean, square - mean[:, :, None] * mean[:, None, :]

    def windows(self, signal: Tensor) -> Tensor:
        """(slots, stride) -> (slots, windows per slot, kernel + 1): windows and a one for what is added."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        x = F.pad(signal.flatten(), (0, max(kernel - stride, 0))).unfold(0, kernel, stride)
        x = x[:signal.numel() // stride].unflatten(0, (len(signal), -1))
        return F.pad(x, (0, 1), value=1.0)

    def forward(self, signal: Tensor, owner: Tensor, weights: Tensor, gate: Tensor | None) -> Tensor:
        """(slots, stride) -> (windows of all slots, channels)."""
        x = self.windows(signal)
        weights = weights.expand(len(x), -1, -1) if len(weights) == 1 else weights[owner]
        with torch.autocast(signal.device.type, enabled=False):
            x = torch.bmm(x, weights).flatten(0, 1)
        return self.finish(x.to(working_dtype(self.conv.weight)), gate)


class Extractor(nn.Module):
    """Samples to frames: (batch, samples) -> (valid frames of all utterances, channels)."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.conv_layers = nn.ModuleList()
        inputs = 1
        for number, (channels, kernel, stride) in enumerate(architecture.conv_layers):
            norm = None
            if architecture.extractor_norm == "layer_norm":
                norm = nn.LayerNorm(channels)
            elif number == 0:
                norm = nn.GroupNorm(channels, channels)
            kind = ConvLayer if number else FirstLayer
            self.conv_layers.append(kind(inputs, channels, kernel, stride, architecture.conv_bias, norm))
            inputs = channels
        scale = nn.Parameter(torch.ones(inputs)) if architecture.conv_output_scale else None
        self.register_parameter("dummy_weight", scale)
        self.stride, self.receptive_field = architecture.stride, architecture.receptive_field
        self.gradient_checkpointing = False

    def forward(self, wav: Tensor, samples: Sequence[int], frames: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Frames of all utterances one after the other, and the last layer's gate if it has one."""
        beginning, *others = self.conv_layers
        first = beginning.conv
        shape = first.kernel_size[0], first.stride[0]
        slots = slots_of(tuple(samples), tuple(frames), shape, self.stride, wav.device)
        signal = slots.cut(wav)
        gates = [layer.open_gate() for layer in self.conv_layers]
        weights = [beginning.weights(signal, slots), *(layer.conv.weights() for layer in others)]
        overlap = -(-(self.receptive_field - self.stride) // self.stride)  # slots that a frame sees after its own
        values = CHUNK_ON_CPU if wav.device.type == "cpu" else CHUNK
        size = max(values * first.stride[0] // (self.stride * first.out_channels), 1)
        chunks = []
        for start in range(0, len(signal), size):
            part = slice(start, start + size + overlap)
            if extracts_fused(signal, first.stride[0], gates):
                x = self._run(fused_frames, self.conv_layers, signal[part], slots, start, weights)
            else:
                x = self._run(self._frames, signal[part], slots.owner[part], weights, gates)
            chunks.append(x[:size])
        x = (chunks[0] if len(chunks) == 1 else torch.cat(chunks)).index_select(0, slots.rows)
        if self.dummy_weight is not None:
            x = x * self.dummy_weight
        return x, gates[-1]

    def _run(self, frames: Callable[..., Tensor], *inputs) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(frames, *inputs, use_reentrant=False)
        return frames(*inputs)

    def _frames(self, signal: Tensor, owner: Tensor, weights: list[Tensor | Weights],
                gates: list[Tensor | None]) -> Tensor:
        """(slots, stride) -> (slots, channels), fewer where the last slots do not hold a window."""
        first, *others = self.conv_layers
        x = first(signal, owner, weights[0], gates[0])
        for layer, own, gate in zip(others, weights[1:], gates[1:], strict=True):
            x = layer(x, own, gate)
        return x
