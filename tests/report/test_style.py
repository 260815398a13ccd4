"""One palette: no other file of the report names a colour of its own."""

import re
from pathlib import Path

import wedefense.report
from wedefense.report import style
from wedefense.report.style import laid_below

FILES = sorted(Path(wedefense.report.__file__).parent.glob("*.py"))


def test_colours_of_figures_stand_in_one_file():
    colour = re.compile(r"[\"']#[0-9a-fA-F]{3,6}[\"']")  # the style sheet of the page is html.py's own
    assert [path.name for path in FILES if colour.search(path.read_text(encoding="utf-8"))] == ["style.py"]
    drawing = re.compile(r"\b(Figure\(figsize|savefig)\b")
    found = [path.name for path in FILES if drawing.search(path.read_text(encoding="utf-8"))]
    assert found == ["pruning_plot.py", "render.py", "style.py"]


def test_every_colour_has_its_twin_on_dark_paper():
    colours = {*style.SERIES, style.GREY, style.FAINT, style.PALE, style.INK, style.PAPER}
    assert set(style.ON_DARK) == colours and len(set(style.ON_DARK.values())) == len(colours)

    def light(colour):
        return sum(weight * int(colour[i:i + 2], 16) for weight, i in zip((0.3, 0.6, 0.1), (1, 3, 5)))

    for colour in (*style.SERIES, style.GREY, style.INK):  # what must be seen stands out on either paper
        assert light(colour) < 150 and light(style.ON_DARK[colour]) > 140


def test_a_series_has_no_colour_twice():
    assert len(set(style.SERIES)) == len(style.SERIES) == 8


def test_legends_of_a_picture_end_below_the_axes_and_hide_nothing():
    figure, panels = style.new_figure(rows=2)
    for axes, name in zip(panels, ("one", "two")):
        axes.plot([0, 1], color=style.BONAFIDE, label=name)
        axes.legend()
    laid_below(figure)
    figure.draw_without_rendering()
    assert [axes.get_legend() for axes in panels] == [None, None]
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == ["one", "two"]
    legend = figure.legends[0].get_window_extent()
    assert legend.y1 <= min(axes.get_window_extent().y0 for axes in panels)
