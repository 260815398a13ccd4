"""A block that is left out of one training step."""

import torch
from torch import Tensor, nn


def hand_on(x: Tensor, block: nn.Module) -> Tensor:
    """`x` as it is, and a gradient of exactly 0 for each parameter of `block`, whatever its value."""
    return _HandOn.apply(x, *(parameter for parameter in block.parameters() if parameter.requires_grad))


class _HandOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.like = [(parameter.shape, parameter.dtype, parameter.device) for parameter in parameters]
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient, *(torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like)
