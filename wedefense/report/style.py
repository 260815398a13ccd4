"""How every figure looks: colours, size, grid, legend, and the PNG that is made of it."""

import io
from collections.abc import Sequence

BONAFIDE, SPOOF, CALIBRATED = "#1f6fb4", "#d1442c", "#2c8c4f"  # blue, red, green
SERIES = (BONAFIDE, SPOOF, CALIBRATED, "#8a52b8", "#b8860b", "#17929c", "#c2508f", "#555555")  # of one kind, in order
GREY = "#666666"   # what is there to compare with
FAINT = "#bbbbbb"  # what only guides the eye
PALE = "#e3e7ec"   # the grid, and what is gone
SIZE = (4.8, 3.5)  # inches; small, so that the letters stay legible when a phone shrinks the figure


def new_figure(size: tuple[float, float] = SIZE, rows: int = 1, heights: Sequence[float] | None = None):
    """(figure, axes, one above the other if several), with a light grid, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes in panels:
        axes.grid(True, color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[0] if rows == 1 else panels


def legend_below(figure, axes, columns: int) -> None:
    """Under the picture, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def png(figure) -> bytes:
    """Drawn small and fine: shrunk to a phone's width the letters stay legible, enlarged the lines stay sharp."""
    width, height = figure.get_size_inches()
    moved = sum(axes.get_legend() is not None for axes in figure.axes)
    figure.set_size_inches(SIZE[0], height * SIZE[0] / width + 0.25 * moved)
    _laid_below(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200)
    return stream.getvalue()


def _laid_below(figure) -> None:
    """Move every legend under the axes, in as many columns as fit."""
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
