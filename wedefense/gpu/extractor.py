"""The convolutions as few kernels: windows are read where they lie, norm and GELU happen between two products.

Equal to `wedefense.frontend.ssl.extractor.ConvLayer` without gates, which says what is computed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from wedefense.gpu import extractor_kernels as kernels
from wedefense.gpu import shared_memory
from wedefense.gpu.attention import precision
from wedefense.gpu.passes import (
    gelu,
    gelu_backward,
    residual_norm,
    residual_norm_backward,
    total_of,
    totals_of,
    weight_gradient,
)
from wedefense.gpu.products_kernels import product_kernel

TAPS = 16            # of a window of samples with its one, rounded up
SLOTS_BY_SHARE = 16  # slots that one program sums over
WIDE_GRADIENT = 132 * 1024  # bytes of shared memory that a float32 norm's gradient wants with three loads ahead
PRECISION = "tf32x3"  # the samples' products keep float32's accuracy


@dataclass(frozen=True)
class Signal:
    """The utterances of a batch as one run of slots, see `wedefense.frontend.ssl.extractor`."""

    samples: Tensor      # (slots, stride) float32
    owner: Tensor        # (slots,) int32: the utterance of a slot
    slot_starts: Tensor  # (batch + 1,) int32: the first slot of each utterance, in the whole batch
    longest: int         # slots of the longest utterance
    start: int = 0       # the first of these slots, in the whole batch

    @property
    def own_starts(self) -> Tensor:
        """(batch + 1,) int32: the first slot of each utterance among these."""
        return (self.slot_starts - self.start).clamp(0, len(self.samples))


def window_products(signal: Signal, counts: Tensor, kernel: int, stride: int) -> Tensor:
    """counts (batch,) int32, of valid windows -> (batch, shares, TAPS, TAPS): for shares of the windows, sums of the
    products of each pair of a window's values, with a one after the last of them."""
    batch, shares = len(counts), -(-signal.longest // SLOTS_BY_SHARE)
    per_slot = signal.samples.shape[1] // stride
    out = signal.samples.new_empty(batch, shares, TAPS, TAPS)
    kernels.window_products_kernel[(batch, shares)](
        signal.samples, signal.slot_starts, counts, out, signal.samples.numel(), kernel, STRIDE=stride,
        PER_SLOT=per_slot, TAPS=TAPS, WINDOWS=_windows(per_slot), SLOTS=SLOTS_BY_SHARE, PRECISION=PRECISION,
        num_warps=2)
    return out


def folded_weights(sums: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """sums (batch, shares, TAPS, TAPS), weight (channels, kernel) -> (batch, kernel + 1, channels) with the norm in."""
    channels, kernel = weight.shape
    out = sums.new_empty(len(sums), kernel + 1, channels)
    kernels.folded_weights_kernel[(len(sums), -(-channels // 16))](
        sums, weight.contiguous(), gain, shift, out, sums.shape[1], kernel, channels, epsilon, TAPS=TAPS, CHANNELS=16,
        SHARES=8, num_warps=4)
    return out


class FirstLayer(torch.autograd.Function):
    """signal, weights (batch or 1, kernel + 1, channels), and a norm over channels or None -> (windows, channels)."""

    @staticmethod
    def forward(ctx, signal: Signal, stride: int, epsilon: float, dtype: torch.dtype, weights: Tensor,
                gain: Tensor | None, shift: Tensor | None) -> Tensor:
        weights = weights.float().contiguous()
        taps, channels = weights.shape[1:]
        per_slot = signal.samples.shape[1] // stride
        windows, norm = len(signal.samples) * per_slot, gain is not None
        out = weights.new_empty(windows, channels, dtype=dtype)
        tile, width, warps = _tile(per_slot, channels, norm)
        kernels.first_layer_kernel[(windows // tile, -(-channels // width))](
            signal.samples, signal.owner, weights, *((gain, shift) if norm else (weights, weights)), out,
            signal.samples.numel(), taps - 1, channels, epsilon, int(len(weights) > 1), NORM=norm, STRIDE=stride,
            PER_SLOT=per_slot, TAPS=TAPS, WINDOWS=tile, CHANNELS=width, PRECISION=PRECISION, num_warps=warps)
        ctx.signal, ctx.stride, ctx.epsilon = signal, stride, epsilon
        ctx.save_for_backward(weights, gain, shift)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        signal, (weights, gain, shift) = ctx.signal, ctx.saved_tensors
        taps, channels = weights.shape[1:]
        norm, per_slot, batch = gain is not None, signal.samples.shape[1] // ctx.stride, len(signal.slot_starts) - 1
        slots = SLOTS_BY_SHARE // 2 if norm else SLOTS_BY_SHARE
        shares = -(-signal.longest // slots)
        tile, width, warps = _tile(per_slot, channels, norm)
        dweights = weights.new_empty(batch, shares, TAPS, channels)
        dnorm = weights.new_empty(batch, shares, 2, channels) if norm else weights
        kernels.first_layer_gradient_kernel[(batch, shares, -(-channels // width))](
            signal.samples, signal.own_starts, weights, *((gain, shift) if norm else (weights, weights)),
            gradient.contiguous(), dweights, dnorm, signal.samples.numel(), taps - 1, channels, ctx.epsilon,
            int(len(weights) > 1), len(gradient), NORM=norm, STRIDE=ctx.stride, PER_SLOT=per_slot, TAPS=TAPS,
            WINDOWS=tile, CHANNELS=width, SLOTS=slots, PRECISION=_gradient_precision(gradient), num_warps=8,
            num_stages=_stages_of_gradient(gradient, norm))
        found = total_of(dweights).view(batch, TAPS, channels)[:, :taps]
        found = found if len(weights) > 1 else found.sum(0, keepdim=True)
        of_norm = total_of(dnorm.view(1, -1, 2, channels)).view(2, channels) if norm else (None, None)
        return None, None, None, None, found, of_norm[0], of_norm[1]


def _gradient_precision(gradient: Tensor) -> str:
    """Finer than the gradient itself."""
    return PRECISION if gradient.dtype == torch.float32 else "tf32"


def _stages_of_gradient(gradient: Tensor, norm: bool) -> int:
    """Loads that run ahead: as many as the card has room for."""
    wide = norm and gradient.dtype == torch.float32
    return 1 if wide and shared_memory(gradient.device) < WIDE_GRADIENT else 3


def _windows(per_slot: int) -> int:
    """Windows of a program: a power of two that divides a slot's."""
    return min(per_slot & -per_slot, 64)


def _tile(per_slot: int, channels: int, norm: bool) -> tuple[int, int, int]:
    """Windows and channels of a program, and its warps; a norm sees all channels at once."""
    power = max(1 << (channels - 1).bit_length(), 16)
    return (min(_windows(per_slot), 16), power, 8) if norm else (min(_windows(per_slot), 32), min(power, 128), 4)


def parts(x: Tensor, kernel: int, stride: int, count: int) -> list[Tensor]:
    """Windows cut into blocks that do not overlap: each (count, width * channels), lying where x lies."""
    channels = x.shape[1]
    return [x[start:].as_strided((count, min(stride, kernel - start) * channels), (stride * channels, 1))
            for start in range(0, kernel, stride)]


class ConvLayer(torch.autograd.Function):
    """x (time, in) -> (windows, out): product, norm over channels if there is one, GELU.

    `product` (out, kernel * in) is `weight` (out, in, kernel) in the precision of the products.
    """

    @staticmethod
    def forward(ctx, stride: int, epsilon: float, product: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None,
                gain: Tensor | None, shift: Tensor | None) -> Tensor:
        norm = None if gain is None else (gain, shift)
        y = _product(x, product, bias, stride)
        _, out, _, statistics = residual_norm(y, None, norm, epsilon, y.dtype, gelu=True) if norm else (
            None, gelu(y), None, None)
        ctx.stride, ctx.biased = stride, bias is not None
        ctx.save_for_backward(product, x, weight, gain, shift, y, statistics)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        product, x, weight, gain, shift, y, statistics = ctx.saved_tensors
        gradient, dnorm = gradient.contiguous(), (None, None)
        if gain is None:
            dy, partial = gelu_backward(y, gradient)
            dbias, = totals_of(partial)
        else:
            dy, _, partial = residual_norm_backward((y, statistics), (gain, shift), gradient, (), True, y, adds=False,
                                                    gelu=True, dx_dtype=y.dtype)
            *dnorm, dbias = totals_of(partial)[0]
        kernel, columns = weight.shape[2], product.split(weight.shape[1] * ctx.stride, dim=1)
        dweight = torch.cat([weight_gradient(dy, part) for part in parts(x, kernel, ctx.stride, len(y))], 1)
        dx = None
        if ctx.needs_input_grad[3]:
            dx, covered = torch.empty_like(x), len(y) * min(ctx.stride, kernel)
            dx[covered:].zero_()
            first, *others = zip(parts(dx, kernel, ctx.stride, len(y)), columns)
            torch.mm(dy, first[1], out=first[0])
            for part, block in others:
                part.addmm_(dy, block)
        return (None, None, None, dx, dweight.unflatten(1, (kernel, -1)).transpose(1, 2),
                dbias if ctx.biased else None, *dnorm)


def _product(x: Tensor, product: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    kernel = product.shape[1] // x.shape[1]
    count = (len(x) - kernel) // stride + 1
    first, *others = zip(parts(x, kernel, stride, count), product.split(x.shape[1] * stride, dim=1))
    y = torch.mm(first[0], first[1].t()) if bias is None else torch.addmm(bias.to(x.dtype), first[0], first[1].t())
    for part, block in others:
        y.addmm_(part, block.t())
    return y


def conv_layer(stride: int, epsilon: float, product: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None,
               gain: Tensor | None, shift: Tensor | None) -> Tensor:
    """`ConvLayer`; outside autograd and without a norm one kernel does all of it."""
    if torch.is_grad_enabled() or gain is not None:
        return ConvLayer.apply(stride, epsilon, product, x, weight, bias, gain, shift)
    outputs, inner = product.shape
    count = (len(x) - inner // x.shape[1]) // stride + 1
    out = x.new_empty(count, outputs)
    low = x.dtype != torch.float32
    rows, columns = (128, 128) if low else (64, 64)
    product_kernel[(-(-count // rows) * -(-outputs // columns),)](
        x, product, product if bias is None else bias, out, count, outputs, inner, stride * x.shape[1],
        BIAS=bias is not None, GELU=True, PRECISION=precision(), ROWS=rows, COLUMNS=columns,
        INNER=64 if low else 32, GROUP=8, num_warps=4, num_stages=3)
    return out
