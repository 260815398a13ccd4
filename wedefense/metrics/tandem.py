"""Countermeasure (CM) and speaker verification (ASV) judged together: a-DCF, min t-DCF, t-EER.

Trials are target and nontarget (both bona fide) or spoof. Definitions: a-DCF of Shim et al. 2024, t-DCF of
Kinnunen et al. 2020 (ASVspoof 2021 and 5) and its 2018 form (ASVspoof 2019), concurrent t-EER of
Kinnunen et al. 2023.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense.metrics.detection import DetectionCosts, Point, as_scores, det_curve, eer_point
from wedefense.utils.checks import fraction, positive
from wedefense.utils.errors import InputError, OptionError


@dataclass(frozen=True)
class TandemCosts:
    p_target: float = 0.9405
    p_nontarget: float = 0.0095
    p_spoof: float = 0.05
    c_miss: float = 1.0        # cost of a rejected target
    c_fa: float = 10.0         # cost of an accepted nontarget
    c_fa_spoof: float = 10.0   # cost of an accepted spoof

    def __post_init__(self):
        fraction(self, "p_target", "p_nontarget", "p_spoof")
        positive(self, "c_miss", "c_fa", "c_fa_spoof")
        total = self.p_target + self.p_nontarget + self.p_spoof
        if abs(total - 1) > 1e-9:
            raise OptionError("p_target", f"the three priors must add up to 1, they give {total:g}")

    @classmethod
    def like(cls, costs: DetectionCosts) -> "TandemCosts":
        """The ASVspoof way: 1 % of the bona fide trials are nontargets, and a spoof costs what a nontarget does."""
        bonafide = 1 - costs.p_spoof
        return cls(0.99 * bonafide, 0.01 * bonafide, costs.p_spoof, costs.c_miss, costs.c_fa, costs.c_fa)


@dataclass(frozen=True)
class AsvRates:
    """Error rates of the ASV system behind the CM; the defaults are the ASVspoof 5 organisers'."""

    miss: float = 0.01880141010575793
    fa_nontarget: float = 0.01881016557566423
    fa_spoof: float = 0.4607082907604729

    def __post_init__(self):
        fraction(self, "miss", "fa_nontarget", "fa_spoof")


class Rates(NamedTuple):
    """Error rates of three classes at every threshold, from 'accept all' to 'reject all'."""

    miss: np.ndarray
    fa_nontarget: np.ndarray
    fa_spoof: np.ndarray
    thresholds: np.ndarray


class TandemEer(NamedTuple):
    value: float
    asv_threshold: float
    cm_threshold: float


def three_class_rates(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike) -> Rates:
    """A score at or below the threshold is rejected."""
    classes = [as_scores(x, name) for x, name in ((target, "target"), (nontarget, "nontarget"), (spoof, "spoof"))]
    scores = np.unique(np.concatenate(classes))
    lowest = min(scores[0] - 1e-3, np.nextafter(scores[0], -np.inf))
    thresholds = np.concatenate(([lowest], scores))
    below = [np.searchsorted(np.sort(x), thresholds, side="right") for x in classes]
    return Rates(below[0] / classes[0].size, (classes[1].size - below[1]) / classes[1].size,
                 (classes[2].size - below[2]) / classes[2].size, thresholds)


def a_dcf(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, costs: TandemCosts = TandemCosts()) -> Point:
    """Minimum normalised cost of one score that has to reject nontargets and spoofs alike."""
    rates = three_class_rates(target, nontarget, spoof)
    reject_all = costs.c_miss * costs.p_target
    accept_all = costs.c_fa * costs.p_nontarget + costs.c_fa_spoof * costs.p_spoof
    cost = (reject_all * rates.miss + costs.c_fa * costs.p_nontarget * rates.fa_nontarget
            + costs.c_fa_spoof * costs.p_spoof * rates.fa_spoof)
    index = int(np.argmin(cost))
    return Point(float(cost[index] / min(accept_all, reject_all)), float(rates.thresholds[index]))


def asv_rates(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike) -> AsvRates:
    """The rates of an ASV system at its EER threshold (targets against nontargets)."""
    target, nontarget, spoof = (as_scores(x, name) for x, name in (
        (target, "target"), (nontarget, "nontarget"), (spoof, "spoof")))
    threshold = eer_point(det_curve(target, nontarget)).threshold
    return AsvRates(float(np.mean(target < threshold)), float(np.mean(nontarget >= threshold)),
                    float(np.mean(spoof >= threshold)))


def min_tdcf(bonafide: ArrayLike, spoof: ArrayLike, asv: AsvRates = AsvRates(),
             costs: TandemCosts = TandemCosts(), legacy: bool = False) -> Point:
    """Minimum normalised tandem cost of a CM in front of a fixed ASV system.

    `legacy` is the form of ASVspoof 2019, which leaves out what the ASV system costs by itself.
    """
    curve = det_curve(bonafide, spoof)
    asv_alone = costs.p_target * costs.c_miss * asv.miss + costs.p_nontarget * costs.c_fa * asv.fa_nontarget
    miss_weight = costs.p_target * costs.c_miss - asv_alone
    fa_weight = costs.p_spoof * costs.c_fa_spoof * asv.fa_spoof
    if miss_weight <= 0 or fa_weight <= 0:
        raise InputError(f"t-DCF is not defined for an ASV system with these error rates: {asv}")
    floor = 0.0 if legacy else asv_alone
    cost = (floor + miss_weight * curve.frr + fa_weight * curve.far) / (floor + min(miss_weight, fa_weight))
    index = int(np.argmin(cost))
    return Point(float(cost[index]), float(curve.thresholds[index]))


def t_eer(cm_bonafide: ArrayLike, cm_spoof: ArrayLike, asv_target: ArrayLike, asv_nontarget: ArrayLike,
          asv_spoof: ArrayLike, spoof_share: float = 0.5) -> TandemEer:
    """Concurrent t-EER: the pair of thresholds at which the tandem errs equally on all three classes.

    For every ASV threshold the CM threshold with the nearest miss and false alarm rates is found; among these
    the concurrent point is where the false alarm rates on nontargets and spoofs meet, so `spoof_share` (the
    share of spoofs among the impostors) does not matter to it but for the steps of the curves.
    """
    cm, asv = det_curve(cm_bonafide, cm_spoof), three_class_rates(asv_target, asv_nontarget, asv_spoof)
    allowed = asv.miss < (1 - spoof_share) * asv.fa_nontarget + spoof_share * asv.fa_spoof
    asv = Rates(*(x[allowed] for x in asv))

    def gap(k: np.ndarray) -> np.ndarray:
        """Tandem miss minus false alarm rate at CM threshold k[i] and ASV threshold i; it grows with k."""
        miss = cm.frr[k] + (1 - cm.frr[k]) * asv.miss
        return miss - ((1 - spoof_share) * (1 - cm.frr[k]) * asv.fa_nontarget + spoof_share * cm.far[k] * asv.fa_spoof)

    above = _first(gap, np.zeros(len(asv.miss)), cm.frr.size)  # first gap >= 0
    below = np.maximum(above - 1, 0)
    below = _first(gap, gap(below), cm.frr.size)               # first of several equal gaps
    nearest = np.where(np.abs(gap(below)) <= np.abs(gap(above)), below, above)
    with np.errstate(divide="ignore", invalid="ignore"):
        mismatch = np.abs(asv.fa_nontarget / asv.fa_spoof - cm.far[nearest] / (1 - cm.frr[nearest]))
    mismatch[np.isnan(mismatch)] = np.inf
    if not np.isfinite(mismatch).any():
        raise InputError("the t-EER is not defined: no pair of thresholds accepts a bona fide trial")
    best = int(np.argmin(mismatch))
    return TandemEer(float(asv.fa_spoof[best] * cm.far[nearest[best]]), float(asv.thresholds[best]),
                     float(cm.thresholds[nearest[best]]))


def _first(gap, level: np.ndarray, size: int) -> np.ndarray:
    """For each column the first index whose gap reaches `level` (the last index, should none)."""
    low, high = np.zeros(level.size, np.int64), np.full(level.size, size - 1)
    while (low < high).any():
        middle = (low + high) // 2
        reached = gap(middle) >= level
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
        low = np.minimum(low, high)
    return high
