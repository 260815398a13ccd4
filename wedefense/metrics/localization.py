"""Where is it fake? Frame scores against the true spans: in segments of every length, in time, at their boundaries.

EERs at each resolution and of the whole in time; precision, recall and F1 of what is called fake at the threshold that
another set gives; how far boundaries are off; and intervals of all, by a bootstrap that draws whole utterances.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from wedefense.metrics import confidence
from wedefense.metrics.detection import Point, as_scores
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.metrics.segments import (
    Range,
    labels_from_ranges,
    pooled_scores,
    require_alike,
    scored_pieces,
    weighted_eer,
    whole_frames,
)
from wedefense.utils.errors import InputError

SHIFTS = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)  # seconds; the resolutions of PartialSpoof's tables
TIME, UTTERANCE = "time", "utterance"          # the rows beside those of a resolution
_REDRAWN = 100  # resamples of one class only, in a row, before a set has too few utterances


@dataclass(frozen=True)
class Marked:
    """Pieces of utterances, each of one score and one class: segments, stretches of time, or utterances."""

    scores: np.ndarray       # (pieces,) float64, ascending
    weights: np.ndarray      # (pieces,) 1, or seconds
    is_bonafide: np.ndarray  # (pieces,) bool
    utterance: np.ndarray    # (pieces,) number of the utterance

    @classmethod
    def of(cls, parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> "Marked":
        """From (scores, weights, is_bonafide) of each utterance."""
        scores, weights, is_bonafide = (np.concatenate(part) for part in zip(*parts))
        utterance = np.repeat(np.arange(len(parts)), [part[0].size for part in parts])
        order = np.argsort(scores, kind="stable")
        return cls(scores[order], weights[order], is_bonafide[order].astype(bool), utterance[order])

    @property
    def of_both_classes(self) -> bool:
        return bool(self.is_bonafide.any() and not self.is_bonafide.all())

    def drawn(self, times: np.ndarray | None) -> np.ndarray:
        """(pieces,) weights where utterance i is drawn `times[i]` times."""
        return self.weights if times is None else self.weights * times[self.utterance]

    def eer(self, times: np.ndarray | None = None) -> Point:
        return weighted_eer(self.scores, self.drawn(times), self.is_bonafide)

    def called_fake(self, threshold: float, times: np.ndarray | None = None) -> dict[str, float]:
        """Precision, recall and F1 of fake, where that is what scores at or below the threshold; 0 where nothing is."""
        weights = self.drawn(times)
        called = int(np.searchsorted(self.scores, threshold, side="right"))
        hit = float(weights[:called][~self.is_bonafide[:called]].sum())
        said, true = float(weights[:called].sum()), float(weights[~self.is_bonafide].sum())
        return {"precision": hit / said if said else 0.0, "recall": hit / true,
                "f1": 2 * hit / (said + true)}


@dataclass(frozen=True)
class Boundaries:
    """How far each boundary between the classes is from the nearest one of the other side, in seconds."""

    missed: np.ndarray            # (true boundaries,) to the nearest predicted one
    spurious: np.ndarray          # (predicted boundaries,) to the nearest true one
    of_missed: np.ndarray         # (true boundaries,) number of the utterance
    of_spurious: np.ndarray       # (predicted boundaries,)

    @classmethod
    def at(cls, threshold: float, scores: Mapping[str, np.ndarray], ranges: Mapping[str, Sequence[Range]],
           shift: float) -> "Boundaries":
        """Predicted: where neighbouring frames lie on different sides of the threshold. The begin and the end of an
        utterance can be nearest too, so that one side without a boundary has a distance."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for name, spans in ranges.items():
            end, frames = spans[-1].end, whole_frames(scores[name], spans[-1].end, shift)
            predicted = (np.flatnonzero(np.diff(frames <= threshold)) + 1) * shift
            true = np.array([b.start for a, b in zip(spans, spans[1:]) if a.is_bonafide != b.is_bonafide])
            found.append((_nearest(true, predicted, end), _nearest(predicted, true, end)))
        numbers = np.arange(len(found))
        missed, spurious = zip(*found)
        return cls(np.concatenate(missed), np.concatenate(spurious), np.repeat(numbers, list(map(len, missed))),
                   np.repeat(numbers, list(map(len, spurious))))

    def errors(self, times: np.ndarray | None = None) -> dict[str, float]:
        """Mean seconds from true to predicted, from predicted to true, and the mean of both; NaN without boundaries."""
        means = [_mean(values, None if times is None else times[of]) for values, of in
                 ((self.missed, self.of_missed), (self.spurious, self.of_spurious))]
        known = [mean for mean in means if not math.isnan(mean)]
        return {"boundary_error": sum(known) / len(known) if known else math.nan, "true_to_predicted": means[0],
                "predicted_to_true": means[1]}


def _nearest(points: np.ndarray, others: np.ndarray, end: float) -> np.ndarray:
    """(points,) distance to the nearest of `others`, 0 and `end`."""
    others = np.concatenate(([0.0], others, [max(end, 0.0)]))
    after = np.clip(np.searchsorted(others, points), 1, others.size - 1)
    return np.minimum(np.abs(points - others[after - 1]), np.abs(others[after] - points))


def _mean(values: np.ndarray, times: np.ndarray | None) -> float:
    total = values.size if times is None else times.sum()
    return float((values if times is None else values * times).sum() / total) if total else math.nan


@dataclass(frozen=True)
class FrameScores:
    """A set: the frames' scores of each utterance, `shift` seconds apart, and its true ranges."""

    scores: Mapping[str, ArrayLike]
    ranges: Mapping[str, Sequence[Range]]
    shift: float

    def rows(self, shifts: Sequence[float]) -> dict[str, Marked]:
        """Each resolution by its seconds, then `time` and `utterance` (whose score is that of its fakest frame)."""
        require_alike({name: (len(self.scores[name]) * self.shift, ranges[-1].end)
                       for name, ranges in self.ranges.items()}, self.shift)
        scores = {name: as_scores(self.scores[name], f"frame ({name})") for name in self.ranges}
        rows = {f"{shift:g}": Marked.of([self._segments(scores[name], self.ranges[name], shift) for name in scores])
                for shift in shifts}
        rows[TIME] = Marked.of([scored_pieces(scores[name], self.ranges[name], self.shift) for name in scores])
        if not rows[TIME].of_both_classes:
            raise InputError("the ranges are all of one class: an EER needs bona fide and spoof")
        whole = [(np.array([scores[name].min()]), np.ones(1), np.array([all(r.is_bonafide for r in self.ranges[name])]))
                 for name in scores]
        return rows | {UTTERANCE: Marked.of(whole)}

    def _segments(self, scores: np.ndarray, ranges: Sequence[Range], shift: float) -> tuple[np.ndarray, ...]:
        values, labels = pooled_scores(scores, self.shift, shift), labels_from_ranges(ranges, shift)
        size = min(values.size, labels.size)
        return values[:size], np.ones(size), labels[:size] == 1


def localization_metrics(found: FrameScores, shifts: Sequence[float] = SHIFTS, dev: FrameScores | None = None,
                         bootstrap: BootstrapOptions | None = None) -> dict:
    """`rows`: metrics (fractions) by resolution, in time and of utterances; a row of one class only is left out.

    With `dev`, whose EER thresholds decide: precision, recall and F1 in each row, and `boundaries` in seconds. With
    `bootstrap`: `confidence`, in which every metric has its interval.
    """
    rows = {name: row for name, row in found.rows(shifts).items() if row.of_both_classes}
    thresholds, boundaries = {}, None
    if dev is not None:
        thresholds = {name: row.eer().threshold for name, row in dev.rows(shifts).items() if row.of_both_classes}
        boundaries = Boundaries.at(thresholds[TIME], {n: np.asarray(s) for n, s in found.scores.items()},
                                   found.ranges, found.shift)

    def measured(times: np.ndarray | None) -> dict[str, dict[str, float]]:
        values = {name: {"eer": row.eer(times).value} | (row.called_fake(thresholds[name], times)
                                                         if name in thresholds else {})
                  for name, row in rows.items()}
        return values | ({"boundaries": boundaries.errors(times)} if boundaries else {})

    values = measured(None)
    result: dict = {"frame_shift": found.shift, "n_utterances": len(found.ranges)}
    if boundaries:
        result["boundaries"] = {name: None if math.isnan(value) else value
                                for name, value in values.pop("boundaries").items()}
    result["rows"] = {name: values[name] | {"eer_threshold": row.eer().threshold} | (
        {"dev_threshold": thresholds[name]} if name in thresholds else {}) for name, row in rows.items()}
    if bootstrap:
        result["confidence"] = asdict(bootstrap) | _intervals(rows, len(found.ranges), measured, bootstrap)
    return result


def _intervals(rows: Mapping[str, Marked], utterances: int, measured, options: BootstrapOptions) -> dict:
    """The interval of every metric of every row, over resamples of whole utterances."""
    samples: dict[str, dict[str, list[float]]] = {}
    for number in range(options.resamples):
        rng = np.random.default_rng((options.seed, number))
        for name, values in measured(_draw(rng, rows, utterances)).items():
            for metric, value in values.items():
                samples.setdefault(name, {}).setdefault(metric, []).append(value)
    known = {name: {metric: np.array(values)[~np.isnan(values)] for metric, values in found.items()}
             for name, found in samples.items()}
    return {name: {metric: list(confidence.interval(values, options.level)) for metric, values in found.items()
                   if values.size} for name, found in known.items()}


def _draw(rng: np.random.Generator, rows: Mapping[str, Marked], utterances: int) -> np.ndarray:
    """(utterances,) how often each is drawn; again, should a row be left with one class."""
    for _ in range(_REDRAWN):
        times = np.bincount(rng.integers(0, utterances, utterances), minlength=utterances)
        if all(times[row.utterance[row.is_bonafide]].any() and times[row.utterance[~row.is_bonafide]].any()
               for row in rows.values()):
            return times
    raise InputError(f"{utterances} utterances are too few of one class for a bootstrap: drawing them again leaves "
                     "one class only; evaluate more, or leave --bootstrap out")
