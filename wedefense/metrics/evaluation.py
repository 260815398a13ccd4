"""A whole evaluation as one dictionary, which the table, the JSON file and the report share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wedefense.metrics import confidence
from wedefense.metrics.breakdown import break_down
from wedefense.metrics.catalogue import METRICS
from wedefense.metrics.detection import CLASSES, DetectionCosts, detection_metrics
from wedefense.metrics.keys import Trials, doubts
from wedefense.metrics.sasv_keys import NONTARGET, SPOOF, TARGET, SasvTrials
from wedefense.metrics.tandem import AsvRates, TandemCosts, a_dcf, min_tdcf, t_eer
from wedefense.utils.checks import at_least
from wedefense.utils.errors import OptionError


@dataclass(frozen=True)
class BootstrapOptions:
    resamples: int = 1000
    level: float = 0.95
    seed: int = 0
    by: str = "trial"  # what is drawn: trials, or the groups of this name

    def __post_init__(self):
        at_least(self, 1, "resamples")
        if not 0 < self.level < 1:
            raise OptionError("level", f"must lie between 0 and 1, both excluded, got {self.level}")


def evaluate_detection(trials: Trials, meta: Mapping[str, Sequence[str]] | None = None,
                       costs: DetectionCosts = DetectionCosts(), bootstrap: BootstrapOptions | None = None,
                       groups: Sequence[str] | None = None, classes: tuple[str, str] = CLASSES) -> dict:
    """Pooled metrics (fractions), `breakdown` per column of `meta` (each with its `eer_interval`), `confidence`
    intervals and `doubts`.

    With `groups` (the speaker of each trial) the bootstrap draws whole groups.
    """
    pooled = detection_metrics(trials.bonafide, trials.spoof, costs)
    rates = [name for name in asdict(pooled) if name in METRICS]
    result = asdict(pooled) | {"costs": asdict(costs), "doubts": doubts(trials, pooled, classes)}
    if meta:
        result["breakdown"] = {
            title: asdict(break_down(trials.is_bonafide, column, rates, lambda b, s: _part(
                trials.scores[b], trials.scores[s], costs))) for title, column in meta.items()}
    if bootstrap:
        samples = confidence.bootstrap(trials.scores, trials.is_bonafide, groups, costs, bootstrap.resamples,
                                       bootstrap.seed)
        result["confidence"] = asdict(bootstrap) | {
            name: list(confidence.interval(values, bootstrap.level)) for name, values in samples.items()}
    return result


def _part(bonafide: np.ndarray, spoof: np.ndarray, costs: DetectionCosts) -> dict[str, Any]:
    """Metrics of a few trials, and how far the EER of so few can be trusted."""
    found = detection_metrics(bonafide, spoof, costs)
    return asdict(found) | {"eer_interval": list(confidence.eer_interval(bonafide, spoof, found.eer_threshold))}


def evaluate_sasv(trials: SasvTrials, meta: Mapping[str, Sequence[str]] | None = None,
                  costs: TandemCosts = TandemCosts(), asv: AsvRates = AsvRates()) -> dict:
    """a-DCF of the SASV scores, min t-DCF of the CM scores, t-EER of both; what has no score is left out."""
    target, nontarget, spoof = (np.flatnonzero(trials.kinds == kind) for kind in (TARGET, NONTARGET, SPOOF))
    result: dict[str, Any] = {**sasv_metrics(trials, target, nontarget, spoof, costs, asv)}
    rates = [name for name in METRICS if name in result]
    if meta:
        result["breakdown"] = {
            title: asdict(break_down(trials.kinds != SPOOF, column, rates, lambda b, s: sasv_metrics(
                trials, b[trials.kinds[b] == TARGET], b[trials.kinds[b] == NONTARGET], s, costs, asv)))
            for title, column in meta.items()}
    return result | {"costs": asdict(costs), "asv": asdict(asv)}


def sasv_metrics(trials: SasvTrials, target: np.ndarray, nontarget: np.ndarray, spoof: np.ndarray,
                 costs: TandemCosts, asv: AsvRates) -> dict[str, float]:
    """The metrics of the trials in these rows, each with its threshold."""
    result: dict[str, float] = {}
    bonafide = np.sort(np.concatenate((target, nontarget)))
    if trials.sasv is not None:
        point = a_dcf(trials.sasv[target], trials.sasv[nontarget], trials.sasv[spoof], costs)
        result |= {"a_dcf": point.value, "a_dcf_threshold": point.threshold}
    if trials.cm is not None:
        for name, legacy in (("min_tdcf", False), ("min_tdcf_legacy", True)):
            point = min_tdcf(trials.cm[bonafide], trials.cm[spoof], asv, costs, legacy)
            result |= {name: point.value, f"{name}_threshold": point.threshold}
    if trials.cm is not None and trials.asv is not None:
        found = t_eer(trials.cm[bonafide], trials.cm[spoof], *(trials.asv[x] for x in (target, nontarget, spoof)))
        result |= {"t_eer": found.value, "t_eer_asv_threshold": found.asv_threshold,
                   "t_eer_cm_threshold": found.cm_threshold}
    return result | {"n_target": target.size, "n_nontarget": nontarget.size, "n_spoof": spoof.size}
