"""Figures as files and in pages."""

import re
from pathlib import Path

import matplotlib
import pytest
from fontTools.ttLib import TTCollection, TTFont
from matplotlib.font_manager import findfont, get_font

from wedefense.experiment.folder import ExperimentFolder
from wedefense.report import lean_fonts, render, style
from wedefense.report.html import Figure
from wedefense.utils.errors import OptionError


def a_figure(label="two points <joined>"):
    figure, axes = style.new_figure()
    axes.plot([0, 1], [0.123456, 1], color=style.SPOOF, label="line")
    axes.fill([0, 1, 1], [0, 0, 1], color="#123456")
    axes.text(0.5, 0.5, "3.14159 & more", color=style.INK)
    axes.legend()
    return style.described(figure, label)


def test_a_page_has_the_palette_and_other_colours_as_they_are():
    found = render.inline_svg(render.svg(a_figure()), "a b", "two points <joined>")
    assert f"var(--c{style.SPOOF[1:]})" in found and style.SPOOF not in found and "#123456" in found
    assert "aria-label='two points &lt;joined&gt;'" in found and "3.14159 &amp; more" in found
    assert "font-family" not in found and "<metadata" not in found and "<style" not in found
    assert not re.search(r"\d\.\d{3,}[\" L]", found.replace("3.14159", ""))
    css = render.colour_variables()
    for colour, dark in style.ON_DARK.items():
        assert f"--c{colour[1:]}:{colour};" in css and f"--c{colour[1:]}:{dark};" in css


def test_names_in_two_figures_are_not_the_same():
    one, two = (render.inline_svg(render.svg(a_figure()), name, "x") for name in ("one", "two"))
    names = [set(re.findall(r" id=\"([^\"]+)\"", text)) for text in (one, two)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) <= names[0]


def test_files_are_written_and_the_same_again(tmp_path):
    folder = ExperimentFolder(tmp_path)
    kept = []
    for _ in range(2):
        Figure("x", "caption", a_figure()).save(folder)
        kept.append({path.name: path.read_bytes() for path in folder.figures.iterdir()})
    assert kept[0] == kept[1] and set(kept[0]) == {"x.svg", "x.pdf", "x.png"}
    assert b"3.14159 &amp; more" in kept[0]["x.svg"] and style.SPOOF.encode() in kept[0]["x.svg"]
    assert kept[0]["x.pdf"].startswith(b"%PDF") and b"DejaVuSans" in kept[0]["x.pdf"]


@pytest.mark.parametrize("fonts, name", [("latex", b"Cmr10"), ("times", b"STIXGeneral")])
def test_letters_of_papers(fonts, name, tmp_path, caplog):
    with render.letters(fonts):
        Figure("x", "caption", a_figure()).save(ExperimentFolder(tmp_path))
    written = ExperimentFolder(tmp_path).figure("x", "pdf").read_bytes().lower()
    assert name.lower() in written or any(family.replace(" ", "").lower().encode() in written
                                          for family in render.FONTS[fonts])
    assert b"/fontfile2" in written and b"dejavusans" not in written  # TrueType, and no other letters
    assert not caplog.records
    usual = render.pdf(a_figure())   # the next is as always
    assert b"DejaVuSans" in usual and b"/FontFile2" in usual and b"/Type3" not in usual
    with pytest.raises(OptionError, match="one of sans, latex, times, got 'comic'"), render.letters("comic"):
        pass


def test_the_usual_font_may_lie_in_a_collection(tmp_path, monkeypatch):
    collection = TTCollection()
    collection.fonts = [TTFont(findfont("DejaVu Sans"))]
    collection.save(tmp_path / "fonts.ttc")
    monkeypatch.setattr("matplotlib.font_manager.findfont", lambda properties: str(tmp_path / "fonts.ttc"))
    monkeypatch.setattr("matplotlib.get_cachedir", lambda: str(tmp_path))
    made = lean_fonts.lean.__wrapped__()
    assert made.endswith("-fonts.ttf") and get_font(made).family_name == "DejaVu Sans"


@pytest.mark.parametrize("drawn", [render.svg, render.png, render.pdf])
def test_what_a_table_names_is_no_program_of_tex(drawn, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)  # as a matplotlibrc may have it
    monkeypatch.setattr("matplotlib.texmanager.TexManager._run_checked_subprocess", None)
    figure = a_figure()
    figure.axes[0].set(xlabel=r"\input{/etc/passwd}", xticks=[0, 1], xticklabels=["50 %", "a_b"])
    figure.legend()
    assert drawn(figure)


def test_a_text_of_other_letters_keeps_its_font():
    figure = a_figure()
    figure.axes[0].set(xlabel="EER \u2212 5 %", ylabel="\u0416")
    assert b"/Type3" not in render.pdf(figure)
    fonts = [axis.label.get_fontproperties().get_file() for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis)]
    assert fonts == [lean_fonts.lean(), None]
    assert Path(fonts[0]).stat().st_size < Path(findfont("DejaVu Sans")).stat().st_size / 5
