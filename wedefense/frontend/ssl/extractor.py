"""The convolutions that turn samples into frames.

All utterances run as one signal: each is cut into slots of one frame shift (320 samples), and the slots of all
utterances follow one another. Every convolution's stride divides the slot, so an utterance's valid frames see
its own samples alone, and the windows that cross into the next utterance are the ones past its last valid frame.
Padding to the longest utterance is never computed.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.products import strided_conv, working_dtype
from wedefense.utils.features import frame_mask


def conv_lengths(lengths: Tensor, conv_layers: tuple[tuple[int, int, int], ...]) -> Tensor:
    """Frames that the convolutions make of so many samples."""
    for _, kernel, stride in conv_layers:
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return lengths.clamp(min=0)


def open_layer_norm(x: Tensor, norm: nn.LayerNorm, gate: Tensor | None) -> Tensor:
    """Layer norm with statistics over the channels whose gate is open.

    Cutting closed channels away leaves a layer norm over the others; with their values still in the statistics
    the cut model would differ from the gated one. Closed channels come out as whatever, to be gated to zero.
    """
    if gate is None:
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    is_open = (gate > 0).to(x.dtype)
    count = is_open.sum()
    mean = (x * is_open).sum(-1, keepdim=True) / count
    centred = (x - mean) * is_open
    variance = centred.square().sum(-1, keepdim=True) / count
    return centred * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


@dataclass
class Slots:
    """The utterances of a batch cut into slots of one frame shift, one after the other."""

    signal: Tensor        # (slots, stride)
    owner: Tensor | None  # (slots,): the utterance of a slot; None: every utterance has the same number
    batch: int
    rows: Tensor          # (valid frames,): which of the slots' frames are valid

    @classmethod
    def cut(cls, wav: Tensor, lengths: Tensor, frames: Tensor, stride: int) -> "Slots":
        batch, samples = wav.shape
        slots = -(-samples // stride)
        signal = F.pad(wav, (0, slots * stride - samples)).view(batch, slots, stride)
        valid = frame_mask(frames, slots)  # (batch, slots)
        used = frame_mask(-(-lengths // stride), slots)
        if bool(used.all()):
            return cls(signal.flatten(0, 1), None, batch, valid.flatten().nonzero().squeeze(1))
        owner = torch.arange(batch, device=wav.device)[:, None].expand(batch, slots)[used]
        return cls(signal[used], owner, batch, valid[used].nonzero().squeeze(1))

    def per_slot(self, values: Tensor) -> Tensor:
        """(batch, ...) -> (slots or batch, ...): an utterance's value for each of its slots."""
        return values if self.owner is None else values[self.owner]

    def sum(self, values: Tensor) -> Tensor:
        """(slots, ...) -> (batch, ...): the sum over each utterance's slots."""
        if self.owner is None:
            return values.unflatten(0, (self.batch, -1)).sum(1)
        return values.new_zeros(self.batch, *values.shape[1:]).index_add(0, self.owner, values)


class ConvLayer(nn.Module):
    """A convolution, its norm if it has one, GELU, and a gate per output channel.

    `gate` (a callable that gives a multiplier per channel) applies after the activation; layer norms here and in
    the feature projection take their statistics over the open channels only, see `open_layer_norm`.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int, bias: bool, norm: nn.Module | None):
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        if norm is not None:
            self.layer_norm = norm
        self.stride = stride
        self.gate = None

    def finish(self, x: Tensor, gate: Tensor | None) -> Tensor:
        if isinstance(getattr(self, "layer_norm", None), nn.LayerNorm):
            x = open_layer_norm(x, self.layer_norm, gate)
        x = F.gelu(x)
        return x if gate is None else x * gate

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(time, in) -> (frames, channels) and the gate that applied."""
        gate = None if self.gate is None else self.gate()
        return self.finish(strided_conv(x, self.conv.weight, self.conv.bias, self.stride), gate), gate

    def first(self, slots: Slots, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same for the first layer, which sees samples: (slots * windows per slot, channels).

        Samples stay in float32 in lower precisions too: speech falls by 60 dB towards high frequencies, which
        bfloat16 samples would drown.
        """
        gate = None if self.gate is None else self.gate()
        kernel, stride = self.conv.kernel_size[0], self.stride
        signal = slots.signal.flatten()
        windows = F.pad(signal, (0, max(kernel - stride, 0))).unfold(0, kernel, stride)
        with torch.autocast(signal.device.type, enabled=False):
            if isinstance(getattr(self, "layer_norm", None), nn.GroupNorm):
                windows = windows.unflatten(0, (len(slots.signal), -1))  # (slots, windows, kernel)
                x = self._group_normed(windows, slots, lengths)
            else:
                bias = None if self.conv.bias is None else self.conv.bias.to(signal.dtype)
                x = F.linear(windows, self.conv.weight[:, 0].to(signal.dtype), bias)
        return self.finish(x.to(working_dtype(self.conv.weight)), gate), gate

    def _group_normed(self, windows: Tensor, slots: Slots, lengths: Tensor) -> Tensor:
        """The first convolution and its norm over time, as one product with weights scaled per utterance.

        A channel is linear in its window, so its mean and variance over an utterance follow from the mean and
        covariance of the utterance's valid windows: no pass over the channels is needed. A bias before a norm
        over time cancels.
        """
        norm, weight = self.layer_norm, self.conv.weight[:, 0]
        count = torch.div(lengths - weight.shape[1], self.stride, rounding_mode="floor") + 1  # valid windows
        mean, covariance = window_statistics(windows, slots, count)
        wide = weight.double()
        channel_mean = mean @ wide.t()  # (batch, channels)
        variance = torch.einsum("ck,bkl,cl->bc", wide, covariance, wide)
        scale = norm.weight.double() * torch.rsqrt(variance.clamp(min=0) + norm.eps)
        shift = norm.bias.double() - channel_mean * scale
        scaled = (scale[:, :, None] * wide).to(windows.dtype).transpose(1, 2)  # (batch, kernel, channels)
        shift = shift.to(windows.dtype)[:, None]
        if slots.owner is None:
            windows = windows.reshape(slots.batch, -1, weight.shape[1])  # (batch, time, kernel)
        out = torch.baddbmm(slots.per_slot(shift), windows, slots.per_slot(scaled))
        return out.flatten(0, 1)  # (time, channels)


def window_statistics(windows: Tensor, slots: Slots, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (batch, kernel) and covariance (batch, kernel, kernel) of each utterance's valid windows, in float64."""
    per_slot = windows.shape[1]
    if slots.owner is None:
        start = torch.arange(len(windows) // slots.batch, device=windows.device).repeat(slots.batch)
    else:
        first = torch.searchsorted(slots.owner, torch.arange(slots.batch, device=windows.device))
        start = torch.arange(len(windows), device=windows.device) - first[slots.owner]
    owner = slots.owner if slots.owner is not None else \
        torch.arange(slots.batch, device=windows.device).repeat_interleave(len(windows) // slots.batch)
    valid = frame_mask((count[owner] - start * per_slot), per_slot)  # (slots, windows)
    kept = windows.double() * valid[:, :, None]
    count = count.double()
    mean = slots.sum(kept.sum(1)) / count[:, None]
    square = slots.sum(kept.transpose(1, 2) @ kept) / count[:, None, None]
    return mean, square - mean[:, :, None] * mean[:, None, :]


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
            self.conv_layers.append(ConvLayer(inputs, channels, kernel, stride, architecture.conv_bias, norm))
            inputs = channels
        if architecture.conv_output_scale:
            self.dummy_weight = nn.Parameter(torch.ones(inputs))
        self.stride = architecture.stride

    def forward(self, wav: Tensor, lengths: Tensor, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Frames of all utterances one after the other, and the last layer's gate if it has one."""
        slots = Slots.cut(wav, lengths, frames, self.stride)
        x, gate = self.conv_layers[0].first(slots, lengths)
        for layer in self.conv_layers[1:]:
            x, gate = layer(x)
        x = x.index_select(0, slots.rows)
        if hasattr(self, "dummy_weight"):
            x = x * self.dummy_weight
        return x, gate
