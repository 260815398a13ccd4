"""A self-contained HTML page: sections of tables, figures and text, legible on a phone, a screen and paper."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib.resources import files as resources
from typing import Any

from wedefense.experiment.folder import ExperimentFolder
from wedefense.report import render
from wedefense.utils.files import atomic_write

_SORTED_FROM = 3  # rows


@dataclass(frozen=True)
class Markup:
    """A cell that is HTML already."""

    text: str


@dataclass(frozen=True)
class Row:
    """One line of a table; a cell's second line is set small. `kind` 'rule' draws a line above, and what stands there
    and below takes no part in sorting."""

    cells: Sequence[str | Markup]
    kind: str = ""


@dataclass(frozen=True)
class Figure:
    name: str
    caption: str
    drawn: Any  # of matplotlib; its label says what is to be seen

    @cached_property
    def svg(self) -> bytes:
        return render.svg(self.drawn)

    @cached_property
    def inline(self) -> str:
        return render.inline_svg(self.svg, self.name, self.drawn.get_label() or self.caption)

    def save(self, folder: ExperimentFolder) -> None:
        """For slides (PNG), pages (SVG) and papers (PDF; the last, as it may change the letters)."""
        for form, content in (("svg", self.svg), ("png", render.png(self.drawn)), ("pdf", render.pdf(self.drawn))):
            with atomic_write(folder.figure(self.name, form)) as stream:
                stream.write(content)


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{_kind(kind)}>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Row], kind: str = "") -> str:
    """Numbers to the right (with kind 'text' all to the left); wide tables scroll inside the page."""
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in header)
    first_rule = next((i for i, row in enumerate(rows) if row.kind == "rule"), len(rows))
    bodies = "\n".join(f"<tbody>\n{_lines(part)}\n</tbody>" for part in (rows[:first_rule], rows[first_rule:]) if part)
    if first_rule >= _SORTED_FROM and any(header):
        kind = f"{kind} sorted".strip()
    return f"<div class='wide'><table{_kind(kind)}><thead><tr>{head}</tr></thead>\n{bodies}</table></div>"


def _lines(rows: Sequence[Row]) -> str:
    return "\n".join("<tr>" + "".join(map(_cell, row.cells)) + "</tr>" for row in rows)


def _cell(content: str | Markup) -> str:
    if isinstance(content, Markup):
        return f"<td>{content.text}</td>"
    first, _, second = content.partition("\n")
    return f"<td>{escape(first)}<small>{escape(second)}</small></td>" if second else f"<td>{escape(first)}</td>"


def figures(items: Sequence[Figure]) -> str:
    """Side by side as far as the page is wide."""
    return "<div class='figures'>\n" + "\n".join(
        f"<figure>{item.inline}<figcaption>{escape(item.caption)}</figcaption></figure>" for item in items) + "\n</div>"


def side_by_side(*content: str) -> str:
    """Next to each other where the page is wide enough, else below."""
    return "<div class='side-by-side'>\n" + "\n".join(f"<div>\n{part}\n</div>" for part in content) + "\n</div>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def folded(title: str, content: str, shown: bool = False) -> str:
    """Behind its title until it is clicked; printed only where it lies open."""
    return f"<details{' open' if shown else ''}><summary>{escape(title)}</summary>\n{content}\n</details>"


def section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(content) + "\n</section>"


def page(title: str, *content: str) -> str:
    """With a list of its sections, which it needs no script for; the script sorts tables."""
    text, contents = _numbered("\n".join(content))
    listed = "".join(f"<li><a href='#{name}'>{heading}</a></li>" for name, heading in contents.items())
    around = resources("wedefense.report")
    style, script = ((around / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return ("<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
            f"<title>{escape(title)}</title>\n<style>\n{render.colour_variables()}{style}</style>\n</head>\n<body>\n"
            f"<h1>{escape(title)}</h1>\n<div class='page'>\n<nav aria-label='Contents'><ul>{listed}</ul></nav>\n"
            f"<main>\n{text}\n</main>\n</div>\n<script>\n{script}</script>\n</body>\n</html>\n")


def _numbered(text: str) -> tuple[str, dict[str, str]]:
    """The page with an address for each section, and the headings by address."""
    contents: dict[str, str] = {}

    def named(found: re.Match) -> str:
        name = stem = re.sub(r"[^\w-]+", "-", found[1].lower()).strip("-") or "section"
        while name in contents:
            name = f"{stem}-{len(contents)}"
        contents[name] = found[1]
        return f"<section id='{name}'>\n<h2>{found[1]}</h2>"

    return re.sub(r"<section>\n<h2>(.*?)</h2>", named, text), contents


def _kind(kind: str) -> str:
    return f" class='{kind}'" if kind else ""
