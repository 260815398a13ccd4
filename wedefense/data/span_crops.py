"""Spans that go where their audio goes: cut, played faster, repeated; and as targets of frames."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wedefense.data.spans import Span, segment_labels

ROUNDING = 1e-6  # seconds


class Cut(NamedTuple):
    """Which samples of a recording, resampled and played at `speed`, an item takes."""

    start: int
    length: int
    speed: float = 1.0


def cut_spans(spans: Sequence[Span], cut: Cut, rate: int, samples: int) -> list[Span]:
    """The spans of an item of `samples` samples, in seconds of its own; a short cut is repeated to fill it."""
    seconds, begin, total = cut.length / rate, cut.start / rate, samples / rate
    played = [(start / cut.speed - begin, end / cut.speed - begin, label) for start, end, label in spans]
    inside = [(max(0.0, start), min(seconds, end), label) for start, end, label in played
              if end > ROUNDING and start < seconds - ROUNDING]
    if not inside:  # spans of another tool that end before their recording
        return []
    start, _, label = inside[-1]
    inside[-1] = start, seconds, label  # resampling may round a recording up by a sample
    moved: list[Span] = []
    for at in range(0, samples, cut.length):
        for start, end, label in inside:
            start, end = start + at / rate, min(end + at / rate, total)
            if start < total:
                start = moved.pop().start if moved and moved[-1].label == label else start
                moved.append(Span(start, end, label))
    return moved


def frame_targets(spans: Sequence[Sequence[Span] | None], shift: float, frames: int) -> Tensor:
    """(batch, frames) int64 of 0 (bona fide) and 1 (a frame of `shift` seconds that holds anything fake); -1 past an
    utterance's end, and throughout where its spans are unknown. `spans` are those of a `Batch`."""
    targets = torch.full((len(spans), frames), -1)
    for row, found in zip(targets, spans):
        if found:
            labels = torch.from_numpy((segment_labels(found, shift)[:frames] == "0").astype("int64"))
            row[:len(labels)] = labels
    return targets


def boundary_targets(spans: Sequence[Sequence[Span] | None], shift: float, frames: int, reach: int = 0,
                     of_runs: bool = False) -> Tensor:
    """(batch, frames) int64: 1 where the class changes within a frame, or at its begin, or at most `reach` frames from
    there; else 0, and -1 as in `frame_targets`. `of_runs`: in the place of these frames the first and the last of each
    run of fake ones, where a frame that is not lies beside it."""
    targets = frame_targets(spans, shift, frames)
    edges = _edges_of_runs(targets) if of_runs else [_changes(found or [], shift) for found in spans]
    targets.clamp_(max=0)
    for row, places in zip(targets, edges):
        for place in places:
            near = row[max(0, place - reach):place + reach + 1]
            near[near == 0] = 1
    return targets


def _changes(spans: Sequence[Span], shift: float) -> list[int]:
    return [int((after.start + ROUNDING) / shift) for before, after in zip(spans, spans[1:])
            if before.label != after.label]


def _edges_of_runs(targets: Tensor) -> list[list[int]]:
    """targets (batch, frames) of 0, 1 (fake), -1"""
    bonafide = torch.nn.functional.pad(targets == 0, (1, 1))
    at_edge = (targets == 1) & (bonafide[:, :-2] | bonafide[:, 2:])
    return [row.nonzero()[:, 0].tolist() for row in at_edge]
