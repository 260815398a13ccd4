"""One system over many sets: each by itself, at one threshold and with one calibration, their mean and their pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wedefense.metrics.catalogue import SUMMARY
from wedefense.metrics.confidence import compare
from wedefense.metrics.detection import DetectionCosts, det_curve, eer_point
from wedefense.metrics.evaluation import BootstrapOptions, evaluate_detection
from wedefense.metrics.keys import Trials
from wedefense.scoring.calibration import Calibration, fit
from wedefense.utils.errors import InputError, did_you_mean

MEAN, POOLED = "mean", "pooled"
_RATES = (*SUMMARY, "miss", "false_accept")


@dataclass(frozen=True)
class Scored:
    """The scores of a set; NaN where a recording could not be read."""

    keys: list[str]
    scores: np.ndarray
    is_bonafide: np.ndarray

    @property
    def heard(self) -> np.ndarray:
        return ~np.isnan(self.scores)

    @property
    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """The scores of bona fide recordings and those of spoofs."""
        return self.scores[self.heard & self.is_bonafide], self.scores[self.heard & ~self.is_bonafide]


@dataclass(frozen=True)
class Fixed:
    """The threshold and the calibration of a system, the same for all sets."""

    threshold: float
    on: str
    calibration: Calibration | None = None
    doubt: str = ""  # why there is no calibration


def fixable(classes: Mapping[str, np.ndarray], name: str | None) -> None:
    """Whether the threshold can be found on the set `name`, or on all together, of which `is_bonafide` is known."""
    if name is not None and name not in classes:
        raise InputError(f"--fix_on {name}: no such set{did_you_mean(name, classes)}")
    chosen = np.concatenate(list(classes.values())) if name is None else classes[name]
    if chosen.all() or not chosen.any():
        raise InputError(f"{name or 'the sets together'}: a threshold needs bona fide recordings and spoofs; fix it on "
                         "a set that has both (--fix_on)")


def fix(sets: Mapping[str, Scored], name: str | None = None) -> Fixed:
    """Where the error rates of the set `name` are equal, and the calibration fitted there. Without a name scores are
    taken as they are, and the threshold is that of the pool, which is chosen with all labels in hand."""
    fixable({key: scored.is_bonafide[scored.heard] for key, scored in sets.items()}, name)
    chosen = _pool(sets) if name is None else sets[name]
    bonafide, spoof = chosen.classes
    threshold = eer_point(det_curve(bonafide, spoof)).threshold
    if name is None:
        return Fixed(threshold, f"{POOLED} (with all labels in hand)")
    try:
        return Fixed(threshold, name, fit(chosen.scores[chosen.heard], chosen.is_bonafide[chosen.heard]))
    except InputError as error:
        return Fixed(threshold, name, doubt=str(error))


def evaluate(sets: Mapping[str, Scored], fixed: Fixed, costs: DetectionCosts = DetectionCosts(),
             resamples: int | None = None) -> dict:
    """Results by set, then of `mean` and `pooled`; a set of one class has the error rate of this class at the
    threshold, which for spoofs is 1 - SRR."""
    bootstrap = None if resamples is None else BootstrapOptions(resamples)
    results = {name: _one(scored, fixed, costs, bootstrap) for name, scored in sets.items()}
    mean = {rate: float(np.mean(found)) for rate in _RATES
            if (found := [result[rate] for result in results.values() if rate in result])}
    without = f"the scores are taken as they are{f', since {fixed.doubt}' if fixed.doubt else ''}"
    return {"threshold": fixed.threshold, "fixed_on": fixed.on,
            "calibration": fixed.calibration.formula() if fixed.calibration else without,
            "sets": results, MEAN: mean, POOLED: _one(_pool(sets), fixed, costs, bootstrap)}


def _pool(sets: Mapping[str, Scored]) -> Scored:
    return Scored([f"{name}/{key}" for name, scored in sets.items() for key in scored.keys],
                  np.concatenate([scored.scores for scored in sets.values()]),
                  np.concatenate([scored.is_bonafide for scored in sets.values()]))


def _one(scored: Scored, fixed: Fixed, costs: DetectionCosts, bootstrap: BootstrapOptions | None) -> dict:
    bonafide, spoof = scored.classes
    result: dict[str, Any] = {"n_bonafide": len(bonafide), "n_spoof": len(spoof),
                              "n_skipped": int((~scored.heard).sum())}
    if len(bonafide):
        result["miss"] = float((bonafide <= fixed.threshold).mean())
    if len(spoof):
        result["false_accept"] = float((spoof > fixed.threshold).mean())
    if len(bonafide) and len(spoof):
        heard = scored.heard
        raw = Trials([], scored.scores[heard], scored.is_bonafide[heard])
        found = evaluate_detection(raw, costs=costs, bootstrap=bootstrap)
        result |= {name: found[name] for name in (*SUMMARY, "doubts")}
        if bootstrap:
            result["eer_interval"] = found["confidence"]["eer"]
        if fixed.calibration is not None:
            taken = evaluate_detection(Trials([], fixed.calibration.apply(raw.scores), raw.is_bonafide), costs=costs)
            result |= {name: taken[name] for name in ("act_dcf", "cllr", "doubts")}
    return result


def difference(one: Scored, other: Scored, costs: DetectionCosts, resamples: int) -> dict:
    """EER of `other` less that of `one` on the recordings that both could read, with its interval and p-value."""
    both = one.heard & other.heard
    kinds = one.is_bonafide[both]
    if kinds.all() or not kinds.any():
        return {}
    pair = one.scores[both], other.scores[both]
    found = next(item for item in compare(pair, kinds, costs=costs, resamples=resamples)[0] if item.metric == "eer")
    return {"difference": found.value, "interval": list(found.interval), "p_value": found.p_value}
