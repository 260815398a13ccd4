"""CUDA graphs: what an encoder launches for crops of one length, recorded once and played back at one command.

A step of a large model launches well over a thousand kernels; a host that needs longer for them than the GPU needs to
run them would be what is waited for.
"""

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wedefense.gpu.recordings import Recording


class _Recorded(nn.Module):
    """The layers of batches of one shape, a function of the samples alone, as `torch.cuda.graph` wants it."""

    def __init__(self, encoder: nn.Module, layers: Callable[[Tensor], Sequence[Tensor]]):
        super().__init__()
        self.encoder = encoder  # for its parameters
        self._layers, self._device = layers, torch.device("cuda")
        self._autocast = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")

    def forward(self, wav: Tensor) -> tuple[Tensor, ...]:
        enabled, dtype = self._autocast
        with torch.autocast("cuda", dtype=dtype, enabled=enabled, cache_enabled=False):
            return tuple(self._layers(wav))


class Graphs:
    """Recordings of one encoder for batches of one shape, to be cleared when its weights move or its mode changes.

    What a recording gives lies in memory that the next call writes over: for training alone, where nothing of a step
    outlives it. Gradients are handed on in such memory too, unless they are `summed` over several batches.
    """

    def __init__(self, batch: int, samples: int, summed: bool = False):
        """Of the crops: other batches, as those of a validation, come in too many shapes."""
        self.shape, self.summed = (batch, samples), summed
        self._recorded: dict = {}

    def clear(self) -> None:
        self._recorded.clear()

    def __deepcopy__(self, memo) -> "Graphs":
        return Graphs(*self.shape, self.summed)

    def __reduce__(self):
        return Graphs, (*self.shape, self.summed)

    def __call__(self, encoder: nn.Module, wav: Tensor, layers: Callable[[Tensor], Sequence[Tensor]],
                 drops: Callable[[], bool] | None = None) -> list[Tensor]:
        """`layers(wav)`; of crops recorded when they come first, and played back from then on.

        `drops`: they are recorded in sections; whether one that may be left out is, asked of one after the other.
        """
        if wav.shape != self.shape or wav.requires_grad:
            return list(layers(wav))
        grad = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in encoder.parameters())
        key = (grad, encoder.training, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"), wav.dtype)
        if key not in self._recorded:
            self._recorded[key] = self._record(encoder, wav, layers, grad, drops is not None)
        return self._recorded[key](wav, drops or bool)

    def _record(self, encoder: nn.Module, wav: Tensor, layers, grad: bool, by_sections: bool) -> Recording:
        gc.collect()  # so that what an earlier step left in cycles is not freed while this records
        state = torch.cuda.get_rng_state(wav.device)  # recording draws nothing
        module = _Recorded(encoder, layers)
        module.training = encoder.training  # by itself: the encoder would forget what it has recorded
        with torch.autocast("cuda", enabled=False, cache_enabled=False):
            played = Recording(module, wav, grad, self.summed, by_sections)
        torch.cuda.set_rng_state(state, wav.device)
        return played
