"""Utterances of unequal lengths as one run of rows, so that no padding is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

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
    counts: list[int]    # the same
    index: Tensor | None  # (rows,): a row's place in the flattened padded form; None: lengths are equal

    @classmethod
    def of(cls, lengths: Tensor, counts: list[int]) -> "Packing":
        index = None
        if min(counts) < max(counts):
            index = frame_mask(lengths, max(counts)).flatten().nonzero().squeeze(1)
        return cls(lengths, counts, index)

    @property
    def batch(self) -> int:
        return len(self.counts)

    @property
    def frames(self) -> int:
        """Of the longest utterance."""
        return max(self.counts)

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

    def spans(self, dtype: torch.dtype, position_bias: Callable[[int], Tensor] | None = None) -> list["Span"]:
        """What attends at one go, in the order of the rows.

        On a CPU utterances of one length that follow one another, without padding; elsewhere many small products
        are slow, and the batch attends as a whole, with a mask.
        """
        if self.index is None or self.lengths.device.type != "cpu" or torch.compiler.is_compiling():
            parts = [self]
        else:
            runs = [len(list(run)) for _, run in groupby(self.counts)]
            parts = [Packing(part, part.tolist(), None) for part in self.lengths.split(runs)]
        biases = {frames: position_bias and position_bias(frames) for frames in {part.frames for part in parts}}
        return [Span(part, part._key_mask(dtype), biases[part.frames]) for part in parts]

    def _key_mask(self, dtype: torch.dtype) -> Tensor | None:
        """(batch, 1, 1, frames) to add to attention scores: 0 on frames, -inf on padding; None if there is none."""
        if self.index is None:
            return None
        padding = ~frame_mask(self.lengths, self.frames)
        mask = torch.zeros(padding.shape, dtype=dtype, device=padding.device).masked_fill_(padding, float("-inf"))
        return mask[:, None, None, :]


@dataclass
class Span:
    """Utterances that attend at one go, and what is added to their scores."""

    packing: Packing
    mask: Tensor | None           # (batch, 1, 1, frames)
    position_bias: Tensor | None  # (all heads, frames, frames)

    @property
    def rows(self) -> int:
        return sum(self.packing.counts)
