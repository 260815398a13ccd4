"""Pictures of a result. Each function returns a matplotlib Figure; nothing needs a display."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from wedefense.metrics.catalogue import MAIN, METRICS, POINTS
from wedefense.metrics.detection import (
    CLASSES,
    DetectionCosts,
    bayes_error_rates,
    det_curve,
    detection_metrics,
    distinct_counts,
)
from wedefense.report.style import BONAFIDE, CALIBRATED, FAINT, GREY, SERIES, SPOOF, legend_below, new_figure

_VERSIONS = (SPOOF, CALIBRATED)  # raw and calibrated
_TICKS = (0.0001, 0.0005, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
_BARS = 40

Scores = tuple[np.ndarray, np.ndarray]  # bona fide, spoof


def det_plot(systems: Mapping[str, Scores], costs: DetectionCosts | None = DetectionCosts(),
             classes: tuple[str, str] = CLASSES):
    """Miss against false alarm rate on normal-deviate axes, with the points at which metrics are reached.

    A rate of zero, which has no place on such axes, is drawn at half a trial. Without costs only what takes none is
    marked.
    """
    figure, axes = new_figure((6.4, 6.6))
    points = {key: point for key, point in POINTS.items() if costs or not point.takes_costs}
    lowest, highest = 0.5, 0.5
    for index, (name, (bonafide, spoof)) in enumerate(systems.items()):
        colour = SERIES[index % len(SERIES)]
        curve = det_curve(bonafide, spoof)
        result = asdict(detection_metrics(bonafide, spoof, costs or DetectionCosts()))
        floors = 0.5 / len(spoof), 0.5 / len(bonafide)
        axes.plot(*_thin(_probit(curve.far, curve.frr, floors)), color=colour, linewidth=1.6, drawstyle="steps-post",
                  label=f"{name}: {', '.join(METRICS[key].phrase(result[key]) for key in points)}")
        for key, point in points.items():
            at = result[f"{key}_threshold"]
            far, frr = ((np.mean(spoof >= at), np.mean(bonafide < at)) if point.accepts_equal else
                        (np.mean(spoof > at), np.mean(bonafide <= at)))
            axes.plot(*_probit(far, frr, floors), point.marker, color=colour, markersize=7, markeredgecolor="white",
                      zorder=5)
            lowest = min(lowest, max(min(far, frr), min(floors)))
            highest = max(highest, min(max(far, frr), 0.99))
    _probit_axes(axes, max(lowest / 1.6, _TICKS[0]), highest)
    for point in points.values():
        axes.plot([], [], point.marker, color=GREY, linestyle="none", label=point.marked)
    axes.set(xlabel=f"false alarm rate: {classes[1]} accepted (%)", ylabel=f"miss rate: {classes[0]} rejected (%)")
    legend_below(figure, axes, 1)
    return figure


def _probit(far, frr, floors: tuple[float, float]) -> list[np.ndarray]:
    from scipy.special import ndtri

    return [ndtri(np.clip(rate, floor, 1 - floor)) for rate, floor in zip((far, frr), floors)]


def _thin(line: list[np.ndarray], step: float = 0.004) -> list[np.ndarray]:
    """The line without the points that no eye can tell from the one before: 680,000 trials fit into a report."""
    cells = np.floor(np.stack(line) / step)
    moves = np.any(cells[:, 1:] != cells[:, :-1], axis=0)
    kept = np.concatenate(([True], moves)) | np.concatenate((moves, [True]))  # both ends of every move
    return [x[kept] for x in line]


def _probit_axes(axes, lowest: float, highest: float) -> None:
    from scipy.special import ndtri

    ticks = [tick for tick in _TICKS if lowest * 0.99 <= tick <= 1.2 * highest]
    edges = ndtri(lowest * 0.9), ndtri(min(highest * 1.2, 0.995))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(ticks), [f"{100 * tick:g}" for tick in ticks])
    axes.set(xlim=edges, ylim=edges, aspect="equal")
    axes.plot(edges, edges, color=FAINT, linewidth=0.8, linestyle=":", zorder=0)


def score_histogram(bonafide: np.ndarray, spoof: np.ndarray, attacks: Sequence[str] | None = None,
                    thresholds: Mapping[str, float] | None = None, classes: tuple[str, str] = CLASSES):
    """Densities of the scores by class; with the attack of each spoof trial, a box for each attack below."""
    names = [] if attacks is None else sorted(set(attacks))[:_BARS]
    height = 0.24 * (len(names) + 1)
    figure, panels = new_figure((7.0, 3.9 + height), 2, (3.2, height)) if names else new_figure((7.0, 4.2))
    top = panels[0] if names else panels
    low, high = np.quantile(np.concatenate((bonafide, spoof)), [0.0005, 0.9995])
    margin = 0.03 * (high - low) or 1.0
    bars = int(np.clip(2 * math.sqrt(len(bonafide) + len(spoof)), 16, 80))  # few trials make a comb of narrow ones
    edges = np.linspace(low - margin, high + margin, bars + 1)
    for scores, colour, name in ((spoof, SPOOF, classes[1]), (bonafide, BONAFIDE, classes[0])):
        top.hist(np.clip(scores, edges[0], edges[-1]), edges, density=True, color=colour, alpha=0.5,
                 label=f"{name} ({len(scores)})")
    if names:
        labels = np.asarray(attacks)
        rows = [bonafide, *(spoof[labels == name] for name in names)]
        lows, left, middle, right, highs = np.array([np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95)) for x in rows]).T
        places = np.arange(len(rows))
        panels[1].hlines(places, lows, highs, color="black", linewidth=1)
        panels[1].barh(places, right - left, left=left, height=0.62, color=[BONAFIDE] + [SPOOF] * len(names), alpha=0.7)
        panels[1].vlines(middle, places - 0.31, places + 0.31, color="black", linewidth=1.4)
        panels[1].set_yticks(places, [classes[0], *names], fontsize=8)
        panels[1].set_title("median, quartiles, 5 to 95 %", fontsize=8, loc="left")
        panels[1].invert_yaxis()
    for panel in panels if names else [top]:
        for (name, value), style in zip((thresholds or {}).items(), ("-", "--", ":")):
            panel.axvline(value, color="black", linestyle=style, linewidth=1, label=f"{name} threshold {value:.3g}")
    top.set(ylabel="density", xlim=(edges[0], edges[-1]))
    (panels[1] if names else top).set_xlabel(f"score (higher: more {classes[0]})")
    legend_below(figure, top, 4)
    return figure


def bayes_error_plot(versions: Mapping[str, Scores], costs: DetectionCosts = DetectionCosts(),
                     classes: tuple[str, str] = CLASSES, span: float = 6.0):
    """Actual against minimum normalised error rate over priors: the gap is what poor calibration loses.

    The versions (such as raw and calibrated) order the trials alike, so that they share the minimum.
    """
    figure, axes = new_figure((7.0, 5.0))
    log_odds, highest = np.linspace(-span, span, 241), 0.0
    for colour, (name, scores) in zip(_VERSIONS, versions.items()):
        actual, lowest = bayes_error_rates(*scores, log_odds)
        axes.plot(log_odds, actual, color=colour, linewidth=1.8,
                  label=f"{name} actual (threshold from the prior)".strip())
        highest = max(highest, float(np.max(actual)))
    axes.plot(log_odds, lowest, color=BONAFIDE, linewidth=1.8, linestyle="--", label="minimum (best threshold)")
    axes.axhline(1, color=GREY, linewidth=1, linestyle=":", label="without listening")
    axes.axvline(-costs.bayes_threshold, color="black", linewidth=1,
                 label=f"operating point (P({classes[1]}) {costs.p_spoof:g}, C_fa/C_miss "
                       f"{costs.c_fa / costs.c_miss:g})")
    axes.set(xlabel=f"effective prior log odds of {classes[0]}", ylabel="normalised Bayes error rate",
             xlim=(-span, span), ylim=(0, min(2.0, max(1.15, 1.05 * highest))))
    legend_below(figure, axes, 2)
    return figure


def reliability_plot(versions: Mapping[str, Scores], classes: tuple[str, str] = CLASSES, bins: int = 15):
    """Stated against found probability of bona fide, at a prior of one half; bins of equal weight.

    Bars are 95 % Wilson intervals of the share found.
    """
    figure, axes = new_figure((6.0, 6.0))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="perfectly calibrated")
    for colour, (name, scores) in zip(_VERSIONS, versions.items()):
        stated, found, low, high = _reliability(*scores, bins)
        axes.errorbar(stated, found, yerr=(found - low, high - found), color=colour, marker="o", markersize=5,
                      linewidth=1.4, capsize=3, label=f"{name} scores as log-likelihood ratios".strip())
    axes.set(xlabel=f"stated probability of {classes[0]}",
             ylabel=f"share that is {classes[0]} (classes weighted equally)",
             xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(fontsize=8, loc="upper left", framealpha=0.95)
    return figure


def _reliability(bonafide: np.ndarray, spoof: np.ndarray, bins: int) -> list[np.ndarray]:
    """(stated probability, share found, lower and upper bound of it) of each bin."""
    scores, bonafide_below, spoof_below = distinct_counts(np.asarray(bonafide, float), np.asarray(spoof, float))
    rates = np.diff(bonafide_below, prepend=0) / len(bonafide), np.diff(spoof_below, prepend=0) / len(spoof)
    weight = np.cumsum(rates[0] + rates[1]) / 2
    bin_of = np.minimum((bins * (weight - 1e-12)).astype(int), bins - 1)
    stated, found, errors = [], [], []
    for number in np.unique(bin_of):
        inside = bin_of == number
        b, s = rates[0][inside].sum(), rates[1][inside].sum()
        posterior = np.exp(-np.logaddexp(0, -scores[inside]))
        stated.append(np.average(posterior, weights=rates[0][inside] + rates[1][inside]))
        found.append(b / (b + s))
        errors.append(_wilson(found[-1], b * len(bonafide) + s * len(spoof)))
    return [np.array(stated), np.array(found), *np.array(errors).T]


def _wilson(share: float, trials: float, z: float = 1.96) -> tuple[float, float]:
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def breakdown_bars(breakdown: Mapping, title: str, pooled: float, rate: str = MAIN,
                   intervals: Mapping[str, tuple[float, float]] | None = None):
    """A bar per value (attack) of `evaluate_detection(...)["breakdown"][title]`, highest first, and the pooled line."""
    metric, factor = METRICS[rate], METRICS[rate].factor
    values = {name: factor * result[rate] for name, result in breakdown["values"].items()}
    names = sorted(values, key=values.__getitem__, reverse=True)[:_BARS]
    figure, axes = new_figure((7.0, max(2.2, 0.26 * len(names) + 1.2)))
    axes.barh(names, [values[name] for name in names], color=BONAFIDE, height=0.7)
    top = max([values[name] for name in names] + [factor * pooled]) or 1.0
    for row, name in enumerate(names):
        end = values[name]
        if intervals and name in intervals:
            low, high = (factor * x for x in intervals[name])
            axes.plot([low, high], [row, row], color="black", linewidth=1.2)
            end, top = max(end, high), max(top, high)
        axes.text(end + 0.012 * top, row, f"{values[name]:.{metric.decimals}f}", va="center", fontsize=8, zorder=4,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.axvline(factor * pooled, color=SPOOF, linewidth=1.2, linestyle="--", zorder=3,
                 label=f"pooled {metric.number(pooled)}")
    left = f", the worst {_BARS} of {len(values)}" if len(values) > _BARS else ""
    axes.set(xlabel=metric.heading, ylabel=title + left, xlim=(0, 1.15 * top))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.legend(fontsize=8, loc="lower right", framealpha=0.95)
    return figure


def confusion_plot(counts: np.ndarray, classes: Sequence[str]):
    """The confusion matrix in per cent of each true class: the diagonal is what is right."""
    from matplotlib.colors import LinearSegmentedColormap

    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    side = max(3.6, 0.62 * len(classes) + 1.6)
    figure, axes = new_figure((side, side))
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ("white", BONAFIDE)), vmin=0, vmax=100)
    for row, column in np.ndindex(*counts.shape):
        axes.text(column, row, f"{shares[row, column]:.0f}" if totals[row] else "-", ha="center", va="center",
                  fontsize=9, color="white" if shares[row, column] > 55 else "black")
    places = np.arange(len(classes))
    long = max(map(len, classes)) > 5
    axes.set_xticks(places, classes, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(places, [f"{name} ({total})" for name, total in zip(classes, totals[:, 0])])
    axes.set(xlabel="predicted", ylabel="true (utterances)")
    axes.grid(False)
    return figure
