"""Convolutions under autocast on processors with AMX.

oneDNN, as PyTorch 2.11 and 2.15 have it, computes some of them wrong in bfloat16 there, by as much as their values: few
channels to a group, an image one column wide. Its products are right, and several times as fast as in float32.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

CONVOLUTIONS = {"conv1d": ("default", "padding"), "conv2d": ("default", "padding")}


def has_amx() -> bool:
    return torch.cpu.get_capabilities().get("amx_tile", False)


@lru_cache(maxsize=1)
def keep_from_amx() -> torch.library.Library | None:
    """From here on in this process, autocast on the CPU leaves convolutions in float32 if the processor has AMX."""
    if not has_amx():
        return None
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # that autocast's own are replaced
        for name, overloads in CONVOLUTIONS.items():
            for overload in overloads:
                library.impl(f"{name}.{overload}".removesuffix(".default"),
                             _in_float32(getattr(getattr(torch.ops.aten, name), overload)), "AutocastCPU")
    return library  # what it registers lives as long as it


def _in_float32(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *where: object) -> Tensor:
        narrow = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            if x.dtype == torch.float64:
                return operator(x, weight, bias, *where)
            return operator(x.float(), weight.float(), None if bias is None else bias.float(), *where).to(narrow)

    return convolve
