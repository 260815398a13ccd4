"""Figures of an experiment as PNG: what training did, which layers the back-end listens to."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

SIZE = (4.8, 3.5)  # inches; small, so that the letters stay legible when a phone shrinks the figure
_COLOURS = ("#1f5fa8", "#d1495b", "#2f8f5b", "#8a5fbf")
# name -> (caption, factor, {key in history.json: name in the legend})
_PANELS = {
    "loss": ("Loss", 1, {"train_loss": "training", "val_loss": "validation"}),
    "accuracy": ("Accuracy (%)", 100, {"train_accuracy": "training", "val_accuracy": "validation"}),
    "eer": ("Validation EER (%)", 100, {"val_eer": "EER"}),
    "costs": ("Validation costs", 1, {"val_min_dcf": "minDCF", "val_act_dcf": "actDCF", "val_cllr": "Cllr"}),
    "sparsity": ("Sparsity (%)", 100, {"target_sparsity": "target", "sparsity": "learnt", "cut_sparsity": "rounded"}),
}


def training_curves(rows: Sequence[Mapping], best: Mapping | None) -> list[tuple[str, str, bytes]]:
    """(name, caption, PNG) of each group of columns that the history has; the best epoch is marked."""
    made = []
    for panel, (caption, factor, names) in _PANELS.items():
        curves = {name: [(row["epoch"], factor * row[key]) for row in rows if row.get(key) is not None]
                  for key, name in names.items()}
        curves = {name: points for name, points in curves.items() if points}
        if not curves:
            continue
        figure, axes = _new("epoch", caption)
        for colour, (name, points) in zip(_COLOURS, curves.items()):
            axes.plot(*zip(*points), marker="o", markersize=3.5, color=colour, label=name)
        if best:
            axes.axvline(best["epoch"], color="#555", linestyle=":", linewidth=1.2,
                         label=f"best: epoch {best['epoch']}")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5)
        axes.legend()
        made.append((panel, caption, png(figure)))
    return made


def layer_weight_bars(weights: Mapping[str, np.ndarray]) -> bytes:
    """Bars over the front-end's layers, 0 being the transformer's input; each set of weights sums to one."""
    figure, axes = _new("layer (0: input of the transformer)", "share of the layer")
    width = 0.8 / len(weights)
    names = {"weights_k": "keys", "weights_v": "values", "weights": "sum"}
    for i, (name, shares) in enumerate(weights.items()):
        at = np.arange(len(shares)) + (i - (len(weights) - 1) / 2) * width
        axes.bar(at, shares, width, color=_COLOURS[i % len(_COLOURS)], label=names.get(name, name))
    axes.axhline(1 / len(shares), color="#555", linestyle=":", linewidth=1.2, label="all alike")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.legend()
    return png(figure)


def _new(x: str, y: str):
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure) -> bytes:
    """Drawn small and fine: shrunk to a phone's width the letters stay legible, enlarged the lines stay sharp."""
    width, height = figure.get_size_inches()
    moved = sum(axes.get_legend() is not None for axes in figure.axes)
    figure.set_size_inches(SIZE[0], height * SIZE[0] / width + 0.25 * moved)
    _legend_below(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200)
    return stream.getvalue()


def _legend_below(figure) -> None:
    """Move the legend under the axes, where it hides nothing, in as many columns as fit."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    entries = [(handle, text.get_text()) for legend in legends
               for handle, text in zip(legend.legend_handles, legend.get_texts())]
    for legend in legends:
        legend.remove()
    if entries:
        longest = max(len(label) for _, label in entries)
        columns = int(72 * figure.get_figwidth() / (4.6 * longest + 44))  # letters and handle, in points
        figure.legend(*zip(*entries), loc="outside lower center", ncols=min(max(columns, 1), len(entries)), fontsize=8,
                      frameon=False)
