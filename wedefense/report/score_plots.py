"""Pictures of scores and error rates. Each function returns a matplotlib figure; nothing needs a display."""

from collections.abc import Mapping, Sequence

import numpy as np

from wedefense.metrics.catalogue import MAIN, METRICS
from wedefense.metrics.confidence import wilson
from wedefense.metrics.detection import CLASSES
from wedefense.report.calibration_plots import histogram_edges
from wedefense.report.style import BONAFIDE, INK, LETTERS, PAPER, SIZE, SMALL, SPOOF, described, new_figure

_BARS = 40
_ROW = 0.17  # inches


def score_histogram(bonafide: np.ndarray, spoof: np.ndarray, attacks: Sequence[str] | None = None,
                    thresholds: Mapping[str, float] | None = None, classes: tuple[str, str] = CLASSES):
    """Densities of the scores by class; with the attack of each spoof trial, a box for each attack below."""
    names = [] if attacks is None else sorted(set(attacks))[:_BARS]
    boxes = _ROW * (len(names) + 1)
    figure, panels = (new_figure((SIZE[0], 3.1 + boxes), 2, (1.7, boxes)) if names else new_figure())
    top = panels[0] if names else panels
    edges = histogram_edges(bonafide, spoof)
    for scores, colour, name in ((spoof, SPOOF, classes[1]), (bonafide, BONAFIDE, classes[0])):
        top.hist(np.clip(scores, edges[0], edges[-1]), edges, density=True, color=colour, alpha=0.5,
                 label=f"{name} ({len(scores)})")
    if names:
        labels = np.asarray(attacks)
        rows = [bonafide, *(spoof[labels == name] for name in names)]
        lows, left, middle, right, highs = np.array([np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95)) for x in rows]).T
        places = np.arange(len(rows))
        panels[1].hlines(places, lows, highs, color=INK, linewidth=1)
        panels[1].barh(places, right - left, left=left, height=0.62, color=[BONAFIDE] + [SPOOF] * len(names), alpha=0.7)
        panels[1].vlines(middle, places - 0.31, places + 0.31, color=INK, linewidth=1.4)
        panels[1].set_yticks(places, [classes[0], *names], fontsize=SMALL)
        panels[1].set_title("median, quartiles, 5 to 95 %", fontsize=LETTERS, loc="left")
        panels[1].invert_yaxis()
    for panel in panels if names else [top]:
        for (name, value), style in zip((thresholds or {}).items(), ("-", "--", ":")):
            panel.axvline(value, color=INK, linestyle=style, linewidth=1, label=f"{name} threshold {value:.3g}")
    top.set(ylabel="density", xlim=(edges[0], edges[-1]))
    (panels[1] if names else top).set_xlabel(f"score (higher: more {classes[0]})")
    top.legend()
    return described(figure, _histogram_alt(bonafide, spoof, None if attacks is None else np.asarray(attacks), names,
                                            thresholds or {}, classes))


def _histogram_alt(bonafide, spoof, labels, names: Sequence[str], thresholds: Mapping[str, float],
                   classes: tuple[str, str]) -> str:
    text = (f"Histogram of the scores: {len(bonafide)} {classes[0]} with median {np.median(bonafide):.2f}, "
            f"{len(spoof)} {classes[1]} with median {np.median(spoof):.2f}.")
    if thresholds:
        text += f" Thresholds: {', '.join(f'{name} {value:.3g}' for name, value in thresholds.items())}."
    if names:
        medians = {name: float(np.median(spoof[labels == name])) for name in names}
        nearest = max(medians, key=medians.__getitem__)
        text += (f" Below a box for each of {len(names)}; the nearest to {classes[0]} is {nearest} with median "
                 f"{medians[nearest]:.2f}.")
    return text

def breakdown_bars(breakdown: Mapping, title: str, pooled: float, rate: str = MAIN):
    """A bar per value (attack) of `evaluate_detection(...)["breakdown"][title]`, highest first, and the pooled line."""
    metric, factor = METRICS[rate], METRICS[rate].factor
    values, ends = _percents(breakdown, rate)
    names = sorted(values, key=values.__getitem__, reverse=True)[:_BARS]
    figure, axes = new_figure((SIZE[0], max(3.2, _ROW * 1.2 * len(names) + 1.3)))
    axes.barh(names, [values[name] for name in names], color=BONAFIDE, height=0.7, alpha=0.7)
    top = max([high for _, high in ends.values()] + [*values.values(), factor * pooled]) or 1.0
    for row, name in enumerate(names):
        low, high = ends.get(name, (values[name],) * 2)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.2)
        axes.text(high + 0.015 * top, row, f"{values[name]:.1f}", va="center", fontsize=SMALL, zorder=4,
                  bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})
    axes.axvline(factor * pooled, color=SPOOF, linewidth=1.2, linestyle="--", zorder=3,
                 label=f"pooled {factor * pooled:.1f}")
    left = f", the worst {_BARS} of {len(values)}" if len(values) > _BARS else ""
    axes.set(xlabel=metric.heading, ylabel=title + left, xlim=(0, 1.15 * top))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelsize=SMALL)
    axes.legend()
    return described(figure, f"{metric.heading} by {title}, highest first: {_listed(names[:6], values, ends)}"
                     f"{' ...' if len(names) > 6 else ''}; pooled {factor * pooled:.1f}.")


def parts_plot(breakdown: Mapping, title: str, pooled: float, rate: str = MAIN):
    """A point per value, in their order, such as of durations, with its interval."""
    metric, factor = METRICS[rate], METRICS[rate].factor
    values, ends = _percents(breakdown, rate)
    figure, axes = new_figure()
    places, names = np.arange(len(values)), list(values)
    axes.vlines(places, *np.array([ends.get(name, (values[name],) * 2) for name in names]).T, color=BONAFIDE,
                linewidth=1.6)
    axes.plot(places, list(values.values()), "o", color=BONAFIDE, markersize=6)
    axes.axhline(factor * pooled, color=SPOOF, linewidth=1.2, linestyle="--", label=f"pooled {factor * pooled:.1f}")
    axes.set_xticks(places, [name.replace(" to ", "\nto ") for name in names], fontsize=SMALL)
    axes.set(xlabel=title, ylabel=metric.heading, xlim=(-0.5, len(values) - 0.5))
    axes.set_ylim(bottom=0)
    axes.legend()
    return described(figure, f"{metric.heading} by {title}: {_listed(names, values, ends)}; pooled "
                     f"{factor * pooled:.1f}.")


def _percents(breakdown: Mapping, rate: str) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """(rate, interval where it is known) by value, as they are printed."""
    factor, found = METRICS[rate].factor, breakdown["values"]
    return ({name: factor * result[rate] for name, result in found.items()},
            {name: tuple(factor * end for end in result[f"{rate}_interval"]) for name, result in found.items()
             if f"{rate}_interval" in result})


def _listed(names: Sequence[str], values: Mapping[str, float], ends: Mapping[str, tuple[float, float]]) -> str:
    return ", ".join(f"{name} {values[name]:.1f}" + (" ({:.1f} to {:.1f})".format(*ends[name]) if name in ends else "")
                     for name in names)


def decile_plot(bonafide: np.ndarray, spoof: np.ndarray, threshold: float, classes: tuple[str, str] = CLASSES):
    """Of each tenth of the trials, by score: the share that a threshold decides wrongly, with its interval."""
    scores = np.concatenate((bonafide, spoof))
    is_bonafide = np.arange(scores.size) < bonafide.size
    order = np.argsort(scores, kind="stable")
    figure, axes = new_figure()
    shares = []
    for tenth, rows in enumerate(np.array_split(order, min(10, scores.size))):
        missed = int(np.sum(is_bonafide[rows] & (scores[rows] <= threshold)))
        accepted = int(np.sum(~is_bonafide[rows] & (scores[rows] > threshold)))
        parts = 100 * np.array([missed, accepted]) / len(rows)
        shares.append(float(parts.sum()))
        axes.bar(tenth + 1, parts[0], 0.8, color=BONAFIDE, label=f"{classes[0]} rejected" if not tenth else None)
        axes.bar(tenth + 1, parts[1], 0.8, parts[0], color=SPOOF,
                 label=f"{classes[1]} accepted" if not tenth else None)
        low, high = (100 * end for end in wilson(np.array(shares[-1] / 100), len(rows)))
        axes.vlines(tenth + 1, low, high, color=INK, linewidth=1.2)
    crossed = float(np.mean(scores <= threshold)) * len(shares) + 0.5
    axes.axvline(crossed, color=INK, linewidth=1, linestyle=":", label=f"threshold {threshold:.3g}")
    axes.set_xticks(range(1, len(shares) + 1))
    axes.set(xlabel=f"tenth of the trials by score (10: most {classes[0]})",
             ylabel="decided wrongly (%)", xlim=(0.4, len(shares) + 0.6))
    axes.legend()
    return described(figure, f"Errors at the threshold {threshold:.3g} by tenths of the {scores.size} trials, lowest "
                     f"scores first, in per cent: {', '.join(f'{share:.0f}' for share in shares)}.")


def confusion_plot(counts: np.ndarray, classes: Sequence[str]):
    """The confusion matrix in per cent of each true class: the diagonal is what is right."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    figure, axes = new_figure((SIZE[0], 4.4))
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
    for row, column in np.ndindex(*counts.shape):
        axes.bar(column, 1, 1, row - 0.5, color=BONAFIDE, alpha=shares[row, column] / 100)
        axes.text(column, row, f"{shares[row, column]:.0f}" if totals[row] else "-", ha="center", va="center",
                  fontsize=LETTERS, color=PAPER if shares[row, column] > 55 else INK)
    places = np.arange(len(classes))
    long = max(map(len, classes)) > 5
    axes.set_xticks(places, classes, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(places, [f"{name} ({total})" for name, total in zip(classes, totals[:, 0])])
    axes.set(xlabel="predicted", ylabel="true (utterances)")
    axes.grid(False)
    right = ", ".join(f"{name} {shares[i, i]:.0f} %" for i, name in enumerate(classes) if totals[i])
    return described(figure, f"Confusion matrix in per cent of each true class; right are: {right}.")
