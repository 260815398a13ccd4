"""Weighted sums of layers: one layer at a time on a CPU, by one kernel on a GPU, as few products without kernels.

On a CPU nothing is stacked, and a layer is read while it lies in the cache. On a GPU each of those sums would be a
kernel of its own, some hundreds in a step; there `wedefense.gpu.mix` reads each layer once, and where kernels do not
run all layers enter one product, a part of the frames at a time.
"""

import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wedefense.frontend.features import CentredFeatures, LayerFeatures, centred
from wedefense.gpu import kernels_run_on

CHUNK = 2**26  # values of all layers together that are held at a time
BLOCK = 2**14  # values that are summed in one go: one long product would keep few processors busy, and round more


class _Mix(torch.autograd.Function):
    """sum_n weights[m, n] * layers[n] for each row m."""

    @staticmethod
    def forward(ctx, weights, *layers):
        ctx.save_for_backward(weights, *layers)
        return _mixed(weights, layers)

    @staticmethod
    def backward(ctx, *grads):
        weights, *layers = ctx.saved_tensors
        by_products = layers[0].device.type == "cuda"
        grad_weights: Tensor | None = None
        grad_layers: Sequence[Tensor | None] = [None] * len(layers)
        if ctx.needs_input_grad[0]:
            grad_weights = (dots_by_products if by_products else _dots)(grads, layers).to(weights.dtype)
        if by_products and any(ctx.needs_input_grad[1:]):
            grad_layers = combined_by_product(weights, grads)
        elif not by_products:
            grad_layers = [_combine(weights[:, n], grads) if needed else None
                           for n, needed in enumerate(ctx.needs_input_grad[1:])]
        return grad_weights, *grad_layers


def mix_features(features: LayerFeatures, *weights: Tensor) -> tuple[Tensor, ...]:
    """`mix_layers` of a front-end's features."""
    if isinstance(features, CentredFeatures):
        mixes = mix_layers(features.raw, *weights)
        if kernels_run_on(mixes[0].device) and not torch.compiler.is_compiling():
            from wedefense.gpu.mix import Centre

            return tuple(Centre.apply(mix) for mix in mixes)
        return tuple(centred(mix) for mix in mixes)
    return mix_layers(features.layers, *weights)


def mix_layers(layers: list[Tensor], *weights: Tensor) -> tuple[Tensor, ...]:
    """Weighted sums of layers, (batch, frames, dim) for each (layers,) row of weights."""
    if kernels_run_on(layers[0].device) and not torch.compiler.is_compiling():
        from wedefense.gpu.mix import Mix

        return Mix.apply(torch.stack(weights), *layers)
    if not torch.is_grad_enabled():  # exporters cannot look into an autograd function
        return _mixed(torch.stack(weights), layers)
    return _Mix.apply(torch.stack(weights), *layers)


def _precisions(layers: Sequence[Tensor]) -> tuple[torch.dtype, torch.dtype]:
    """What a sum of these comes out in, and what it is summed in."""
    narrow = functools.reduce(torch.promote_types, [layer.dtype for layer in layers])
    return narrow, torch.promote_types(narrow, torch.float32)


def _mixed(weights: Tensor, layers: Sequence[Tensor]) -> tuple[Tensor, ...]:
    if layers[0].device.type == "cuda":
        return mixed_by_products(weights, layers)
    narrow, wide = _precisions(layers)
    mixes = [torch.zeros_like(layers[0], dtype=wide) for _ in weights]
    for n, layer in enumerate(layers):
        for mix, row in zip(mixes, weights):
            mix.addcmul_(layer.to(wide), row[n].to(wide))
    return tuple(mix.to(narrow) for mix in mixes)


def _dots(grads: Sequence[Tensor], layers: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.stack([_dot(grad, layer) for layer in layers]) for grad in grads])


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of x * y, in blocks: no product in memory, and the rounding of short sums."""
    wide = torch.promote_types(x.dtype, torch.float32)
    blocks = zip(x.reshape(-1).split(2**20), y.reshape(-1).split(2**20))
    return torch.stack([torch.dot(a.to(wide), b.to(wide)) for a, b in blocks]).sum()


def _combine(column: Tensor, grads: tuple[Tensor, ...]) -> Tensor:
    total = grads[0] * column[0].to(grads[0].dtype)
    for grad, weight in zip(grads[1:], column[1:]):
        total.addcmul_(grad, weight.to(grad.dtype))
    return total


def mixed_by_products(weights: Tensor, layers: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """weights (rows, layers) -> a sum for each row, of a layer's shape."""
    narrow, wide = _precisions(layers)
    mixes = torch.empty(len(weights), layers[0].numel(), dtype=narrow, device=weights.device)
    with torch.autocast(weights.device.type, enabled=False):
        for part, stack in _stacked(layers, wide):
            mixes[:, part] = weights.to(wide) @ stack
    return tuple(mix.view(layers[0].shape) for mix in mixes)


def dots_by_products(grads: Sequence[Tensor], layers: Sequence[Tensor]) -> Tensor:
    """-> (grads, layers): the sum of the products of all values of a gradient and a layer."""
    _, wide = _precisions([*grads, *layers])
    total = torch.zeros(len(grads), len(layers), dtype=wide, device=layers[0].device)
    for _, stack in _stacked([*grads, *layers], wide):
        if stack.shape[1] % BLOCK:
            stack = F.pad(stack, (0, -stack.shape[1] % BLOCK))
        blocks = stack.unflatten(1, (-1, BLOCK)).transpose(0, 1)
        left, right = blocks[:, :len(grads)], blocks[:, len(grads):]  # (blocks, grads or layers, BLOCK)
        total += (left @ right.transpose(1, 2)).sum(0)
    return total


def combined_by_product(weights: Tensor, grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of each layer: all rows' gradients by that layer's weights."""
    flat = torch.stack([grad.reshape(-1) for grad in grads])
    return tuple(row.view(grads[0].shape) for row in weights.t().to(flat.dtype) @ flat)


def _stacked(layers: Sequence[Tensor], dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Parts of all layers side by side, (layers, values), and which values they are."""
    flat = [layer.reshape(-1) for layer in layers]
    size = max(CHUNK // len(layers) // BLOCK, 1) * BLOCK
    for start in range(0, len(flat[0]), size):
        part = slice(start, start + size)
        yield part, torch.stack([values[part] for values in flat]).to(dtype)
