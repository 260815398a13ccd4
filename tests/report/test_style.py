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


def test_a_long_legend_goes_on_below_and_leaves_the_axes_their_size():
    def laid(names):
        figure, axes = style.new_figure()
        for name in names:
            axes.plot([0, 1], label=f"{name}: EER 12.00 %, minDCF 0.3064, actDCF 0.3191")
        axes.legend()
        laid_below(figure)
        figure.draw_without_rendering()
        return figure, axes.get_window_extent().height, figure.legends[0].get_window_extent()

    _, usual, _ = laid(["mhfa"])
    for names in ([f"wavlm_large_finetuned_augmented-{i}.txt" for i in range(8)], ["x" * 200], list("abcdefgh")):
        figure, height, legend = laid(names)
        assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1 and legend.y0 >= 0
        assert height > 0.75 * usual


def test_the_hottest_cell_of_a_table_is_read_on_either_paper():
    css = Path(wedefense.report.__file__).with_name("page.css").read_text(encoding="utf-8")
    share = float(re.search(r"--share, 0\) \* ([\d.]+)", css)[1])

    def light(levels):
        shares = (level / 255 for level in levels)
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def colours(name):
        """On light paper, then on dark."""
        for text in re.findall(rf"--{name}: (#?[\w ]+);?", css):
            digits = text[1:] * (2 if len(text) == 4 else 1)
            yield ([int(digits[i:i + 2], 16) for i in (0, 2, 4)] if text.startswith("#") else
                   [int(level) for level in text.split()])

    found = list(zip(*map(colours, ("ink", "paper", "heat"))))
    assert len(found) == 2
    for ink, paper, heat in found:
        hottest = [share * red + (1 - share) * ground for red, ground in zip(heat, paper)]
        darker, lighter = sorted((light(ink), light(hottest)))
        assert (lighter + 0.05) / (darker + 0.05) > 4.5  # what WCAG asks of small letters
