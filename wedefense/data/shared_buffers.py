"""Memory in which a loader's workers hand over audio, used again and again.

Fresh shared memory for each batch costs as much as decoding does (the system clears and maps every
page), and containers limit it to 64 MB. These buffers are mapped once, before the workers start.
"""

import mmap
import multiprocessing
import os
import weakref
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from wedefense.data.batch import Batch
from wedefense.utils.log import get_logger

log = get_logger()


@dataclass(frozen=True)
class Parcel:
    """A batch on its way, its audio lying in the ring."""

    batch: Batch
    place: tuple[int, int]
    shape: tuple[int, int]
    behind: int = 0  # floats for later that lie behind it


class Ring:
    """Buffers of `samples` for each worker, filled in turn.

    The loader asks for a worker's next batch only once it has copied the one `prefetch_factor` before,
    and it may be copying that while the worker writes: with `prefetch_factor + 1` slots they never meet.
    Where it lends a batch to a device, whose copy may still be under way when the next batch is asked
    for, it takes one slot more.
    """

    def __init__(self, workers: int, prefetch_factor: int, samples: int, lends: bool = False):
        self._slots, self._turn = prefetch_factor + 1 + lends, 0
        self._last: tuple[int, int] | None = None  # worker and slot of what `empty` gave last
        self._used = self._behind = 0
        self._audio: Tensor | None = None  # (workers, slots, samples)
        self._locked = False
        if workers and multiprocessing.get_start_method() == "fork":  # else workers would not inherit it
            memory = mmap.mmap(-1, workers * self._slots * samples * 4)
            self._audio = torch.frombuffer(memory, dtype=torch.float32).view(workers, self._slots, samples)

    def empty(self, batch: int, samples: int) -> Tensor:
        """(batch, samples) float32, uninitialised: in the ring where it fits, in a worker; else ordinary."""
        worker = get_worker_info()
        self._last, self._behind = None, 0
        if self._audio is None or worker is None or not 0 < batch * samples <= self._audio.shape[2]:
            return torch.empty(batch, samples)
        self._turn = (self._turn + 1) % self._slots
        place = self._last = worker.id, self._turn
        self._used = batch * samples
        return self._span(place, 0, batch * samples).view(batch, samples)

    def behind(self, floats: int) -> Tensor:
        """(floats,) float32, uninitialised: behind what `empty` gave last where that and this fit; else ordinary."""
        if self._last is None or self._audio is None or self._used + floats > self._audio.shape[2]:
            return torch.empty(floats)
        self._behind = floats
        return self._span(self._last, self._used, floats)

    def _span(self, place: tuple[int, int], start: int, floats: int) -> Tensor:
        assert self._audio is not None
        return self._audio[place][start:start + floats]

    def pack(self, batch):
        """In the worker, once the tensors that `empty` and `behind` gave are part of `batch`."""
        if self._last is None or not isinstance(batch, Batch):
            return batch
        later = batch.later
        if self._behind and later is not None:
            later = replace(later, data=None)
        return Parcel(replace(batch, wav=None, later=later), self._last, tuple(batch.wav.shape), self._behind)

    def _lying(self, parcel: Parcel) -> Batch:
        """In the main process: the batch whose audio lies in the ring."""
        batch, later, used = parcel.batch, parcel.batch.later, parcel.shape[0] * parcel.shape[1]
        if parcel.behind and later is not None:
            later = replace(later, data=self._span(parcel.place, used, parcel.behind))
        return replace(batch, wav=self._span(parcel.place, 0, used).view(parcel.shape), later=later)

    def unpack(self, parcel, pin_memory: bool = False):
        """In the main process: a batch with memory of its own, page-locked on demand."""
        if isinstance(parcel, Parcel):
            return self._lying(parcel).moved(lambda part: torch.empty(part.shape, pin_memory=pin_memory).copy_(part))
        if pin_memory and isinstance(parcel, Batch):
            return parcel.moved(Tensor.pin_memory)
        return parcel

    def lend(self, parcel):
        """In the main process: a page-locked batch that lies in the ring itself, where the ring is locked.

        Its audio may be read until the second batch after it is asked for.
        """
        if self._locked and isinstance(parcel, Parcel):
            return self._lying(parcel)
        return self.unpack(parcel, pin_memory=True)

    def lock(self) -> None:
        """In the main process, once the workers run: page-lock the ring, so that a device reads it by itself."""
        if self._locked or self._audio is None:
            return
        address, size = self._audio.data_ptr(), self._audio.nbytes
        error = int(torch.cuda.cudart().cudaHostRegister(address, size, 0))
        self._locked = error == 0
        if self._locked:
            weakref.finalize(self, _unlock, address, os.getpid())
        else:
            log.debug("the loader's %.0f MiB cannot be page-locked (CUDA error %d); each batch is copied once more",
                      size / 2**20, error)
            _forget_cuda_error()


def _unlock(address: int, owner: int) -> None:
    if os.getpid() == owner:  # a worker, which inherits the ring, must not touch CUDA
        torch.cuda.cudart().cudaHostUnregister(address)


def _forget_cuda_error() -> None:
    """CUDA keeps a failed call's error for the next kernel, which would be blamed for it."""
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError:
        pass
