"""How every figure looks: colours on light and on dark paper, size, letters, grid, legend."""

from collections.abc import Sequence

# Blue, red and bluish green, and two more, are told apart by those who do not see red or green; the others by MARKERS.
BONAFIDE, SPOOF, CALIBRATED = "#1f6fb4", "#d1442c", "#0b8a74"
SERIES = (BONAFIDE, SPOOF, CALIBRATED, "#b8860b", "#4b1f7a", "#17929c", "#c2508f", "#555555")  # of one kind, in order
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # beside them
GREY = "#666666"   # what is there to compare with
FAINT = "#bbbbbb"  # what only guides the eye
PALE = "#e3e7ec"   # the grid, and what is gone
INK, PAPER = "#000000", "#ffffff"
ON_DARK = dict(zip((*SERIES, GREY, FAINT, PALE, INK, PAPER), (
    "#6fb1ec", "#ff8670", "#4fd0b5", "#e0b94a", "#e6d3ff", "#3fb0bc", "#f08dc0", "#8b929b", "#a3a9b2", "#6b7480",
    "#343c46", "#dfe4ea", "#14181d")))
SIZE = (4.8, 3.9)  # inches; small, so that the letters stay legible when a phone shrinks the figure
LETTERS = 9        # points: ticks and legends, the smallest but for crowded labels
SMALL = 8          # of many rows


def new_figure(size: tuple[float, float] = SIZE, rows: int = 1, heights: Sequence[float] | None = None,
               shared: bool = True):
    """(figure, axes, one above the other if several), with a light grid, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, sharex=shared, squeeze=False, height_ratios=heights)[:, 0]
    for axes in panels:
        axes.grid(True, color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=LETTERS)
    return figure, panels[0] if rows == 1 else panels


def described(figure, text: str):
    """The figure, labelled with what is to be seen in it, for those who do not see it."""
    figure.set_label(text)
    return figure


def laid_below(figure) -> None:
    """Move every legend under the axes, where it hides nothing, in as many columns as fit."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    entries = [(handle, text.get_text()) for legend in legends
               for handle, text in zip(legend.legend_handles, legend.get_texts())]
    for legend in legends:
        legend.remove()
    if entries:
        longest = max(len(label) for _, label in entries)
        columns = int(72 * figure.get_figwidth() / (0.52 * LETTERS * longest + 40))  # letters and handle, in points
        figure.legend(*zip(*entries), loc="outside lower center", ncols=min(max(columns, 1), len(entries)),
                      fontsize=LETTERS, frameon=False, columnspacing=1.2)
