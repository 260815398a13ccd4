"""Weighted sums of layers, and their gradients, reading each layer once."""

import torch
from torch import Tensor

from wedefense.gpu import mix_kernels as kernels
from wedefense.gpu.passes import total_of
from wedefense.gpu.recordings import gradient_place

BLOCK = 2048
SHARES = 64  # of the programs' sums, which are summed in two steps


class Mix(torch.autograd.Function):
    """weights (mixes, layers), layers of one shape -> the mixes, in the layers' precision."""

    @staticmethod
    def forward(ctx, weights: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        layers, wide = tuple(layer.contiguous() for layer in layers), weights.float().contiguous()
        ctx.save_for_backward(wide, *layers)
        ctx.dtype = weights.dtype
        out, count = layers[0].new_empty(len(wide), *layers[0].shape), layers[0].numel()
        kernels.mix_kernel[(-(-count // BLOCK),)](layers, wide, out, count, LAYERS=len(layers), MIXES=len(wide),
                                               ROWS=1 << (len(wide) - 1).bit_length(), BLOCK=BLOCK)
        return out.unbind()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor):
        weights, *layers = ctx.saved_tensors
        gradients, count = tuple(gradient.contiguous() for gradient in gradients), layers[0].numel()
        for_weights, for_layers = None, [None] * len(layers)
        sizes = {"LAYERS": len(layers), "MIXES": len(weights)}
        if ctx.needs_input_grad[0]:
            programs = -(-count // BLOCK // SHARES) * SHARES
            partial = weights.new_empty(programs, *weights.shape)
            kernels.mix_gradient_kernel[(programs,)](tuple(layers), gradients, partial, count, **sizes, BLOCK=BLOCK)
            of_shares = total_of(partial.view(SHARES, -1, *weights.shape))
            for_weights = total_of(of_shares[None])[0].view_as(weights).to(ctx.dtype)
        if any(ctx.needs_input_grad[1:]):
            places = map(gradient_place, ctx.next_functions[1:], layers)
            for_layers = [torch.empty_like(layer) if place is None else place for layer, place in zip(layers, places)]
            kernels.unmix_kernel[(-(-count // BLOCK),)](gradients, weights, tuple(for_layers), count, **sizes,
                                                         BLOCK=BLOCK)
        return for_weights, *for_layers


class Centre(torch.autograd.Function):
    """x (.., dim) less its mean over dim; what comes back is centred in the same way."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _centred(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _centred(gradient)


def _centred(x: Tensor) -> Tensor:
    x, dim = x.contiguous(), x.shape[-1]
    out, rows, power = torch.empty_like(x), x.numel() // dim, max(1 << (dim - 1).bit_length(), 16)
    tile = max(2048 // power, 1)
    kernels.centre_kernel[(-(-rows // tile),)](x, out, rows, dim, ROWS=tile, DIM=power, num_warps=4)
    return out
