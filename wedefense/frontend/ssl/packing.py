"""Utterances of unequal lengths as one run of rows, so that no padding is computed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wedefense.utils.features import frame_mask


@dataclass
class Packing:
    """Where each utterance's frames lie among the rows.

    Rows are the valid frames of all utterances one after the other, (rows, ...); the padded form is
    (batch, frames, ...) with zeros past an utterance's end. When all lengths are equal both are the same memory.
    """

    lengths: Tensor      # (batch,) int64: valid frames
    batch: int
    frames: int          # of the longest utterance
    index: Tensor | None  # (rows,): a row's place in the flattened padded form; None: lengths are equal

    @classmethod
    def of(cls, lengths: Tensor, frames: list[int]) -> "Packing":
        longest = max(frames)
        index = None
        if min(frames) < longest:
            index = frame_mask(lengths, longest).flatten().nonzero().squeeze(1)
        return cls(lengths, len(frames), longest, index)

    def pad(self, rows: Tensor) -> Tensor:
        """(rows, ...) -> (batch, frames, ...)."""
        shape = (self.batch, self.frames, *rows.shape[1:])
        if self.index is None:
            return rows.reshape(shape)
        padded = rows.new_zeros(self.batch * self.frames, *rows.shape[1:])
        return padded.index_copy(0, self.index, rows).view(shape)

    def pack(self, padded: Tensor) -> Tensor:
        """(batch, frames, ...) -> (rows, ...)."""
        rows = padded.reshape(self.batch * self.frames, *padded.shape[2:])
        return rows if self.index is None else rows.index_select(0, self.index)

    def key_mask(self, dtype: torch.dtype) -> Tensor | None:
        """(batch, 1, 1, frames) to add to attention scores: 0 on frames, -inf on padding; None if there is none."""
        if self.index is None:
            return None
        padding = ~frame_mask(self.lengths, self.frames)
        mask = torch.zeros(padding.shape, dtype=dtype, device=padding.device).masked_fill_(padding, float("-inf"))
        return mask[:, None, None, :]
