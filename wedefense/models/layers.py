"""What back-ends share: the check of their inputs, the weighted sum of layers, masks for padded frames."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wedefense.utils.errors import InputError
from wedefense.utils.features import LayerFeatures, frame_mask
from wedefense.utils.log import get_logger


def check_inputs(options, feat_dim: int, num_layers: int) -> None:
    """Compare what the config says of the front-end with what the front-end is."""
    if options.feat_dim not in (-1, feat_dim):
        raise InputError(f"model_args.feat_dim is {options.feat_dim}, but the front-end gives {feat_dim} features "
                         "per frame; leave it at -1 to follow the front-end")
    told = getattr(options, "nb_layer", -1)
    if told not in (-1, num_layers):
        get_logger().warning("model_args.nb_layer is %d, but the front-end gives %d layers: all %d are used",
                             told, num_layers, num_layers)


class _Mix(torch.autograd.Function):
    """sum_n weights[m, n] * layers[n] for each row m, one layer at a time."""

    @staticmethod
    def forward(ctx, weights, *layers):
        ctx.save_for_backward(weights, *layers)
        return _mixed(weights, layers)

    @staticmethod
    def backward(ctx, *grads):
        weights, *layers = ctx.saved_tensors
        grad_weights = None
        if ctx.needs_input_grad[0]:
            rows = [torch.stack([_dot(grad, layer) for layer in layers]) for grad in grads]
            grad_weights = torch.stack(rows).to(weights.dtype)
        grad_layers = [_combine(weights[:, n], grads) if needed else None
                       for n, needed in enumerate(ctx.needs_input_grad[1:])]
        return grad_weights, *grad_layers


def _mixed(weights: Tensor, layers: Sequence[Tensor]) -> tuple[Tensor, ...]:
    narrow = functools.reduce(torch.promote_types, [layer.dtype for layer in layers])
    wide = torch.promote_types(narrow, torch.float32)
    mixes = [torch.zeros_like(layers[0], dtype=wide) for _ in weights]
    for n, layer in enumerate(layers):
        for mix, row in zip(mixes, weights):
            mix.addcmul_(layer.to(wide), row[n].to(wide))
    return tuple(mix.to(narrow) for mix in mixes)


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


def mix_layers(layers: list[Tensor], *weights: Tensor) -> tuple[Tensor, ...]:
    """Weighted sums of layers, (batch, frames, dim) for each (layers,) row of weights; nothing is stacked."""
    if not torch.is_grad_enabled():  # exporters cannot look into an autograd function
        return _mixed(torch.stack(weights), layers)
    return _Mix.apply(torch.stack(weights), *layers)


class LayerSum(nn.Module):
    """The softmax-weighted sum of all layers; one layer passes as it is."""

    def __init__(self, num_layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers)) if num_layers > 1 else None

    def forward(self, layers: list[Tensor]) -> Tensor:
        """num_layers x (batch, frames, dim) -> (batch, frames, dim)"""
        if self.weights is None:
            return layers[0]
        return mix_layers(layers, self.weights.softmax(dim=0))[0]


class Backend(nn.Module):
    """A back-end of one input; several layers enter it as their weighted sum, short utterances repeated."""

    min_frames = 1

    def __init__(self, options, feat_dim: int, num_layers: int):
        super().__init__()
        check_inputs(options, feat_dim, num_layers)
        self.layer_sum = LayerSum(num_layers)
        self.embed_dim = options.embed_dim

    def one_input(self, features: LayerFeatures) -> tuple[Tensor, Tensor]:
        """-> x (batch, frames, dim), zero where padded, and lengths, at least `min_frames`"""
        return repeat_short(self.layer_sum(features.layers), features.lengths, self.min_frames)


def repeat_short(x: Tensor, lengths: Tensor, minimum: int) -> tuple[Tensor, Tensor]:
    """Utterances (batch, frames, dim) of fewer than `minimum` frames begin anew until they have them."""
    lengths = lengths.to(x.device)
    if minimum > 1:
        start = torch.arange(minimum, device=x.device) % lengths.clamp(min=1)[:, None]  # (batch, minimum)
        start = start.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2])
        x = torch.cat([x.gather(1, start), x[:, minimum:]], dim=1)
        lengths = lengths.clamp(min=minimum)
    return x * frame_mask(lengths, x.shape[1])[..., None], lengths


def halved(lengths, times: int = 1):
    """Frames that are left of `lengths` (a tensor or a number) by convolutions of stride 2 (kernel 3, padding 1)."""
    for _ in range(times):
        lengths = (lengths + 1) // 2
    return lengths
