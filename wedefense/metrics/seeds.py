"""Whether systems differ by more than their seeds do: Welch's test between the trainings of each."""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from wedefense.metrics.catalogue import BOOTSTRAPPED
from wedefense.metrics.confidence import Difference, Interval, holm
from wedefense.metrics.detection import DetectionCosts, detection_metrics

_ROUNDING = 1e-9  # what equal rates may differ by


def compare_seeds(systems: Sequence[Sequence[np.ndarray]], is_bonafide: np.ndarray,
                  costs: DetectionCosts = DetectionCosts(), level: float = 0.95) -> list[list[Difference]]:
    """The mean of every other system less that of the first, by metric; a system is the scores of each training.

    The p-values of a metric are corrected for the number of these systems.
    """
    measured = [[detection_metrics(scores[is_bonafide], scores[~is_bonafide], costs) for scores in seeds]
                for seeds in systems]
    found: list[list[Difference]] = [[] for _ in systems[1:]]
    for metric in BOOTSTRAPPED:
        first, *others = [np.array([getattr(result, metric) for result in results]) for results in measured]
        tests = [welch(first, other, level) for other in others]
        for kept, other, (interval, p), p_holm in zip(found, others, tests, holm([p for _, p in tests])):
            kept.append(Difference(metric, first.mean().item(), other.mean().item(), interval, p, p_holm,
                                   (first.std(ddof=1).item(), other.std(ddof=1).item())))
    return found


def welch(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> tuple[Interval, float]:
    """Interval and two-sided p of the difference of means, b less a; p is 1 where neither deviates: that tells nothing
    of how much seeds do.

    >>> (low, high), p = welch(np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0]))
    >>> round(low, 3), round(high, 3), round(p, 4)
    (-0.267, 4.267, 0.0705)
    """
    parts = np.array([values.var(ddof=1) / values.size for values in (a, b)])  # of the variance of the difference
    difference, error = float(b.mean() - a.mean()), float(np.sqrt(parts.sum()))
    if error < _ROUNDING:
        return Interval(difference, difference), 1.0
    freedom = parts.sum() ** 2 / (parts ** 2 / (np.array([a.size, b.size]) - 1)).sum()
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return Interval(difference - half, difference + half), float(2 * stdtr(freedom, -abs(difference) / error))
