"""What a front-end hands to a back-end."""

from dataclasses import dataclass

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """(batch,) lengths -> (batch, frames) bool, True where a frame is real."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


@dataclass
class LayerFeatures:
    """Frame-level features of one or more layers; frames past `lengths` are padding."""

    layers: list[Tensor]  # each (batch, frames, dim)
    lengths: Tensor       # (batch,) int64: valid frames

    def mask(self) -> Tensor:
        """(batch, frames) bool, True where a frame is real."""
        return frame_mask(self.lengths, self.layers[0].shape[1])
