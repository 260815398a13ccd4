"""Tables as Markdown and LaTeX."""

import re
from collections.abc import Mapping, Sequence

from wedefense.metrics.catalogue import METRICS
from wedefense.report.published import NONE, Comparison, PublishedTable

_LATEX = {"\\": r"\textbackslash{}", "%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$"}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Aligned in the source too; the first column to the left, the others to the right."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_markdown_line(row, widths) for row in (cells[0], rule, *cells[1:])]
    return "\n".join([*([caption, ""] if caption else []), *lines])


def _markdown_line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) + " |"


def latex(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table environment; needs \\usepackage{booktabs}."""
    lines = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in (header, *rows)]
    body = [r"\begin{table}", r"  \centering", *([rf"  \caption{{{_escape(caption)}}}"] if caption else []),
            rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"    \toprule", f"    {lines[0]}", r"    \midrule",
            *(f"    {line}" for line in lines[1:]), r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(body)


def _escape(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<!\S)([+-][\d.]+)(?!\S)", r"$\1$", escaped)  # a true minus sign


FORMATS = {"markdown": markdown, "latex": latex}


def published_rows(table: PublishedTable) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of a whole published table."""
    first = table.rows[0]
    header = ["system", *first.about, *(f"{name} {METRICS[metric].heading}" for name, metric, _ in first.values)]
    return header, [[row.name, *row.about.values(), *(value for _, _, value in row.values)] for row in table.rows]


def filled_rows(table: PublishedTable, ours: Mapping[str, Sequence[Comparison]]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of a published table with a column `ours` beside each number, empty where there is none."""
    header, rows = published_rows(table)
    first = len(header) - len(table.rows[0].values)
    header = header[:first] + [title for published in header[first:] for title in (published, "ours")]
    filled = []
    for row, cells in zip(table.rows, rows):
        own = {(item.set, item.metric): f"{item.ours:.{item.decimals}f}" for item in ours.get(row.name, ())}
        filled.append(cells[:first] + [cell for name, metric, value in row.values
                                       for cell in (value, own.get((name, metric), ""))])
    return header, filled


def comparison_rows(found: Sequence[Comparison], ours: str) -> tuple[list[str], list[list[str]]]:
    """(header, rows): published, ours, the difference and its interval."""
    rows = []
    for item in found:
        digits = item.decimals
        interval = NONE if item.interval is None else " to ".join(f"{end:+.{digits}f}" for end in item.interval)
        rows.append([f"{item.set} {item.heading}", item.published, f"{item.ours:.{digits}f}",
                     NONE if item.difference is None else f"{item.difference:+.{digits}f}", interval])
    level = next((f"{100 * item.level:g} % interval" for item in found if item.level), "interval")
    return ["", "published", ours, "difference", level], rows
