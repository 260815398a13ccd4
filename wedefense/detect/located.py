"""Where a recording is fake, as a Python user holds it."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wedefense.data.spans import Span
from wedefense.detect.frames import FrameScores
from wedefense.detect.recordings import Recording
from wedefense.metrics.segments import whole_frames
from wedefense.utils.errors import InputError
from wedefense.utils.tables import plural

_SIZE = (10.0, 5.6)  # inches, of a picture on its own


class LocatedSpan(NamedTuple):
    """A stretch of one decision, in seconds."""

    start: float
    end: float
    label: str    # "bonafide" or "spoof"
    score: float  # the mean of its frames' scores


@dataclass(frozen=True, eq=False)
class Located:
    """One recording. `spans` follow one another from its begin to its end; a higher score means more bona fide."""

    name: str
    spans: tuple[LocatedSpan, ...]
    scores: np.ndarray       # (frames,) log-likelihood ratios, not calibrated
    shift: float             # seconds from one frame to the next
    threshold: float         # a frame at or below it is called fake
    seconds: float           # of the recording
    exact: bool              # the scores are those of the recording in one piece
    recording: Recording = field(repr=False)
    rate: int = field(repr=False)  # of what `recording` reads
    doubts: tuple[str, ...] = ()   # what a listener should know of the recording

    @classmethod
    def of(cls, recording: Recording, frames: FrameScores, rate: int, threshold: float, smooth: float,
           exact: bool) -> "Located":
        """A frame that reaches beyond the end does not count, and the one before lasts to the end.

        The median of the scores within `smooth` seconds around a frame decides; 0: its own.
        """
        seconds = recording.samples / rate
        scores = whole_frames(frames.llr, seconds, frames.shift)
        fake = _smoothed(scores, smooth, frames.shift) <= threshold
        edges = [0, *(np.flatnonzero(np.diff(fake)) + 1).tolist(), len(scores)]
        spans = tuple(LocatedSpan(round(start * frames.shift, 6), seconds if end == len(scores) else
                                  round(end * frames.shift, 6), "spoof" if fake[start] else "bonafide",
                                  float(scores[start:end].mean())) for start, end in zip(edges, edges[1:]))
        return cls(recording.key, spans, scores, frames.shift, threshold, seconds, exact, recording, rate,
                   frames.doubts)

    def __repr__(self) -> str:
        return f"Located({self.name}: {self.summary})"

    @property
    def called(self) -> list[Span]:
        """The spans without their scores, as label files have them."""
        return [Span(*span[:3]) for span in self.spans]

    @property
    def fakes(self) -> list[LocatedSpan]:
        return [span for span in self.spans if span.label == "spoof"]

    @property
    def fake_seconds(self) -> float:
        return sum(span.end - span.start for span in self.fakes)

    @property
    def decision(self) -> str:
        """Of the whole: "spoof" where any of it is called fake."""
        return "spoof" if self.fakes else "bonafide"

    @property
    def fakest(self) -> tuple[float, float]:
        """(second, score) of the frame that sounds most like a spoof."""
        frame = int(self.scores.argmin())
        return frame * self.shift, float(self.scores[frame])

    def called_right(self, true: Sequence[Span]) -> float:
        """The share of the time in which the decision is that of the true spans."""
        right = sum(max(0.0, min(ours.end, theirs.end) - max(ours.start, theirs.start))
                    for ours in self.spans for theirs in true if ours.label == theirs.label)
        return right / self.seconds

    @property
    def summary(self) -> str:
        at, score = self.fakest
        fake = f"{self.fake_seconds:.2f} of {self.seconds:.2f} s fake in {plural(len(self.fakes), 'span')}"
        return f"{self.decision}, {fake}, least score {score:.3f} at {at:.2f} s"

    def plot(self, path: str | os.PathLike | None = None, true: Sequence[Span] = ()) -> Any:
        """The picture over time: sound, scores, what is called fake and, where it is given, what is (`true`).

        Written to a PNG, SVG or PDF file, whose path is returned; without one as a matplotlib Figure.
        """
        from wedefense.report.render import kept

        title = f"{Path(self.name).name}: {self.summary}, threshold {self.threshold:.3g}"
        return kept(self.figure(_SIZE, title, true), path)

    def figure(self, size: tuple[float, float], title: str = "", true: Sequence[Span] = ()) -> Any:
        """The same of another size, in inches, as a matplotlib Figure."""
        from wedefense.report.timeline import Timeline, sketch, timeline_figure

        sound = sketch(self.recording.read, self.recording.samples, self.rate)
        return timeline_figure(Timeline(sound, self.scores, self.shift, self.threshold, self.called, true), size, title)


def _smoothed(scores: np.ndarray, seconds: float, shift: float) -> np.ndarray:
    """The median over an odd number of frames; beyond the ends are none."""
    if not 0 <= seconds < math.inf:
        raise InputError(f"scores are smoothed over 0 seconds or more, got {seconds:g}")
    around = min(round(seconds / shift) // 2, len(scores))
    if not around:
        return scores
    padded = np.pad(scores.astype(float), around, constant_values=np.nan)
    return np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * around + 1), axis=1)
