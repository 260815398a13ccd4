"""Figures of an experiment as PNG: what training did, which layers the back-end listens to."""

from collections.abc import Mapping, Sequence

import numpy as np

from wedefense.metrics.catalogue import DETECTION, MAIN, METRICS, MONITORS, history_key
from wedefense.report.style import GREY, SERIES, new_figure, png

# name -> (caption, factor, {key in a row of the history: name in the legend})
_PANELS = {
    "loss": ("Loss", 1, {"train_loss": "training", "val_loss": "validation"}),
    "accuracy": ("Accuracy (%)", 100, {"train_accuracy": "training", "val_accuracy": "validation"}),
    MAIN: (f"Validation {METRICS[MAIN].title} (%)", 100, {history_key(MAIN): METRICS[MAIN].title}),
    "costs": ("Validation costs", 1, {history_key(name): METRICS[name].title for name in MONITORS
                                      if METRICS[name].of == DETECTION and not METRICS[name].percent}),
    "sparsity": ("Sparsity (%)", 100, {"target_sparsity": "target", "sparsity": "learnt", "cut_sparsity": "rounded"}),
}


def training_curves(rows: Sequence[Mapping], best: Mapping | None) -> list[tuple[str, str, bytes]]:
    """(name, caption, PNG) of each group of columns that the history has; the best epoch is marked."""
    curves_of_panels = []
    for panel, (caption, factor, names) in _PANELS.items():
        curves = {name: [(row["epoch"], factor * row[key]) for row in rows if row.get(key) is not None]
                  for key, name in names.items()}
        curves = {name: points for name, points in curves.items() if points}
        if not curves:
            continue
        figure, axes = new_figure()
        axes.set(xlabel="epoch", ylabel=caption)
        for colour, (name, points) in zip(SERIES, curves.items()):
            axes.plot(*zip(*points), marker="o", markersize=3.5, color=colour, label=name)
        if best:
            axes.axvline(best["epoch"], color=GREY, linestyle=":", linewidth=1.2, label=f"best: epoch {best['epoch']}")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5)
        axes.legend()
        curves_of_panels.append((panel, caption, png(figure)))
    return curves_of_panels


def layer_weight_bars(weights: Mapping[str, np.ndarray]) -> bytes:
    """Bars over the front-end's layers, 0 being the transformer's input; each set of weights sums to one."""
    figure, axes = new_figure()
    axes.set(xlabel="layer (0: input of the transformer)", ylabel="share of the layer")
    width = 0.8 / len(weights)
    names = {"weights_k": "keys", "weights_v": "values", "weights": "sum"}
    for i, (name, shares) in enumerate(weights.items()):
        at = np.arange(len(shares)) + (i - (len(weights) - 1) / 2) * width
        axes.bar(at, shares, width, color=SERIES[i % len(SERIES)], label=names.get(name, name))
    axes.axhline(1 / len(shares), color=GREY, linestyle=":", linewidth=1.2, label="all alike")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend()
    return png(figure)
