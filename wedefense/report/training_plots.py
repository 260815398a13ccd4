"""Figures of an experiment as PNG: what training did, which layers the back-end listens to."""

from collections.abc import Mapping, Sequence

import numpy as np

from wedefense.experiment.curves import panels
from wedefense.report.style import GREY, SERIES, new_figure, png


def training_curves(rows: Sequence[Mapping], best: Mapping | None) -> list[tuple[str, str, bytes]]:
    """(name, caption, PNG) of each group of columns that the history has; the best epoch is marked."""
    curves_of_panels = []
    for panel, caption, curves in panels(rows):
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
