"""Detection metrics by the ASVspoof 5 definitions. A higher score means more bona fide.

>>> result = detection_metrics([1.0, 2.0, 3.0], [-2.0, -1.0, 1.5])
>>> round(result.eer, 4), result.eer_threshold
(0.3333, 1.0)
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense.utils.checks import within
from wedefense.utils.errors import InputError, OptionError

CLASSES = ("bona fide", "spoof")  # the one that a higher score speaks for, and the other


@dataclass(frozen=True)
class DetectionCosts:
    p_spoof: float = 0.05  # prior of a spoof
    c_miss: float = 1.0    # cost of a rejected bona fide utterance
    c_fa: float = 10.0     # cost of an accepted spoof

    def __post_init__(self):
        within(self, 1e-12, 1e12, "c_miss", "c_fa")
        if not 1e-12 < self.p_spoof < 1 - 1e-12:
            raise OptionError("p_spoof", f"must lie between 0 and 1, both excluded, got {self.p_spoof}")

    @property
    def miss_weight(self) -> float:
        return self.c_miss * (1 - self.p_spoof)

    @property
    def fa_weight(self) -> float:
        return self.c_fa * self.p_spoof

    @property
    def default(self) -> float:
        """The cost of accepting or rejecting everything, whichever is cheaper."""
        return min(self.miss_weight, self.fa_weight)

    @property
    def bayes_threshold(self) -> float:
        """The decision threshold for calibrated log-likelihood ratios."""
        return 0.0 - math.log(self.miss_weight / self.fa_weight)  # never -0.0


class Point(NamedTuple):
    """A metric and the threshold at which it is reached."""

    value: float
    threshold: float


class DetCurve(NamedTuple):
    """Error rates at every threshold that can be told apart, from 'accept all' (0, 1) to 'reject all' (1, 0)."""

    frr: np.ndarray         # share of bona fide scores at or below the threshold
    far: np.ndarray         # share of spoof scores above it
    thresholds: np.ndarray  # ascending; the first lies just under the lowest score


@dataclass(frozen=True)
class DetectionResult:
    eer: float
    eer_threshold: float
    min_dcf: float
    min_dcf_threshold: float
    act_dcf: float
    act_dcf_threshold: float
    cllr: float
    min_cllr: float
    rocch_eer: float
    n_bonafide: int
    n_spoof: int


def as_scores(values: ArrayLike, name: str) -> np.ndarray:
    """One-dimensional float64; an empty array, NaN or infinity is an error that names the class."""
    scores = np.asarray(values, dtype=np.float64).reshape(-1)
    if scores.size == 0:
        raise InputError(f"no {name} scores: detection metrics need both classes")
    bad = scores.size - np.count_nonzero(np.isfinite(scores))
    if bad:
        raise InputError(f"{bad} of {scores.size} {name} scores are NaN or infinite")
    return scores


def _both(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    return as_scores(bonafide, "bona fide"), as_scores(spoof, "spoof")


def distinct_counts(bonafide: np.ndarray, spoof: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(distinct scores ascending, bona fide at or below each, spoof at or below each)."""
    scores = np.concatenate((bonafide, spoof))
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # A threshold cannot separate equal scores, so a run of ties is one step.
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
    bonafide_below = np.cumsum(order < bonafide.size)[last]
    return ordered[last], bonafide_below, last + 1 - bonafide_below


def det_curve(bonafide: ArrayLike, spoof: ArrayLike) -> DetCurve:
    return _curve(*distinct_counts(*_both(bonafide, spoof)))


def _curve(scores: np.ndarray, bonafide_below: np.ndarray, spoof_below: np.ndarray) -> DetCurve:
    n_bonafide, n_spoof = bonafide_below[-1], spoof_below[-1]
    frr = np.concatenate(([0.0], bonafide_below / n_bonafide))
    far = np.concatenate(([1.0], (n_spoof - spoof_below) / n_spoof))
    lowest = min(scores[0] - 1e-3, np.nextafter(scores[0], -np.inf))
    return DetCurve(frr, far, np.concatenate(([lowest], scores)))


def eer_point(curve: DetCurve) -> Point:
    """Where the two error rates lie closest (the first such threshold), and their mean there."""
    index = int(np.argmin(np.abs(curve.frr - curve.far)))
    return Point(float((curve.frr[index] + curve.far[index]) / 2), float(curve.thresholds[index]))


def min_dcf_point(curve: DetCurve, costs: DetectionCosts = DetectionCosts()) -> Point:
    cost = costs.c_miss * curve.frr * (1 - costs.p_spoof) + costs.c_fa * curve.far * costs.p_spoof
    index = int(np.argmin(cost))
    return Point(float(cost[index] / costs.default), float(curve.thresholds[index]))


def eer(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Equal error rate, as a fraction."""
    return eer_point(det_curve(bonafide, spoof)).value


def min_dcf(bonafide: ArrayLike, spoof: ArrayLike, costs: DetectionCosts = DetectionCosts()) -> float:
    """Normalised detection cost at the best threshold, chosen with the labels in hand."""
    return min_dcf_point(det_curve(bonafide, spoof), costs).value


def act_dcf(bonafide: ArrayLike, spoof: ArrayLike, costs: DetectionCosts = DetectionCosts()) -> float:
    """Normalised detection cost at the Bayes threshold: what calibrated scores would be decided by."""
    bonafide, spoof = _both(bonafide, spoof)
    miss = np.count_nonzero(bonafide < costs.bayes_threshold) / bonafide.size
    accepted = np.count_nonzero(spoof >= costs.bayes_threshold) / spoof.size
    return float((costs.miss_weight * miss + costs.fa_weight * accepted) / costs.default)


def cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Cost of log-likelihood ratios in bits: 0 is perfect, 1 is what a silent detector gets."""
    bonafide, spoof = _both(bonafide, spoof)
    return float((_softplus(-bonafide).mean() + _softplus(spoof).mean()) / 2 / math.log(2))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # no overflow at any x


def pav_blocks(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(bona fide, spoof) counts in each block of the best monotone score-to-LLR mapping, scores ascending.

    What pool-adjacent-violators finds; the block ends are the corners of the ROC convex hull.
    """
    bonafide, spoof = _both(bonafide, spoof)
    _, bonafide_below, spoof_below = distinct_counts(bonafide, spoof)
    return hull_blocks(bonafide_below, spoof_below)


def hull_blocks(bonafide_below: np.ndarray, spoof_below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`pav_blocks` from the counts at or below each threshold; no two thresholds may have both counts the same."""
    y, x = (np.concatenate(([0], below)).astype(np.int64) for below in (bonafide_below, spoof_below))
    while x.size > 2:
        dx, dy = np.diff(x), np.diff(y)
        # A point on or above the line between its neighbours is no corner; counts make this exact.
        convex = np.concatenate(([True], dx[:-1] * dy[1:] > dx[1:] * dy[:-1], [True]))
        if convex.all():
            break
        x, y = x[convex], y[convex]
    return np.diff(y), np.diff(x)


def min_cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Cllr after the best monotone recalibration: what remains is lack of separation."""
    return min_cllr_of_blocks(*pav_blocks(bonafide, spoof))


def min_cllr_of_blocks(bonafide_counts: np.ndarray, spoof_counts: np.ndarray) -> float:
    mixed = (bonafide_counts > 0) & (spoof_counts > 0)  # pure blocks cost nothing
    b, s = bonafide_counts[mixed] / bonafide_counts.sum(), spoof_counts[mixed] / spoof_counts.sum()
    return float((b * np.log2(1 + s / b) + s * np.log2(1 + b / s)).sum() / 2)


def rocch_eer(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """EER on the convex hull of the ROC: never above 50 %, independent of how ties are broken."""
    return _rocch_eer(*pav_blocks(bonafide, spoof))


def _corners(bonafide_counts: np.ndarray, spoof_counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(frr, far) at the corners of the hull, from accepting to rejecting everything."""
    return (np.append(0, np.cumsum(bonafide_counts)) / bonafide_counts.sum(),
            np.append(np.cumsum(spoof_counts[::-1])[::-1], 0) / spoof_counts.sum())


def _rocch_eer(bonafide_counts: np.ndarray, spoof_counts: np.ndarray) -> float:
    frr, far = _corners(bonafide_counts, spoof_counts)
    after = int(np.argmax(frr >= far))  # the hull crosses frr = far between the points after-1 and after
    d0, d1 = frr[after - 1] - far[after - 1], frr[after] - far[after]
    return float(frr[after - 1] + d0 / (d0 - d1) * (frr[after] - frr[after - 1]))


def bayes_error_rates(bonafide: ArrayLike, spoof: ArrayLike,
                      prior_log_odds: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(actual, minimum) normalised error rates of LLRs when bona fide has these prior log odds and costs are 1."""
    bonafide, spoof = _both(bonafide, spoof)
    log_odds = np.asarray(prior_log_odds, dtype=np.float64)
    prior = 1 / (1 + np.exp(-log_odds))
    default = np.minimum(prior, 1 - prior)
    miss = np.searchsorted(np.sort(bonafide), -log_odds, side="left") / bonafide.size
    accepted = 1 - np.searchsorted(np.sort(spoof), -log_odds, side="left") / spoof.size
    frr, far = _corners(*pav_blocks(bonafide, spoof))  # a minimum over a linear cost lies on the hull
    lowest = (prior[:, None] * frr + (1 - prior[:, None]) * far).min(axis=1)
    return (prior * miss + (1 - prior) * accepted) / default, lowest / default


def detection_metrics(bonafide: ArrayLike, spoof: ArrayLike,
                      costs: DetectionCosts = DetectionCosts()) -> DetectionResult:
    """Every threshold-free and threshold-bound metric of one set of trials; fractions, not per cent."""
    bonafide, spoof = _both(bonafide, spoof)
    counts = distinct_counts(bonafide, spoof)
    curve, blocks = _curve(*counts), hull_blocks(*counts[1:])
    equal, lowest = eer_point(curve), min_dcf_point(curve, costs)
    return DetectionResult(
        eer=equal.value, eer_threshold=equal.threshold,
        min_dcf=lowest.value, min_dcf_threshold=lowest.threshold,
        act_dcf=act_dcf(bonafide, spoof, costs), act_dcf_threshold=costs.bayes_threshold,
        cllr=cllr(bonafide, spoof), min_cllr=min_cllr_of_blocks(*blocks),
        rocch_eer=_rocch_eer(*blocks),
        n_bonafide=bonafide.size, n_spoof=spoof.size)
