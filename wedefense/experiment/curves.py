"""What a training history has to show, panel by panel, for figures and for terminals."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from wedefense.metrics.catalogue import DETECTION, MAIN, METRICS, MONITORS, history_key

# name -> (caption, factor, {key in a row of the history: name in the legend})
_PANELS = {
    "loss": ("Loss", 1, {"train_loss": "training", "val_loss": "validation"}),
    "accuracy": ("Accuracy (%)", 100, {"train_accuracy": "training", "val_accuracy": "validation"}),
    MAIN: (f"Validation {METRICS[MAIN].title} (%)", 100, {history_key(MAIN): METRICS[MAIN].title}),
    "costs": ("Validation costs", 1, {history_key(name): METRICS[name].title for name in MONITORS
                                      if METRICS[name].of == DETECTION and not METRICS[name].percent}),
    "sparsity": ("Sparsity (%)", 100, {"target_sparsity": "target", "sparsity": "learnt", "cut_sparsity": "rounded"}),
}
Points = list[tuple[int, float]]  # (epoch, value)


class Panel(NamedTuple):
    name: str
    caption: str
    curves: dict[str, Points]


def panels(rows: Sequence[Mapping]) -> list[Panel]:
    """Those of which the rows have something."""
    found = []
    for name, (caption, factor, keys) in _PANELS.items():
        curves = {title: [(row["epoch"], factor * row[key]) for row in rows
                          if row.get(key) is not None and math.isfinite(row[key])] for key, title in keys.items()}
        if curves := {title: points for title, points in curves.items() if points}:
            found.append(Panel(name, caption, curves))
    return found


def text_plot(panel: Panel, width: int = 78, height: int = 10) -> str:
    """The curves in letters, the first in front.

    >>> print(text_plot(Panel("loss", "Loss", {"training": [(1, 3.0), (2, 2.0), (3, 1.0)]}), 24, 3))
    Loss
         3 |*
           |      *
         1 |            *
            1 ... 3 epoch   * training
    """
    points = [point for curve in panel.curves.values() for point in curve]
    (first, last), (low, high) = ((min(axis), max(axis)) for axis in zip(*points))
    columns, span = width - 11, high - low or 1.0
    grid = [[" "] * columns for _ in range(height)]
    for mark, curve in reversed(list(zip("*o+x", panel.curves.values()))):
        for epoch, value in curve:
            across = round((epoch - first) / max(last - first, 1) * (columns - 1))
            grid[round((high - value) / span * (height - 1))][across] = mark
    names = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    lines = [f"{names.get(i, ''):>6} |{''.join(row)}".rstrip() for i, row in enumerate(grid)]
    legend = "  ".join(f"{mark} {name}" for mark, name in zip("*o+x", panel.curves))
    return "\n".join([panel.caption, *lines, f"{'':8}{first} ... {last} epoch   {legend}"])
