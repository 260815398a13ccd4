"""What programs of a kernel do to memory, as a GPU punishes it and an interpreter, one after the other, does not.

    with watched():
        kernel[grid](...)

A fault is: a place read or written outside the tensors that the kernel was given; one that two programs write, or that
one writes and another reads, since nobody knows which of them comes first; one that a program reads after it wrote it
without `tl.debug_barrier()` between, since other threads do. What is read before anybody wrote it is no number.
"""

import contextlib
from unittest import mock

import numpy as np
import torch
from triton.runtime import interpreter

from tests.emulation.device import tensors

MANY = -1  # programs


class _Memory:
    """Of one tensor's storage, by its smallest values: who wrote and who read each, a program's number from 1 on."""

    def __init__(self, begin: int, grain: int, size: int):
        self.begin, self.grain, self.size = begin, grain, size
        self.writer, self.reader, self.written = (np.zeros(size // grain, np.int32) for _ in range(3))


class _Launch:
    def __init__(self, kernel: str, given: list[torch.Tensor]):
        self.kernel, self.program, self.barriers = kernel, 0, 1
        storages: dict[int, list[torch.Tensor]] = {}
        for tensor in given:
            storages.setdefault(tensor.untyped_storage().data_ptr(), []).append(tensor)
        self.memories = [_Memory(begin, min(t.element_size() for t in same), same[0].untyped_storage().nbytes())
                         for begin, same in storages.items()]
        self.views = sorted((t.data_ptr(), t.data_ptr() + _extent(t)) for t in given)

    def fault(self, what: str, pointers: np.ndarray) -> None:
        raise AssertionError(f"{self.kernel}, program {self.program - 1}: {what} ({pointers.size} places)")

    def places(self, pointers: np.ndarray, mask: np.ndarray, width: int) -> tuple[_Memory | None, np.ndarray]:
        """The storage that pointers lie in, and which values of it."""
        active = np.unique(pointers[np.broadcast_to(mask, pointers.shape)].astype(np.int64))
        if not active.size:
            return None, active
        if not any(begin <= active[0] and active[-1] + width <= end for begin, end in self.views):
            self.fault("outside of what it was given", active)
        memory = next(m for m in self.memories if m.begin <= active[0] < m.begin + m.size)
        first = (active - memory.begin) // memory.grain
        return memory, (first[:, None] + np.arange(width // memory.grain)).ravel()

    def read(self, pointers: np.ndarray, mask: np.ndarray, width: int) -> None:
        memory, at = self.places(pointers, mask, width)
        if memory is None:
            return
        writer = memory.writer[at]
        if (found := at[(writer != 0) & (writer != self.program)]).size:
            self.fault("reads what another writes", found)
        if (found := at[(writer == self.program) & (memory.written[at] == self.barriers)]).size:
            self.fault("reads what it wrote without a barrier between", found)
        reader = memory.reader[at]
        memory.reader[at] = np.where((reader == 0) | (reader == self.program), self.program, MANY)

    def write(self, pointers: np.ndarray, mask: np.ndarray, width: int) -> None:
        memory, at = self.places(pointers, mask, width)
        if memory is None:
            return
        if (found := at[(memory.writer[at] != 0) & (memory.writer[at] != self.program)]).size:
            self.fault("writes what another writes", found)
        if (found := at[(memory.reader[at] != 0) & (memory.reader[at] != self.program)]).size:
            self.fault("writes what another reads", found)
        memory.writer[at], memory.written[at] = self.program, self.barriers


def _extent(tensor: torch.Tensor) -> int:
    """Bytes from a tensor's first value to its last."""
    if not tensor.numel():
        return 0
    return (1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))) * tensor.element_size()


@contextlib.contextmanager
def watched():
    """Inside, each launch of a kernel by the interpreter is held to this; values of fresh memory are no numbers."""
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    load, store, barrier, index = (builder.create_masked_load, builder.create_masked_store, builder.create_barrier,
                                   builder.set_grid_idx)
    call = executor.__call__
    launch: list[_Launch] = []

    def _call(self, *args, **kwargs):
        launch[:] = [_Launch(self.fn.__name__, tensors((args, kwargs)))]
        return call(self, *args, **kwargs)

    def _index(self, x, y, z):
        launch[0].program += 1
        index(self, x, y, z)

    def _load(self, pointers, mask, *others):
        launch[0].read(pointers.data, mask.data, _width(pointers))
        return load(self, pointers, mask, *others)

    def _store(self, pointers, value, mask, *others):
        launch[0].write(pointers.data, mask.data, _width(pointers))
        return store(self, pointers, value, mask, *others)

    def _barrier(self):
        launch[0].barriers += 1
        return barrier(self)

    with contextlib.ExitStack() as patches:
        for place, name, new in ((executor, "__call__", _call), (builder, "set_grid_idx", _index),
                                 (builder, "create_masked_load", _load), (builder, "create_masked_store", _store),
                                 (builder, "create_barrier", _barrier)):
            patches.enter_context(mock.patch.object(place, name, new))
        patches.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled(),
                         warn_only=torch.is_deterministic_algorithms_warn_only_enabled())
        torch.use_deterministic_algorithms(True, warn_only=True)  # fresh memory is filled with NaN
        yield


def _width(pointers) -> int:
    return pointers.get_element_ty().primitive_bitwidth // 8
