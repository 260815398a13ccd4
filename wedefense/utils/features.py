"""What a front-end hands to a back-end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Lengths = Tensor | Sequence[int]  # of a batch, on the host: a list, a tuple, a CPU tensor


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
        return frame_mask(self.lengths, self.layers[0].shape[1])

    def with_layers(self, layers: list[Tensor]) -> "LayerFeatures":
        """Other layers of the same lengths."""
        return replace(self, layers=layers)
