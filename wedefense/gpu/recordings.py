"""What a module launches for samples of one shape, recorded as CUDA graphs: its way there, and the way back."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call

from wedefense.gpu.sections import Carried, Cuts, recorded, warming_up
from wedefense.utils.devices import holding
from wedefense.utils.errors import InputError

WARM_UPS = 3  # calls in which libraries choose their kernels, as PyTorch's own recordings have them


class Recording:
    """`module(wav)`, tensors in memory that the next call writes over; where `grad`, with a way back, whose gradients
    of the module's parameters lie in such memory too.

    It reads the gradients of the outputs at places that stay the same: what was not written there by way of
    `gradient_place` is copied there. It is gone once for each way there, before the next: the memory of both is shared.
    Sections, see `wedefense.gpu.sections`, are played one after the other, each by a node of its own in autograd's
    graph, which hands on the gradients of its parameters before the one before it comes back.

    `summed`: gradients are summed over several calls, and handed on as copies.
    """

    def __init__(self, module: nn.Module, wav: Tensor, grad: bool, summed: bool = False, by_sections: bool = False):
        self._source, self._summed, cuts = wav.clone(), summed, Cuts(by_sections)
        self.sections, self._carried = cuts.sections, cuts.carried
        learning = {name: value for name, value in module.named_parameters() if grad and value.requires_grad}
        with holding() as self._held, torch.set_grad_enabled(grad):  # what the kernels read must outlive its caches
            with _aside(), warming_up():
                for _ in range(WARM_UPS if grad else 1):
                    _go_and_come_back(module, self._source, _leaves(learning))
            leaves = _leaves(learning)
            with cuts.recording():
                outputs = functional_call(module, leaves, (self._source,))
            self._places = _like(outputs)
            for number in reversed(range(len(self.sections))):
                self._record_back(number, outputs, dict(zip(learning.values(), leaves.values())))
        for one in self._carried:
            one.source = one.leaf  # without the graph, which holds what was made for it
        self._outputs = tuple(output.detach() for output in outputs)
        self._token = wav.new_zeros(())     # what makes a section's node come back before that of the one before it
        self._turn = 0                      # counts the ways there
        self._free: set[int] = set()        # outputs of this turn whose places nobody has been given
        self._left_out: set[int] = set()    # sections in this turn
        self._back: set[int] = set()        # those that have come back in it

    def _record_back(self, number: int, outputs: Sequence[Tensor], leaves: dict[nn.Parameter, Tensor]) -> None:
        section = self.sections[number]
        ends = [(outputs[layer], self._places[layer]) for layer in self._layers_of(number)]
        ends += [(one.source, one.gradient) for one in self._carried if one.maker == number]
        ends = [(end, gradient) for end, gradient in ends if gradient is not None]
        if not ends:
            return
        taken = [one for one in self._carried if one.maker < number and one.leaf.requires_grad]
        section.back = torch.cuda.CUDAGraph()
        with recorded(section.back, section.there.pool()):
            found = torch.autograd.grad([end for end, _ in ends], [*(one.leaf for one in taken), *leaves.values()],
                                        [gradient for _, gradient in ends], allow_unused=True)
        for one, gradient in zip(taken, found):
            if gradient is not None:
                assert one.reader is None, "what is carried is read by one section"
                one.reader, one.gradient = number, gradient
        own = [pair for pair in zip(leaves, found[len(taken):]) if pair[1] is not None]
        section.parameters, section.gradients = [pair[0] for pair in own], [pair[1] for pair in own]

    def _layers_of(self, number: int) -> range:
        starts = [section.first for section in self.sections] + [len(self._places)]
        return range(*starts[number:number + 2])

    def __call__(self, wav: Tensor, drops: Callable[[], bool] = bool) -> list[Tensor]:
        """`drops`: asked of each section that may be left out."""
        self._source.copy_(wav, non_blocking=True)
        self._turn += 1
        self._free = {number for number, place in enumerate(self._places) if place is not None}
        self._left_out, self._back = set(), set()
        layers, token = [], self._token
        for number, section in enumerate(self.sections):
            *own, token = _Played.apply(self, number, section.may_be_left_out and drops(), token, *section.parameters)
            layers += own
        return layers

    def go(self, number: int, left_out: bool) -> tuple[int, list[Tensor], list[Tensor]]:
        """-> the turn, the section's layers and the token, and those of the layers that have no gradient."""
        if left_out:
            self._left_out.add(number)
            self._hand_on(number)
        else:
            self.sections[number].there.replay()
        outputs = {layer: self._outputs[layer].detach() for layer in self._layers_of(number)}
        constant = [x for layer, x in outputs.items() if self._places[layer] is None]
        return self._turn, [*outputs.values(), self.token()], constant

    def token(self) -> Tensor:
        return self._token.detach()

    def _given(self, number: int) -> list[Carried]:
        """What the next section begins with."""
        return self.sections[number + 1].taken if number + 1 < len(self.sections) else []

    def _hand_on(self, number: int) -> None:
        """What it would begin with is what it gives."""
        stream, *low = (one.leaf.detach() for one in self.sections[number].taken)
        given = [one.leaf.detach() for one in self._given(number)]
        layers = [self._outputs[layer].view_as(stream) for layer in self._layers_of(number)]
        written: set[int] = set()
        for target, source in [*((layer, stream) for layer in layers), *zip(given, [stream, *(low or [stream])])]:
            if target.data_ptr() not in written:
                target.copy_(source)
            written.add(target.data_ptr())

    def place(self, turn: int, number: int, output: int) -> Tensor | None:
        """Of an output of a section; its last one is the token."""
        layers = self._layers_of(number)
        if turn != self._turn or output >= len(layers) or layers[output] not in self._free:
            return None
        self._free.remove(layers[output])
        return self._places[layers[output]]

    def come_back(self, turn: int, number: int, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Gradients of a section's layers -> those of its parameters."""
        if turn != self._turn or number in self._back:
            raise InputError("cuda_graphs: gradients are wanted of a pass of the encoder whose memory another pass, or "
                             "its own way back, has written over; set cuda_graphs: False")
        self._back.add(number)
        for layer, gradient in zip(self._layers_of(number), gradients):
            place = self._places[layer]
            self._free.discard(layer)
            if place is None:
                continue
            if gradient is None:
                place.zero_()
            elif gradient.data_ptr() != place.data_ptr():
                place.copy_(gradient)
        for one in self._carried:
            if one.maker == number and one.gradient is not None and one.reader not in self._back:
                one.gradient.zero_()
        section = self.sections[number]
        if number in self._left_out:
            self._hand_back(number)
            return [None] * len(section.gradients)
        if section.back is not None:
            section.back.replay()
        return [gradient.clone() if self._summed else gradient.detach() for gradient in section.gradients]

    def _hand_back(self, number: int) -> None:
        """The gradients of what it would begin with are those of what it gave."""
        taken = self.sections[number].taken
        for one in self._carried:
            if one.reader == number and one not in taken and one.gradient is not None:
                one.gradient.zero_()
        stream, *low = [one.gradient for one in self._given(number)] or [None]
        layers = [place for layer in self._layers_of(number) if (place := self._places[layer]) is not None]
        for one, parts in zip(taken, [[*layers, stream], low] if len(taken) > 1 else [[*layers, stream, *low]]):
            if one.gradient is not None:
                total = sum(part.view_as(one.gradient) for part in parts if part is not None)
                one.gradient.copy_(total) if isinstance(total, Tensor) else one.gradient.zero_()


class _Played(torch.autograd.Function):
    @staticmethod
    def forward(ctx, recording: Recording, number: int, left_out: bool, token: Tensor, *parameters: Tensor):
        ctx.set_materialize_grads(False)
        ctx.recording, ctx.number = recording, number
        ctx.turn, outputs, constant = recording.go(number, left_out)
        ctx.mark_non_differentiable(*constant)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor | None):
        own = ctx.recording.come_back(ctx.turn, ctx.number, gradients)
        return None, None, None, ctx.recording.token() if ctx.needs_input_grad[3] else None, *own


def gradient_place(edge: tuple[Any, int], like: Tensor) -> Tensor | None:
    """Where a recording reads the gradient that goes to `edge` (of a context's `next_functions`), for a function that
    makes one laid out as `like` is; None where no recording reads it, or not there: whatever comes is copied then.

    Given once in the turn of a recording, so that no two write to it, and only in the last one.
    """
    node, output = edge
    recording = vars(node).get("recording") if isinstance(node, BackwardCFunction) else None  # a `_Played`'s context
    place = recording.place(node.turn, node.number, output) if isinstance(recording, Recording) else None
    fits = place is not None and (place.dtype, place.shape, place.stride()) == (like.dtype, like.shape, like.stride())
    return place if fits else None


def _leaves(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The same memory, by tensors that no other pass has seen: a gradient on its way to a parameter waits for the
    stream of the first pass that lives, which a recording may not do."""
    return {name: parameter.detach().requires_grad_() for name, parameter in parameters.items()}


def _like(outputs: Sequence[Tensor]) -> list[Tensor | None]:
    return [torch.empty_like(output) if output.requires_grad else None for output in outputs]


def _go_and_come_back(module: nn.Module, wav: Tensor, leaves: dict[str, Tensor]) -> None:
    """Nothing of it lives on."""
    outputs = [output for output in functional_call(module, leaves, (wav,)) if output.requires_grad]
    if outputs:
        torch.autograd.grad(outputs, list(leaves.values()), _like(outputs), allow_unused=True)


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """On a stream of its own, as what is recorded will be."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)
