"""How far to trust a result: bootstrap intervals, and whether two systems really differ.

A resample draws the trials of each class with replacement (or whole speakers, of both classes, when groups
are given). Scores are sorted once; a resample is then a vector of counts in that order, and its metrics
follow from cumulative sums: exactly what detection_metrics gives on the redrawn scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from wedefense.metrics.catalogue import BOOTSTRAPPED
from wedefense.metrics.columns import encode
from wedefense.metrics.detection import DetectionCosts, as_scores, distinct_counts, hull_blocks, min_cllr_of_blocks
from wedefense.utils.errors import InputError


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """System B minus system A in one metric."""

    metric: str
    a: float
    b: float
    interval: Interval
    p_value: float  # two-sided
    p_holm: float   # the same, for as many systems as were compared in this metric
    deviations: tuple[float, float] | None = None  # over seeds, of which A and B are means

    @property
    def value(self) -> float:
        return self.b - self.a


class _Ranked:
    """One system's scores, sorted once, ready to be weighted many times."""

    def __init__(self, bonafide: np.ndarray, spoof: np.ndarray, costs: DetectionCosts):
        self.costs = costs
        self.bonafide_order = np.argsort(bonafide, kind="stable")
        self.spoof_order = np.argsort(spoof, kind="stable")
        bonafide, spoof = bonafide[self.bonafide_order], spoof[self.spoof_order]
        _, below, spoof_below = distinct_counts(bonafide, spoof)
        self.curve = np.append(0, below), np.append(0, spoof_below)  # bona fide, spoof at or below each threshold
        # The hull can have a corner only after a spoof and before a bona fide score, however often each counts.
        steps = np.diff(self.curve) > 0
        corner = np.append(steps[1, :-1] & steps[0, 1:], True)  # of what is at or below each score
        self.corners = below[corner], spoof_below[corner]
        # A cost can be least only just under a bona fide score, or where everything is rejected.
        distinct = np.unique(bonafide)
        self.lows = np.searchsorted(bonafide, distinct), np.searchsorted(spoof, distinct)
        at = costs.bayes_threshold
        self.rejected = int(np.searchsorted(bonafide, at)), int(np.searchsorted(spoof, at))
        self.losses = np.logaddexp(0, -bonafide) / math.log(2), np.logaddexp(0, spoof) / math.log(2)

    def metrics(self, bonafide_weights: np.ndarray, spoof_weights: np.ndarray) -> list[float]:
        """The BOOTSTRAPPED when each trial counts as often as its weight says; weights in this system's order."""
        costs = self.costs
        b, s = (np.concatenate(([0], np.cumsum(w))) for w in (bonafide_weights, spoof_weights))
        n_b, n_s = int(b[-1]), int(s[-1])
        cost = costs.miss_weight / n_b * b[self.lows[0]] + costs.fa_weight / n_s * (n_s - s[self.lows[1]])
        lowest = min(float(cost.min()), costs.miss_weight)
        actual = (costs.miss_weight * b[self.rejected[0]] / n_b
                  + costs.fa_weight * (n_s - s[self.rejected[1]]) / n_s)
        bits = (self.losses[0] @ bonafide_weights / n_b + self.losses[1] @ spoof_weights / n_s) / 2
        values = {"eer": self._eer(b, s), "min_dcf": lowest / costs.default, "act_dcf": float(actual / costs.default),
                  "cllr": float(bits), "min_cllr": self._min_cllr(b, s)}
        return [values[name] for name in BOOTSTRAPPED]

    def _min_cllr(self, b: np.ndarray, s: np.ndarray) -> float:
        below, spoof_below = b[self.corners[0]], s[self.corners[1]]
        new = (np.diff(below, prepend=0) > 0) | (np.diff(spoof_below, prepend=0) > 0)  # what is not drawn is no step
        return min_cllr_of_blocks(*hull_blocks(below[new], spoof_below[new]))

    def _eer(self, b: np.ndarray, s: np.ndarray) -> float:
        """Bisection for the first threshold where frr >= far; the rates are closest there or one step before."""
        n_b, n_s = int(b[-1]), int(s[-1])

        def rates(k: int) -> tuple[float, float]:
            return int(b[self.curve[0][k]]) / n_b, (n_s - int(s[self.curve[1][k]])) / n_s

        low, high = 0, len(self.curve[0]) - 1  # frr < far at the first, frr > far at the last
        while high - low > 1:
            middle = (low + high) // 2
            frr, far = rates(middle)
            low, high = (low, middle) if frr >= far else (middle, high)
        before, after = rates(low), rates(high)
        frr, far = before if abs(before[0] - before[1]) <= abs(after[0] - after[1]) else after
        return (frr + far) / 2


class _Sampler:
    """Draws resample number r: how often each bona fide and each spoof trial is in it."""

    def __init__(self, is_bonafide: np.ndarray, groups: Sequence[str] | None, seed: int):
        self.sizes = int(is_bonafide.sum()), int((~is_bonafide).sum())
        self.seed = seed
        self.groups = None
        if groups is not None:
            names, codes = encode(groups)
            if len(names) < 2:
                raise InputError("a bootstrap by group needs at least two groups")
            self.groups = len(names), codes[is_bonafide], codes[~is_bonafide]

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, number))
        if self.groups is None:
            return tuple(np.bincount(rng.integers(0, n, n), minlength=n) for n in self.sizes)
        count, bonafide, spoof = self.groups
        while True:  # again, should no drawn group have a bona fide or no a spoof trial
            times = np.bincount(rng.integers(0, count, count), minlength=count)
            weights = times[bonafide], times[spoof]
            if weights[0].any() and weights[1].any():
                return weights


def _samples(systems: Sequence[np.ndarray], is_bonafide: np.ndarray, groups: Sequence[str] | None,
             costs: DetectionCosts, resamples: int, seed: int) -> np.ndarray:
    """(systems, resamples, BOOTSTRAPPED): every system on the same resamples."""
    if resamples < 1:
        raise InputError(f"the number of bootstrap resamples must be at least 1, got {resamples}")
    is_bonafide = np.asarray(is_bonafide, dtype=bool)
    pairs = [(as_scores(s[is_bonafide], "bona fide"), as_scores(s[~is_bonafide], "spoof")) for s in systems]
    # Trials in the first system's order, so that its weights need no reordering.
    orders = tuple(np.argsort(scores, kind="stable") for scores in pairs[0])
    pairs = [tuple(scores[order] for scores, order in zip(pair, orders)) for pair in pairs]
    ranked = [_Ranked(*pair, costs) for pair in pairs]
    if groups is not None:
        cells = np.asarray(groups, dtype=object)
        groups = np.concatenate([cells[mask][order] for mask, order in zip((is_bonafide, ~is_bonafide), orders)])
    ordered = np.arange(is_bonafide.size) < is_bonafide.sum()
    sampler = _Sampler(ordered, groups, seed)

    def one(number: int) -> list[list[float]]:
        bonafide, spoof = sampler.draw(number)
        return [system.metrics(bonafide if i == 0 else bonafide[system.bonafide_order],
                               spoof if i == 0 else spoof[system.spoof_order]) for i, system in enumerate(ranked)]

    return np.array([one(number) for number in range(resamples)]).transpose(1, 0, 2)


def bootstrap(scores: np.ndarray, is_bonafide: np.ndarray, groups: Sequence[str] | None = None,
              costs: DetectionCosts = DetectionCosts(), resamples: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """Each metric on every resample; with `groups` (the speaker of each trial) whole groups are drawn."""
    samples = _samples([np.asarray(scores)], is_bonafide, groups, costs, resamples, seed)[0]
    return dict(zip(BOOTSTRAPPED, samples.T))


def interval(samples: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval."""
    return Interval(*(float(q) for q in np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])))


def wilson(share: np.ndarray, trials: np.ndarray | int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of shares that were counted in so many trials; no share of few trials is certain.

    >>> low, high = wilson(np.array([0.0, 0.5]), 10)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.0, 0.237], [0.278, 0.763])
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return np.minimum(share, np.maximum(0.0, centre - half)), np.maximum(share, np.minimum(1.0, centre + half))


def eer_interval(bonafide: np.ndarray, spoof: np.ndarray, threshold: float, level: float = 0.95) -> Interval:
    """Of the mean of both error rates at a threshold, without resamples: from Wilson's interval of each rate, joined as
    Zou and Donner (2008) do. Not of width zero where no error was counted; trials are taken as independent.

    >>> [round(end, 3) for end in eer_interval(np.ones(150), -np.ones(6), 0.0)]
    [0.0, 0.196]
    """
    rates = np.array([np.mean(bonafide <= threshold), np.mean(spoof > threshold)])
    low, high = wilson(rates, np.array([bonafide.size, spoof.size]), level)
    middle = rates.mean()
    return Interval(max(0.0, float(middle - np.linalg.norm(rates - low) / 2)),
                    min(1.0, float(middle + np.linalg.norm(high - rates) / 2)))


def compare(systems: Sequence[np.ndarray], is_bonafide: np.ndarray, groups: Sequence[str] | None = None,
            costs: DetectionCosts = DetectionCosts(), resamples: int = 1000, seed: int = 0,
            level: float = 0.95) -> list[list[Difference]]:
    """Every other system less the first, by metric: all are scored on the same resamples, so what they share cancels.

    The p-values of a metric are corrected for the number of these systems.
    """
    systems = [np.asarray(system) for system in systems]
    if len(counts := dict.fromkeys(map(len, systems))) > 1:
        raise InputError(f"the systems score {' and '.join(map(str, counts))} trials; they must be the same")
    is_bonafide = np.asarray(is_bonafide, dtype=bool)
    samples = _samples(systems, is_bonafide, groups, costs, resamples, seed)
    differences = samples[1:] - samples[:1]                      # (systems - 1, resamples, BOOTSTRAPPED)
    ones = [np.ones(int(mask.sum()), np.int64) for mask in (is_bonafide, ~is_bonafide)]
    first, *others = [_Ranked(s[is_bonafide], s[~is_bonafide], costs).metrics(*ones) for s in systems]
    found: list[list[Difference]] = [[] for _ in others]
    for i, metric in enumerate(BOOTSTRAPPED):
        p_values = [_p_value(each[:, i]) for each in differences]
        for each, values, kept, p_value, p_holm in zip(differences, others, found, p_values, holm(p_values)):
            kept.append(Difference(metric, first[i], values[i], interval(each[:, i], level), p_value, p_holm))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number by Holm's steps, in the order given.

    >>> holm([0.25, 0.125, 0.75])
    [0.5, 0.375, 0.75]
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def _p_value(differences: np.ndarray) -> float:
    """Twice the share of resamples on the other side of zero, never below what the resamples can show."""
    side = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (side + 1) / (differences.size + 1))
