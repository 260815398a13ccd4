"""What passes between the host and a device without either waiting for the other."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

_holders: list[list] = []


@contextlib.contextmanager
def holding() -> Iterator[list]:
    """Collects what `hold` is told meanwhile: for those who need it to outlive the caches that it comes from."""
    held: list = []
    _holders.append(held)
    try:
        yield held
    finally:
        _holders.remove(held)


def hold(value):
    """`value`, which comes from a cache."""
    for holder in _holders:
        holder.append(value)
    return value


def kept(maxsize: int) -> Callable[[Callable], Callable]:
    """As `functools.lru_cache`, for what lies on a device."""
    def decorate(make: Callable) -> Callable:
        cached = functools.lru_cache(maxsize)(make)

        @functools.wraps(make)
        def get(*arguments):
            return hold(cached(*arguments))

        vars(get)["cache_clear"] = cached.cache_clear
        return get
    return decorate


def send(values: np.ndarray, device: torch.device) -> Tensor:
    """A host array on a device. On CUDA by way of page-locked memory: from elsewhere a copy may wait for the stream."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def send_together(device: torch.device, *parts: np.ndarray) -> tuple[Tensor, ...]:
    """Whole numbers (count,) on a device, int64, all in one copy."""
    joined = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    return send(joined, device).split([len(part) for part in parts])


@kept(maxsize=1024)
def numbers_on(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """(count,) int64 on a device; numbers that come again are not sent again. Not to be written to."""
    with torch.inference_mode(False):  # what is kept must serve training too
        return send(np.array(numbers, dtype=np.int64), device)


def pinned_for(values: Tensor) -> Tensor:
    """Memory of the host for a copy of `values`, such that the copy need not be waited for."""
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=values.device.type == "cuda")


class Trailing:
    """Values of a device on their way to the host: reading them waits for what made them, not for what came after."""

    def __init__(self, values: Tensor):
        self._host, self._arrived = values, None
        if values.device.type == "cuda":
            self._host = pinned_for(values).copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event(blocking=True)
            self._arrived.record()

    def read(self) -> Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
