"""Utterances of unequal lengths as one run of rows, so that no padding is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wedefense.frontend.features import frame_mask
from wedefense.gpu.sections import carried
from wedefense.utils.devices import kept, numbers_on, send, send_together

if TYPE_CHECKING:
    from wedefense.frontend.ssl.attention import PositionBias

KEPT = 16  # packings and the like: those of fixed crops come again and again


def within(counts: Sequence[int]) -> np.ndarray:
    """0, 1, .. of each run: [2, 3] -> [0, 1, 0, 1, 2]."""
    sizes = np.asarray(counts)
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


class Packing:
    """Where each utterance's frames lie among the rows.

    Rows are the valid frames of all utterances one after the other, (rows, ...); the padded form is
    (batch, frames, ...) with zeros past an utterance's end. When all lengths are equal both are the same memory.
    What the device needs is worked out on the host and sent once.
    """

    def __init__(self, counts: Sequence[int], device: torch.device):
        self.counts, self.device = tuple(counts), device  # valid frames of each
        self.index: Tensor | None = None  # (rows,): a row's place in the flattened padded form; None: lengths are equal
        if min(counts) < max(counts):
            index = np.repeat(np.arange(self.batch) * self.frames, counts) + within(counts)
            self.lengths, self.index = send_together(device, counts, index)

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device) -> "Packing":
        """The same object for the same lengths, for a while."""
        return _packing(tuple(counts), device)

    @cached_property
    def lengths(self) -> Tensor:
        """(batch,) int64: valid frames."""
        return numbers_on(self.counts, self.device)

    @cached_property
    def starts(self) -> Tensor:
        """(batch + 1,) int32: the row at which each utterance starts; at last the number of rows."""
        with torch.inference_mode(False):
            return send(np.cumsum((0, *self.counts), dtype=np.int32), self.device)

    @property
    def batch(self) -> int:
        return len(self.counts)

    @property
    def frames(self) -> int:
        """Of the longest utterance."""
        return max(self.counts)

    @property
    def rows(self) -> int:
        return sum(self.counts)

    def pad(self, rows: Tensor) -> Tensor:
        """(rows, ...) -> (batch, frames, ...)."""
        shape = (self.batch, self.frames, *rows.shape[1:])
        if self.index is None:
            return rows.reshape(shape)
        padded = rows.new_zeros(self.batch * self.frames, *rows.shape[1:])
        return padded.index_copy_(0, self.index, rows).view(shape)

    def pack(self, padded: Tensor) -> Tensor:
        """(batch, frames, ...) -> (rows, ...)."""
        rows = padded.reshape(self.batch * self.frames, *padded.shape[2:])
        return rows if self.index is None else rows.index_select(0, self.index)

    def spans(self, dtype: torch.dtype, position_bias: "PositionBias | None" = None,
              packed: bool = False) -> list["Span"]:
        """What attends at one go, in the order of the rows.

        `packed`: the whole batch, by kernels that need neither padding nor a matrix of scores. Else on a CPU utterances
        of one length that follow one another, without padding; elsewhere many small products are slow, and the batch
        attends as a whole, with a mask.
        """
        if packed:
            return [Span(self, None, None, packed, position_bias and position_bias.by_distance(self.frames))]
        if self.index is None or self.device.type != "cpu" or torch.compiler.is_compiling():
            parts = [self]
        else:
            parts = [Packing(tuple(run), self.device) for _, run in groupby(self.counts)]
        biases = {frames: position_bias and position_bias(frames) for frames in {part.frames for part in parts}}
        return [Span(part, part._key_mask(dtype), biases[part.frames]) for part in parts]

    def _key_mask(self, dtype: torch.dtype) -> Tensor | None:
        """(batch, 1, 1, frames) to add to attention scores: 0 on frames, -inf on padding; None if there is none."""
        if self.index is None:
            return None
        padding = ~frame_mask(self.lengths, self.frames)
        mask = torch.zeros(padding.shape, dtype=dtype, device=padding.device).masked_fill_(padding, float("-inf"))
        return mask[:, None, None, :]


@kept(maxsize=KEPT)
def _packing(counts: tuple[int, ...], device: torch.device) -> Packing:
    with torch.inference_mode(False):  # what is kept must serve training too
        return Packing(counts, device)


@dataclass
class Span:
    """Utterances that attend at one go, and what is added to their scores."""

    packing: Packing
    mask: Tensor | None           # (batch, 1, 1, frames)
    position_bias: Any            # (all heads, frames, frames), or rows of it that are made when asked for, or None
    packed: bool = False          # they attend as rows
    table: Tensor | None = None   # then (all heads, 2 * frames - 1): the bias by distance

    @property
    def rows(self) -> int:
        return self.packing.rows


def spans_of_blocks(spans: list[Span], blocks: int) -> list[list[Span]]:
    """For each block the same, but a table that learns under a name of its own: gradients are summed all at once."""
    table = spans[0].table
    if table is None or not table.requires_grad:
        return [spans] * blocks
    owns = map(carried, table.expand(blocks, *table.shape).unbind())
    return [[replace(span, table=own) for span in spans] for own in owns]
