"""CUDA graphs on the emulated device: what is launched while one records, played back on the same memory."""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from tests.emulation.device import ALLOCATE, Emulation, compute, each, tensors


class Recording:
    """Instead of `torch.cuda.CUDAGraph`. Memory that it reads or writes and did not make itself must live on, which a
    GPU does not look after: a fault of whoever plays it back once that is gone."""

    alive: "weakref.WeakSet[Recording]" = weakref.WeakSet()

    def __init__(self):
        self.alive.add(self)
        self._steps: list[Callable[[], None]] = []
        self._held: list[Tensor] = []   # by recordings alone
        self._made: set[int] = set()    # storages

    def operation(self, func, name: str, args, kwargs, out) -> None:
        """One that was run while this records, with what its tensors hold."""
        if name in ALLOCATE:
            self._made |= {_storage(x) for x in tensors(out)}
            self._held += map(_alias, tensors(out))
            return
        given = {_storage(x) for x in tensors((args, kwargs))}
        self._made |= {_storage(x) for x in tensors(out)} - given
        args, kwargs = each(self._kept, args), {key: each(self._kept, value) for key, value in kwargs.items()}
        outs = list(map(self._kept, tensors(out)))

        def step():
            for result, kept in zip(tensors(compute(func, name, args, kwargs)), outs, strict=True):
                if result.data_ptr() != kept.data_ptr():  # neither a view nor what was worked on in place
                    kept.copy_(result)

        self._steps.append(step)

    def launch(self, run: Callable, args, kwargs) -> None:
        """A kernel of Triton's."""
        args, kwargs = each(self._kept, args), {key: each(self._kept, value) for key, value in kwargs.items()}
        self._steps.append(lambda: run(*args, **kwargs))

    def _kept(self, x: Tensor) -> Tensor:
        self._held.append(_alias(x))
        return self._held[-1]

    def pool(self) -> tuple[int, int]:
        """Of the memory that another recording may share."""
        return 0, 0

    def replay(self) -> None:
        own = Counter(_storage(x) for recording in self.alive for x in recording._held)
        made = set().union(*(recording._made for recording in self.alive))  # in the pool, as long as they live
        lost = [tuple(x.shape) for x in self._held if _storage(x) not in made and _holders(x) == own[_storage(x)]]
        assert not lost, f"a recording reads memory that nobody else holds any more, of tensors {lost}"
        with torch._C._DisableTorchDispatch(), torch.no_grad():
            for step in self._steps:
                step()


@contextlib.contextmanager
def recorded(recording: Recording, pool=None, **_):
    """Instead of `torch.cuda.graph`."""
    Emulation.current.recording = recording
    try:
        yield
    finally:
        Emulation.current.recording = None


def _alias(x: Tensor) -> Tensor:
    """The same memory, by a tensor of its own."""
    with torch._C._DisableTorchDispatch():
        return x.detach()


def _holders(x: Tensor) -> int:
    """Tensors that share x's memory."""
    storage = x.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata) - 1  # this name


def _storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata
