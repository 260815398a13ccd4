"""A drawn figure as files, and as a part of a page that is read on light and on dark paper."""

import io
import logging
import os
import re
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from pathlib import Path
from typing import Any

from wedefense.report.lean_fonts import lighten
from wedefense.report.style import ON_DARK, laid_below
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.files import atomic_write
from wedefense.utils.visible import visible

FONTS: Mapping[str, tuple[str, ...]] = {  # of each the first that is installed; matplotlib brings the last
    "sans": (),
    "latex": ("Latin Modern Roman", "CMU Serif", "cmr10"),
    "times": ("Times New Roman", "TeX Gyre Termes", "STIXGeneral"),
}
_letters: ContextVar[str] = ContextVar("letters", default="sans")
_DOTS, _PACKED = 200, 3  # of the PNG, an inch; a higher level takes three times as long for a tenth less
# A $ in the name of an attack or a file is a $, also where somebody's matplotlibrc has TeX set all text.
_AS_WRITTEN = {"text.parse_math": False, "text.usetex": False}
_SAVING = {"svg.fonttype": "none", "svg.hashsalt": "wedefense", **_AS_WRITTEN}
_TRUETYPE = {"pdf.fonttype": 42}  # what publishers ask for


def svg(figure) -> bytes:
    return _saved(figure, "svg")


def png(figure) -> bytes:
    """Drawn small and fine: shrunk to a phone's width the letters stay legible, enlarged the lines stay sharp."""
    return _saved(figure, "png")


@contextmanager
def letters(fonts: str):
    """Of the PDFs made inside: one of FONTS."""
    if fonts not in FONTS:
        raise OptionError("fonts", f"must be one of {', '.join(FONTS)}, got '{fonts}'")
    before = _letters.set(fonts)
    try:
        yield
    finally:
        _letters.reset(before)


def pdf(figure) -> bytes:
    """With the letters that are asked for, which the figure then keeps, embedded as TrueType."""
    import matplotlib

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the dates of matplotlib's own fonts
    finished(figure)
    if families := FONTS[_letters.get()]:
        _set_fonts(figure, families)
    else:
        lighten(figure)
    with matplotlib.rc_context(_TRUETYPE):
        return _saved(figure, "pdf")


def kept(figure, path: str | os.PathLike | None) -> Any:
    """Written to a PNG, SVG or PDF file, whose path is returned; without one the figure itself."""
    if path is None:
        return figure
    drawing = {".png": png, ".svg": svg, ".pdf": pdf}
    if (form := Path(path).suffix.lower()) not in drawing:
        raise InputError(f"{path}: a picture's name ends in {', '.join(drawing)}")
    with atomic_write(path) as stream:
        stream.write(drawing[form](figure))
    return Path(path)


def finished(figure) -> None:
    """Lay the legends below the axes, and settle where everything stands."""
    import matplotlib
    from matplotlib.text import Text

    if figure.get_layout_engine() is not None:
        with matplotlib.rc_context(_AS_WRITTEN):
            laid_below(figure)
            for text in figure.findobj(Text):
                text.set(text=visible(text.get_text(), but="\n"), parse_math=False, usetex=False)
            figure.get_layout_engine().execute(figure)
        figure.set_layout_engine(None)  # a second time it would lay out what is settled


def _saved(figure, form: str) -> bytes:
    """By the form's own canvas: `savefig` would draw everything twice."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    finished(figure)
    stream: Any = io.StringIO() if form == "svg" else io.BytesIO()
    with matplotlib.rc_context(_SAVING):
        figure.set_dpi(_DOTS if form == "png" else 72)
        if form == "svg":
            FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
        elif form == "pdf":
            FigureCanvasPdf(figure).print_pdf(stream, metadata={"CreationDate": None})
        else:
            FigureCanvasAgg(figure).print_png(stream, pil_kwargs={"compress_level": _PACKED})
    return stream.getvalue().encode() if form == "svg" else stream.getvalue()


def _set_fonts(figure, families: tuple[str, ...]) -> None:
    """Other letters for all text; for a sign that they lack, the usual ones."""
    from matplotlib.font_manager import get_font_names
    from matplotlib.text import Text

    known = set(get_font_names())
    chosen = next(family for family in families if family in known)
    for text in figure.findobj(Text):
        text.set_fontfamily([chosen, "DejaVu Serif"])


def colour_variables() -> str:
    """The palette as variables of a style sheet, on light and, where the reader's screen is dark, on dark paper."""
    dark = palette(dark=True)
    return f":root{{{palette(dark=False)}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


def palette(dark: bool) -> str:
    """The same as they stand between two braces, of one kind of paper."""
    return "".join(f"{_variable(colour)}:{other if dark else colour};" for colour, other in ON_DARK.items())


def inline_svg(svg: bytes, name: str, description: str) -> str:
    """A figure's SVG to stand in a page: no name of it is that of another's, and its colours are the page's."""
    text = svg.decode()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    view = re.search(r"viewBox=\"[^\"]*\"", text)
    content = text[text.index(">") + 1:]
    content = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag[0], name), content)
    used = set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", content))
    content = re.sub(r" id=\"([^\"]*)\"", lambda own: own[0] if own[1] in used else "", content)
    content = re.sub(r">\s+<", "><", content)
    return f"<svg {view[0] if view else ''} role='img' aria-label='{escape(description, quote=True)}'>{content.strip()}"


def _page_tag(tag: str, name: str) -> str:
    """Names told apart by the figure's, colours as variables, the page's letters, two decimals."""
    tag = re.sub(r"( id=\"|href=\"#|url\(#)", rf"\g<1>{_slug(name)}-", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _shown(colour[0]), tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", tag)
    return re.sub(r"\s+", " ", re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag))


def _slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name)


def _variable(colour: str) -> str:
    return f"--c{colour[1:]}"


def _shown(colour: str) -> str:
    return f"var({_variable(colour)})" if colour in ON_DARK else colour

