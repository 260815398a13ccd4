"""What Triton compiles: a program for every kernel, kind of arguments and value of a constant, when it comes first."""

import math
from functools import cache

from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.runtime.jit import JITFunction, create_function_from_signature

from tests.emulation.device import Emulation, OnDevice, each, tensors


def _of_attention(products: int):
    """Multiplications and additions of so many products of all queries with all keys."""
    return lambda given: 2 * products * math.prod(given["qkv"].shape) // 3 * (given["middle"] + 1)


def _of_groups(given) -> int:
    """Multiplications and additions of one value of each window with all channels of their groups."""
    return 2 * given["CHANNELS"] * given["spread"].shape[0]


FLOPS = {
    "forward_kernel": _of_attention(2), "key_gradient_kernel": _of_attention(4),
    "query_gradient_kernel": _of_attention(1),
    "product_kernel": lambda given: 2 * given["rows"] * given["columns"] * given["inner"],
    "convolution_kernel": lambda given: _of_groups(given) * given["FRAMES"] * given["count"] * given["inner"],
    "tap_gradient_kernel": lambda given: (
        _of_groups(given) * given["kernel"] * given["CHANNELS"] * given["INNER"] * given["count"]),
    "first_layer_kernel": lambda given: 2 * given["out"].numel() * given["TAPS"],
    "first_layer_gradient_kernel": lambda given: 4 * given["gradient"].numel() * given["TAPS"]}


class Pointer:
    """To a tensor, as Triton looks at it: memory of a GPU begins at an even place."""

    def __init__(self, tensor: Tensor):
        held = tensor.held if isinstance(tensor, OnDevice) else tensor
        self.dtype, self._place = held.dtype, held.storage_offset() * held.element_size()

    def data_ptr(self) -> int:
        return self._place


@cache
def _binder(kernel):
    """What tells Triton's programs of a kernel apart."""
    function = kernel if isinstance(kernel, JITFunction) else JITFunction(kernel.fn, **kernel.kwargs)
    return create_function_from_signature(function.signature, function.params,
                                          CUDABackend(GPUTarget("cuda", 90, 32)))


def program_of(kernel, args: tuple, kwargs: dict) -> tuple[str, str]:
    """A kernel's name, and the kinds of its arguments with the values that are compiled in."""
    bound, kinds, options = _binder(kernel)(*each(Pointer, args), **{k: each(Pointer, v) for k, v in kwargs.items()})
    named = [f"{name}={kind[1] if kind[0] == 'constexpr' else kind}" for name, kind in zip(bound, kinds)]
    return kernel.fn.__name__, ", ".join([*named, *(f"{k}={v}" for k, v in sorted(options.items()))])


def _by_name(kernel, args: tuple, kwargs: dict) -> dict:
    return dict(zip(kernel.arg_names, args)) | kwargs


def note(kernel, args: tuple, kwargs: dict, emulation: Emulation) -> None:
    """A launch: its program, and the bytes of its tensors, each once."""
    name, seen = kernel.fn.__name__, emulation.seen
    given = tensors((args, kwargs))
    if not all(isinstance(tensor, OnDevice) for tensor in given):
        emulation.fault(f"{name} reads the host's memory")
    seen.launches[name] += 1
    seen.programs[program_of(kernel, args, kwargs)] += 1
    seen.bytes[name] += sum({id(t.held): t.numel() * t.element_size() for t in given if isinstance(t, OnDevice)}
                            .values())
    if name in FLOPS:
        seen.flops[name] += FLOPS[name](_by_name(kernel, args, kwargs))
