"""Pictures of how far scores can be taken at their word, as they are and calibrated."""

from collections.abc import Mapping

import numpy as np

from wedefense.metrics.confidence import wilson
from wedefense.metrics.detection import CLASSES, DetectionCosts, bayes_error_rates, cllr, distinct_counts
from wedefense.report.det_plot import Scores
from wedefense.report.style import BONAFIDE, CALIBRATED, GREY, INK, LETTERS, SPOOF, described, new_figure

_VERSIONS = ((SPOOF, "-", "o"), (CALIBRATED, "-.", "s"))  # raw and calibrated: colour, line, marker
_SHARES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
_EDGE = 7.5                      # log odds


def bayes_error_plot(versions: Mapping[str, Scores], costs: DetectionCosts = DetectionCosts(),
                     classes: tuple[str, str] = CLASSES, span: float = 6.0):
    """Actual against minimum normalised error rate over priors: the gap is what poor calibration loses.

    The versions (such as raw and calibrated) order the trials alike, so that they share the minimum.
    """
    figure, axes = new_figure()
    log_odds = np.linspace(-span, span, 241)
    for (colour, line, _), (name, scores) in zip(_VERSIONS, versions.items()):
        actual, lowest = bayes_error_rates(*scores, log_odds)
        axes.plot(log_odds, actual, color=colour, linewidth=1.8, linestyle=line,
                  label=f"{name} actual".strip())
    axes.plot(log_odds, lowest, color=BONAFIDE, linewidth=1.8, linestyle="--", label="minimum (best threshold)")
    axes.axhline(1, color=GREY, linewidth=1, linestyle=":", label="without listening")
    axes.axvline(-costs.bayes_threshold, color=INK, linewidth=1,
                 label=f"operating point (P({classes[1]}) {costs.p_spoof:g}, C_fa/C_miss "
                       f"{costs.c_fa / costs.c_miss:g})")
    axes.set(xlabel=f"effective prior log odds of {classes[0]}", ylabel="normalised Bayes error rate",
             xlim=(-span, span), ylim=(0, 2.0))
    axes.legend()
    at = int(np.argmin(np.abs(log_odds + costs.bayes_threshold)))
    said = ", ".join(f"{name or 'actual'} {bayes_error_rates(*scores, log_odds)[0][at]:.2f}"
                     for name, scores in versions.items())
    return described(figure, f"Normalised Bayes error rate over the prior log odds of {classes[0]}, 0 to 2. At the "
                     f"operating point: {said}; the least possible {lowest[at]:.2f}; 1 is without listening.")


def reliability_plot(versions: Mapping[str, Scores], classes: tuple[str, str] = CLASSES, bins: int = 12):
    """Stated against found log odds of bona fide, at a prior of one half; bins of equal weight.

    Bars are 95 % Wilson intervals of the share found. A bin of one class only, whose odds are infinite, is a hollow
    marker at the end of its interval.
    """
    figure, axes = new_figure((4.8, 4.6))
    axes.plot([-_EDGE, _EDGE], [-_EDGE, _EDGE], color=GREY, linewidth=1, linestyle=":", label="perfectly calibrated")
    said = []
    for (colour, _, marker), (name, scores) in zip(_VERSIONS, versions.items()):
        stated, found, low, high = np.clip(_log_odds(np.array(_reliability(*scores, bins))), -_EDGE, _EDGE)
        pure = np.abs(found) >= _EDGE
        place = np.where(found <= -_EDGE, high, np.where(found >= _EDGE, low, found))
        axes.plot(stated, place, color=colour, linewidth=1.2, alpha=0.6)
        axes.vlines(stated, low, high, color=colour, linewidth=1.2, alpha=0.8)
        axes.plot([], [], marker, color=colour, markersize=5, label=f"{name} scores as log-likelihood ratios".strip())
        for inside, filled in ((~pure, colour), (pure, "none")):
            if inside.any():  # nothing, unclipped, would take room
                axes.plot(stated[inside], place[inside], marker, color=colour, markersize=5, markerfacecolor=filled,
                          clip_on=False)
        said.append(f"{name or 'the scores'}: {int(np.sum((low <= stated) & (stated <= high)))} of {len(stated)} bins "
                    f"agree with what they state within 95 %")
    axes.plot([], [], "o", color=GREY, markerfacecolor="none", markersize=5, linestyle="none",
              label="bin of one class: end of its interval")
    ticks = _log_odds(np.array(_SHARES)), [f"{100 * share:g}" for share in _SHARES]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(*ticks)
    axes.set(xlabel=f"stated probability of {classes[0]} (%, log odds)", ylabel=f"share that is {classes[0]} (%)",
             xlim=(-_EDGE, _EDGE), ylim=(-_EDGE, _EDGE))
    axes.legend()
    return described(figure, f"Stated probability of {classes[0]} against the share found, on log odds from 0.1 to "
                     f"99.9 %; the diagonal is perfect. {'; '.join(said)}.")


def before_and_after(versions: Mapping[str, Scores], costs: DetectionCosts = DetectionCosts(),
                     classes: tuple[str, str] = CLASSES):
    """A histogram of each version, one below the other, with the threshold that its log-likelihood ratios name."""
    figure, panels = new_figure((4.8, 4.6), len(versions), shared=False)
    said = []
    for axes, (name, (bonafide, spoof)) in zip(np.atleast_1d(panels), versions.items()):
        edges = histogram_edges(bonafide, spoof)
        for scores, colour, title in ((spoof, SPOOF, classes[1]), (bonafide, BONAFIDE, classes[0])):
            axes.hist(np.clip(scores, edges[0], edges[-1]), edges, density=True, color=colour, alpha=0.5, label=title)
        axes.axvline(costs.bayes_threshold, color=INK, linewidth=1, label="Bayes threshold")
        loss = cllr(bonafide, spoof)
        axes.set_title(f"{name}, Cllr {loss:.3f}", fontsize=LETTERS, loc="left")
        axes.set(ylabel="density", xlim=(min(edges[0], costs.bayes_threshold - 1), max(edges[-1],
                                                                                     costs.bayes_threshold + 1)))
        said.append(f"{name}: medians {np.median(bonafide):.2f} of {classes[0]} and {np.median(spoof):.2f} of "
                    f"{classes[1]}, Cllr {loss:.3f}")
    np.atleast_1d(panels)[0].legend()
    axes.set_xlabel(f"log-likelihood ratio (higher: more {classes[0]})")
    return described(figure, f"Histograms of the scores. {'; '.join(said)}; the Bayes threshold is "
                     f"{costs.bayes_threshold:.2f}.")


def histogram_edges(bonafide: np.ndarray, spoof: np.ndarray) -> np.ndarray:
    """Of the bars; few trials would make a comb of narrow ones."""
    both = np.concatenate((bonafide, spoof))
    low, high = np.quantile(both, [0.0005, 0.9995])
    margin = 0.03 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, int(np.clip(2 * both.size ** 0.5, 16, 80)) + 1)


def _log_odds(share: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log1p(-share)


def _reliability(bonafide: np.ndarray, spoof: np.ndarray, bins: int) -> list[np.ndarray]:
    """(stated probability, share found, lower and upper bound of it) of each bin."""
    scores, bonafide_below, spoof_below = distinct_counts(np.asarray(bonafide, float), np.asarray(spoof, float))
    rates = np.diff(bonafide_below, prepend=0) / len(bonafide), np.diff(spoof_below, prepend=0) / len(spoof)
    weight = np.cumsum(rates[0] + rates[1]) / 2
    bin_of = np.minimum((bins * (weight - 1e-12)).astype(int), bins - 1)
    stated, found, trials = [], [], []
    for number in np.unique(bin_of):
        inside = bin_of == number
        b, s = rates[0][inside].sum(), rates[1][inside].sum()
        posterior = np.exp(-np.logaddexp(0, -scores[inside]))
        stated.append(np.average(posterior, weights=rates[0][inside] + rates[1][inside]))
        found.append(b / (b + s))
        trials.append(b * len(bonafide) + s * len(spoof))
    return [np.array(stated), np.array(found), *wilson(np.array(found), np.array(trials))]
