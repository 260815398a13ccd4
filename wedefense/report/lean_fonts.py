"""Fonts of few letters. To embed TrueType, matplotlib cuts each figure's font out of the whole one, with six thousand
glyphs and their layout rules; out of one with a few hundred it takes a tenth of the time, and looks the same."""

from functools import cache
from pathlib import Path

from wedefense.utils.files import atomic_write

# Latin, Greek, dashes and quotes, arrows, mathematics
_LETTERS = frozenset(map(chr, (*range(0x20, 0x250), *range(0x370, 0x400), *range(0x2010, 0x2050),
                               *range(0x2190, 0x2300))))


def lighten(figure) -> None:
    """Where the letters of a text are among the few, it takes them from there; any other keeps its font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if text.get_text() and _LETTERS.issuperset(text.get_text()):
            font = lean(text.get_fontstyle(), text.get_fontweight())
            text.set_fontproperties(FontProperties(fname=font, size=text.get_fontsize()))


@cache
def lean(style: str = "normal", weight: str | int = "normal") -> str:
    """Path of the usual font with few letters, which is made once."""
    import matplotlib
    from fontTools import subset
    from matplotlib.font_manager import FontProperties, findfont

    font = Path(findfont(FontProperties(style=style, weight=weight)))
    name = f"{font.stem}{'.ttf' if font.suffix == '.ttc' else font.suffix}"  # of a collection the first, as elsewhere
    path = Path(matplotlib.get_cachedir()) / f"wedefense-{matplotlib.__version__}-{len(_LETTERS)}-{name}"
    if not path.is_file():
        options = subset.Options(layout_features=[], hinting=False, font_number=0)
        options.drop_tables = [*(set(options.drop_tables) - {"kern"}), "FFTM"]
        whole, cut = subset.load_font(str(font), options), subset.Subsetter(options)
        cut.populate(unicodes=map(ord, _LETTERS))
        cut.subset(whole)
        with atomic_write(path) as stream:
            whole.save(stream)
    return str(path)
