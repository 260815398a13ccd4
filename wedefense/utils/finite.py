"""Weights are numbers: NaN and infinities are found when they are written or read, not when they have judged."""

import os
from collections.abc import Iterator

import torch
from torch import Tensor

from wedefense.utils.errors import InputError


def require_finite(tree, source: str | os.PathLike) -> None:
    """`InputError` that names the first tensor with a value that is no number."""
    if (name := not_finite(tree)) is not None:
        raise InputError(f"{source}: tensor '{name}' holds NaN or infinite values, with which nothing can be "
                         "judged; get the file again, or take the weights of an earlier epoch")


def not_finite(tree) -> str | None:
    """The first tensor of nested dicts and lists with a value that is no number; None where there is none."""
    return next((name for name, tensor in _tensors(tree, "") if not _is_finite(tensor)), None)


def _tensors(tree, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, (dict, list, tuple)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _is_finite(tensor: Tensor) -> bool:
    """One pass at the speed of memory: NaN and infinities survive a sum, and where it overflows we look again."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.device.type == "meta":
        return True
    tensor = tensor.detach()
    total = tensor.sum(dtype=torch.float32) if tensor.is_floating_point() and tensor.itemsize < 4 else tensor.sum()
    return bool(total.isfinite()) or bool(tensor.isfinite().all())
