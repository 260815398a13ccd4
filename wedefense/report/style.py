"""How every figure looks: colours on light and on dark paper, size, letters, grid, legend."""

from collections.abc import Sequence
from textwrap import fill

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
# Points that a letter of a legend takes, one of a text of wide ones, and what stands before a line.
_LETTER, _WIDE_LETTER, _HANDLE = 0.52 * LETTERS, 0.6 * LETTERS, 40
_FEW_LINES = 5     # of a legend, for which figures have room


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
    """Move every legend under the axes, where it hides nothing, in as many columns as fit; what is longer than a line
    goes on in the next, and where it takes many the figure grows."""
    width = int((72 * figure.get_figwidth() - _HANDLE) / _WIDE_LETTER)
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    entries = [(handle, fill(text.get_text(), width)) for legend in legends
               for handle, text in zip(legend.legend_handles, legend.get_texts())]
    for legend in legends:
        legend.remove()
    if entries:
        lines = [label.splitlines() for _, label in entries]
        longest = max(len(line) for label in lines for line in label)
        columns = min(max(int(72 * figure.get_figwidth() / (_LETTER * longest + _HANDLE)), 1), len(entries))
        more = -(-sum(map(len, lines)) // columns) - _FEW_LINES
        figure.set_figheight(figure.get_figheight() + max(more, 0) * 1.7 * LETTERS / 72)
        figure.legend(*zip(*entries), loc="outside lower center", ncols=columns, fontsize=LETTERS, frameon=False,
                      columnspacing=1.2)
