"""A self-contained HTML page: sections of tables, figures and text, legible on a phone, a screen and paper."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem clamp(0.8rem, 3vw, 2.5rem) 3rem; max-width: 84rem; background: #fff;
  color: #1c2430; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-bottom: 0.25rem; border-bottom: 1px solid #d5dbe3; }
p { max-width: 48rem; margin: 0.4rem 0; }
.note { color: #54606f; font-size: 0.92rem; }
.doubt { background: #fff4dc; border-left: 4px solid #c98a00; padding: 0.5rem 0.8rem; max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.93rem; }
th, td { padding: 0.28rem 0.7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e7ebf0; }
th:first-child, td:first-child { text-align: left; padding-left: 0.2rem; }
thead th { border-bottom: 2px solid #9aa6b4; font-weight: 600; }
td small { display: block; color: #54606f; font-size: 0.8em; line-height: 1.25; }
table.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.text td:first-child { white-space: nowrap; vertical-align: top; }
tr.rule td { border-top: 1px solid #9aa6b4; }
.figures { columns: 3 23rem; column-gap: 1.2rem; }
.side-by-side { display: grid; gap: 1.2rem 2.5rem; }
.side-by-side > * { min-width: 0; }
@media (min-width: 64rem) { .side-by-side { grid-template-columns: 3fr 2fr; } }
figure { margin: 0 0 1.2rem; max-width: 34rem; break-inside: avoid; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #54606f; font-size: 0.9rem; }
summary { cursor: pointer; font-weight: 600; margin: 0.6rem 0; }
pre { background: #f5f7f9; padding: 0.8rem; overflow: auto; max-height: 30rem; font-size: 0.84rem; line-height: 1.4; }
@media (max-width: 40rem) { th, td { padding: 0.25rem 0.3rem; font-size: 0.8rem; }
  td:first-child { white-space: normal; }
  td small { white-space: normal; font-size: 0.85em; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } pre { max-height: none; white-space: pre-wrap; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } .wide { overflow: visible; } }
"""


@dataclass(frozen=True)
class Row:
    """One line of a table; a cell's second line is set small. `kind` 'rule' draws a line above."""

    cells: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Figure:
    name: str
    caption: str
    png: bytes


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{_kind(kind)}>{escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Row], kind: str = "") -> str:
    """Numbers to the right (with kind 'text' all to the left); wide tables scroll inside the page."""
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in header)
    body = "\n".join(f"<tr{_kind(row.kind)}>" + "".join(map(_cell, row.cells)) + "</tr>"
                     for row in rows)
    return (f"<div class='wide'><table{_kind(kind)}><thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody></table></div>")


def _cell(text: str) -> str:
    first, _, second = text.partition("\n")
    return f"<td>{escape(first)}<small>{escape(second)}</small></td>" if second else f"<td>{escape(first)}</td>"


def figures(items: Sequence[Figure]) -> str:
    """Side by side as far as the page is wide."""
    def one(item: Figure) -> str:
        data = base64.b64encode(item.png).decode()
        caption = escape(item.caption)
        return (f"<figure><img src='data:image/png;base64,{data}' alt='{caption}'>"
                f"<figcaption>{caption}</figcaption></figure>")

    return "<div class='figures'>\n" + "\n".join(map(one, items)) + "\n</div>"


def side_by_side(*content: str) -> str:
    """Next to each other where the page is wide enough, else below."""
    return "<div class='side-by-side'>\n" + "\n".join(f"<div>\n{part}\n</div>" for part in content) + "\n</div>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def folded(title: str, content: str, shown: bool = False) -> str:
    return f"<details{' open' if shown else ''}><summary>{escape(title)}</summary>\n{content}\n</details>"


def section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(content) + "\n</section>"


def page(title: str, *content: str) -> str:
    return ("<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{escape(title)}</h1>\n" + "\n".join(content) + "\n</body>\n</html>\n")


def _kind(kind: str) -> str:
    return f" class='{kind}'" if kind else ""
