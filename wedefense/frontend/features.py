"""What a front-end hands to a back-end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from wedefense.utils.convolutions import keep_from_amx

keep_from_amx()  # here, since every front-end and back-end imports this

Lengths: TypeAlias = Tensor | Sequence[int]  # of a batch, on the host: a list, a tuple, a CPU tensor


def on_host(lengths: Lengths) -> list[int]:
    """Lengths as numbers. A tensor of another device is taken too, but then the host waits for that device."""
    return lengths.tolist() if hasattr(lengths, "tolist") else list(lengths)


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """(batch,) lengths -> (batch, frames) bool, True where a frame is real."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


@dataclass
class LayerFeatures:
    """Frame-level features of one or more layers; frames past `lengths` are padding."""

    layers: list[Tensor]                  # each (batch, frames, dim)
    lengths: Tensor                       # (batch,) int64: valid frames, where the layers are
    counts: Sequence[int] | None = None   # the same on the host, where it is known there

    def mask(self) -> Tensor:
        """(batch, frames) bool, True where a frame is real."""
        return frame_mask(self.lengths, self.shape[1])

    @property
    def shape(self) -> torch.Size:
        """(batch, frames, dim) of a layer."""
        return self.layers[0].shape

    def with_layers(self, layers: list[Tensor]) -> "LayerFeatures":
        """Other layers of the same lengths."""
        return LayerFeatures(layers, self.lengths, self.counts)


class CentredFeatures(LayerFeatures):
    """Layers less the mean over each frame's features, which is taken off when somebody looks at them.

    Whoever wants but weighted sums takes those of `raw`, and the mean off the sums: it is the same, with fewer passes.
    """

    _centred: list[Tensor] | None = None

    @property
    def layers(self) -> list[Tensor]:
        if self._centred is None:
            self._centred = [centred(layer) for layer in self.raw]
        return self._centred

    @layers.setter
    def layers(self, raw: list[Tensor]) -> None:
        self.raw, self._centred = raw, None

    @property
    def shape(self) -> torch.Size:
        return self.raw[0].shape


def centred(x: Tensor) -> Tensor:
    """(batch, frames, dim) less the mean over dim."""
    return x - x.mean(dim=2, keepdim=True)
