"""Where what is recorded is cut into sections, which are played back one by one.

So a section can be left out, and its gradients are there while those of the sections before it are still made.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from wedefense.utils.errors import InputError


@dataclass(eq=False)
class Carried:
    """What one section makes and one after it reads."""

    source: Tensor                  # with the graph of the section that makes it
    leaf: Tensor                    # the same memory, where the graph of the one that reads it begins
    maker: int                      # the number of a section
    reader: int | None = None       # the section that has a gradient for it
    gradient: Tensor | None = None


@dataclass
class Section:
    """A part of the way there, and of the way back."""

    first: int                      # how many layers were made before
    taken: list[Carried]            # what it begins with: the stream of values, and that in the products' precision
    may_be_left_out: bool = False   # it then hands on what it begins with
    there: torch.cuda.CUDAGraph = field(default_factory=lambda: torch.cuda.CUDAGraph())
    back: torch.cuda.CUDAGraph | None = None  # None where nothing has a gradient
    parameters: list[nn.Parameter] = field(default_factory=list)  # those that it has gradients for
    gradients: list[Tensor] = field(default_factory=list)         # theirs


@contextlib.contextmanager
def recorded(graph: torch.cuda.CUDAGraph, pool) -> Iterator[None]:
    """Of one pool of memory: all are played back in the order in which they were recorded. What other threads do
    meanwhile, such as those that watch over sums between ranks, is no part of it."""
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # CUDA's, or that of one of its libraries
        reason = str(error).split("\n")[0]
        raise InputError(f"cuda_graphs: the encoder's launches cannot be recorded here ({reason}); set "
                         "cuda_graphs: False") from error


class Cuts:
    """Records: section by section, or everything as one."""

    def __init__(self, by_sections: bool):
        self.by_sections = by_sections
        self.sections: list[Section] = []
        self.carried: list[Carried] = []
        self._open = contextlib.ExitStack()

    def begin(self, section: Section) -> None:
        self._open.close()
        pool = self.sections[0].there.pool() if self.sections else None
        self.sections.append(section)
        self._open.enter_context(recorded(section.there, pool))

    def carry(self, x: Tensor) -> Carried:
        self.carried.append(Carried(x, x.detach().requires_grad_(x.requires_grad), len(self.sections) - 1))
        return self.carried[-1]

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        with _told_to(self if self.by_sections else None), self._open:
            self.begin(Section(0, []))
            yield


_listening: list[Cuts | None] = []


@contextlib.contextmanager
def _told_to(cuts: Cuts | None) -> Iterator[None]:
    _listening.append(cuts)
    try:
        yield
    finally:
        _listening.pop()


def warming_up() -> contextlib.AbstractContextManager[None]:
    """For what runs as it will be recorded."""
    return _told_to(None)


def is_recorded() -> bool:
    """Whether what runs now is, or will be, recorded: nothing may be left out of it."""
    return bool(_listening)


def carried(x: Tensor) -> Tensor:
    """x, for one of the sections after this one."""
    return _listening[-1].carry(x).leaf if _listening and _listening[-1] else x


def next_section(made: int, x: Tensor, begun: tuple[Tensor, Tensor] | None,
                 may_be_left_out: bool) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """What follows is a section of its own, where sections are recorded.

    `made`: the layers that there are; x, and what the next block begins with where one made it, see `fusing.fused`.
    """
    if not (_listening and _listening[-1]):
        return x, begun
    cuts = _listening[-1]
    taken = [cuts.carry(part) for part in begun or (x,)]
    cuts.begin(Section(made, taken, may_be_left_out))
    first, *second = (part.leaf for part in taken)
    return first, (first, *second) if second else None
