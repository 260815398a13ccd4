"""Pictures of an experiment: what training did, which layers the back-end listens to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wedefense.experiment.curves import panels
from wedefense.report.style import GREY, INK, MARKERS, SERIES, described, new_figure


def training_curves(rows: Sequence[Mapping], best: Mapping | None) -> list[tuple[str, str, Any]]:
    """(name, caption, matplotlib figure) of each group of columns that the history has; the best epoch is marked."""
    curves_of_panels = []
    for panel, caption, curves in panels(rows):
        figure, axes = new_figure()
        axes.set(xlabel="epoch", ylabel=caption)
        for colour, marker, (name, points) in zip(SERIES, MARKERS, curves.items()):
            axes.plot(*zip(*points), marker=marker, markersize=3.5, color=colour, label=name)
        if best:
            axes.axvline(best["epoch"], color=GREY, linestyle=":", linewidth=1.2, label=f"best: epoch {best['epoch']}")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5)
        axes.legend()
        said = "; ".join(f"{name} from {points[0][1]:.4g} in epoch {points[0][0]} to {points[-1][1]:.4g} in epoch "
                         f"{points[-1][0]}" for name, points in curves.items())
        curves_of_panels.append((panel, caption, described(figure, f"{caption} over epochs: {said}.")))
    return curves_of_panels


def layer_weight_bars(weights: Mapping[str, np.ndarray]):
    """By how much more or less than an even share is taken of each layer of the front-end, 0 being the transformer's
    input."""
    figure, axes = new_figure()
    axes.set(xlabel="layer (0: input of the transformer)", ylabel="more or less than an even share (%)")
    width, said = 0.8 / len(weights), []
    names = {"weights_k": "keys", "weights_v": "values", "weights": "sum"}
    for i, (name, shares) in enumerate(weights.items()):
        more = 100 * (np.asarray(shares, float) * len(shares) - 1)
        at = np.arange(len(shares)) + (i - (len(weights) - 1) / 2) * width
        axes.bar(at, more, width, color=SERIES[i % len(SERIES)], label=names.get(name, name))
        said.append(f"{names.get(name, name)}: most of layer {int(more.argmax())} ({more.max():+.1f} %), least of "
                    f"layer {int(more.argmin())} ({more.min():+.1f} %)")
    axes.axhline(0, color=INK, linewidth=1, label=f"even: {100 / len(shares):.3g} % each")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend()
    return described(figure, f"Share of each layer against an even one. {'; '.join(said)}.")
