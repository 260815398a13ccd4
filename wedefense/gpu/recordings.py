"""What a module launches for samples of one shape, recorded as CUDA graphs: its way there, or there and back."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call

from wedefense.utils.devices import holding
from wedefense.utils.errors import InputError

WARM_UPS = 3  # calls in which libraries choose their kernels, as PyTorch's own recordings have them


class ForwardPass:
    """`module(wav)`, tensors in memory that the next call writes over."""

    def __init__(self, module: nn.Module, wav: Tensor):
        self._source, self._there = wav.clone(), torch.cuda.CUDAGraph()
        with holding() as self._held:  # what the kernels read must outlive its caches
            self._record(module)

    @torch.no_grad()
    def _record(self, module: nn.Module) -> None:
        with _aside():
            module(self._source)
        with torch.cuda.graph(self._there):
            self._outputs = tuple(module(self._source))

    def _replay(self, wav: Tensor) -> None:
        self._source.copy_(wav, non_blocking=True)
        self._there.replay()

    def __call__(self, wav: Tensor) -> Sequence[Tensor]:
        self._replay(wav)
        return self._outputs


class BothPasses(ForwardPass):
    """The same with gradients, those of the module's parameters in such memory too.

    The way back reads the gradients of the outputs at places that stay the same: what was not written there by way of
    `gradient_place` is copied there. It is gone once for each way there, before the next: the memory of both is shared.
    """

    def _record(self, module: nn.Module) -> None:
        learning = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self._parameters = list(learning.values())
        with _aside():
            for _ in range(WARM_UPS):
                self._go_and_come_back(module, _leaves(learning))
        self._back, leaves = torch.cuda.CUDAGraph(), _leaves(learning)
        with torch.cuda.graph(self._there):
            outputs = functional_call(module, leaves, (self._source,))
        self._places = _like(outputs)
        with torch.cuda.graph(self._back, pool=self._there.pool()):
            self._gradients = _gradients_of(outputs, leaves, self._places)
        self._outputs = tuple(output.detach() for output in outputs)
        self._turn = 0                 # counts the ways there, and those back
        self._free: set[int] = set()   # outputs of this turn whose places nobody has been given

    def _go_and_come_back(self, module: nn.Module, leaves: dict[str, Tensor]) -> None:
        """Nothing of it lives on."""
        outputs = functional_call(module, leaves, (self._source,))
        _gradients_of(outputs, leaves, _like(outputs))

    def __call__(self, wav: Tensor) -> Sequence[Tensor]:
        return _Played.apply(self, wav, *self._parameters)

    def go(self, wav: Tensor) -> tuple[int, Sequence[Tensor], list[Tensor]]:
        """-> the turn, the outputs, and those of them that have no gradient."""
        self._replay(wav)
        self._turn += 1
        self._free = {number for number, place in enumerate(self._places) if place is not None}
        outputs = tuple(output.detach() for output in self._outputs)
        return self._turn, outputs, [x for x, place in zip(outputs, self._places) if place is None]

    def place(self, turn: int, number: int) -> Tensor | None:
        if turn != self._turn or number not in self._free:
            return None
        self._free.remove(number)
        return self._places[number]

    def come_back(self, turn: int, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Gradients of the outputs -> those of the parameters."""
        if turn != self._turn:
            raise InputError("cuda_graphs: gradients are wanted of a pass of the encoder whose memory another pass, or "
                             "its own way back, has written over; set cuda_graphs: False")
        self._turn += 1
        for place, gradient in zip(self._places, gradients):
            if place is None:
                continue
            if gradient is None:
                place.zero_()
            elif gradient.data_ptr() != place.data_ptr():
                place.copy_(gradient)
        self._back.replay()
        return [None if gradient is None else gradient.detach() for gradient in self._gradients]


class _Played(torch.autograd.Function):
    @staticmethod
    def forward(ctx, passes: BothPasses, wav: Tensor, *parameters: Tensor) -> Sequence[Tensor]:
        ctx.set_materialize_grads(False)
        ctx.passes = passes
        ctx.turn, outputs, constant = passes.go(wav)
        ctx.mark_non_differentiable(*constant)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor | None):
        return None, None, *ctx.passes.come_back(ctx.turn, gradients)


def gradient_place(edge: tuple[Any, int], like: Tensor) -> Tensor | None:
    """Where a recording reads the gradient that goes to `edge` (of a context's `next_functions`), for a function that
    makes one laid out as `like` is; None where no recording reads it, or not there: whatever comes is copied then.

    Given once in the turn of a recording, so that no two write to it, and only in the last one.
    """
    node, number = edge
    passes = vars(node).get("passes") if isinstance(node, BackwardCFunction) else None  # a `_Played`'s context
    place = passes.place(node.turn, number) if isinstance(passes, BothPasses) else None
    fits = place is not None and (place.dtype, place.shape, place.stride()) == (like.dtype, like.shape, like.stride())
    return place if fits else None


def _leaves(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The same memory, by tensors that no other pass has seen: a gradient on its way to a parameter waits for the
    stream of the first pass that lives, which a recording may not do."""
    return {name: parameter.detach().requires_grad_() for name, parameter in parameters.items()}


def _gradients_of(outputs: Sequence[Tensor], leaves: dict[str, Tensor],
                  gradients: list[Tensor | None]) -> Sequence[Tensor | None]:
    """-> those of the leaves."""
    wanted = [output for output in outputs if output.requires_grad]
    if not wanted:
        return [None] * len(leaves)
    given = [gradient for gradient in gradients if gradient is not None]
    return torch.autograd.grad(wanted, list(leaves.values()), given, allow_unused=True)


def _like(outputs: Sequence[Tensor]) -> list[Tensor | None]:
    return [torch.empty_like(output) if output.requires_grad else None for output in outputs]


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """On a stream of its own, as what is recorded will be."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)
