"""What a benchmark found: as text, Markdown, LaTeX, and a page with a heat map of systems and sets."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from wedefense.metrics.catalogue import MAIN, METRICS, SUMMARY
from wedefense.metrics.table import text_table
from wedefense.report import html
from wedefense.report.heat import heat_map
from wedefense.report.html import Row
from wedefense.report.style import LETTERS, MARKERS, SERIES, described, new_figure
from wedefense.report.typeset import latex, markdown
from wedefense.report.write import page_of
from wedefense.scoring.benchmark import MEAN, POOLED
from wedefense.utils.files import atomic_write

_FORMATS = [(key, METRICS[key].heading, METRICS[key].factor, 2 if METRICS[key].percent else 4) for key in SUMMARY]
_FORMATS.insert(SUMMARY.index(MAIN) + 1, (f"{MAIN}_interval", "95 %", METRICS[MAIN].factor, 2))
_FORMATS += [("miss", "miss %", 100, 2), ("false_accept", "false accept %", 100, 2)]
_HEADER = ["set", "bona fide", "spoof", *(heading for _, heading, *_ in _FORMATS)]
_BESIDE = ("Cllr", "min Cllr", "miss %", "false accept %")  # of a terminal's second table: 80 columns hold no more


def rows_of(result: Mapping) -> list[list[str]]:
    """Each set, then their mean and their pool."""
    named = [*result["sets"].items(), (MEAN, result[MEAN]), (POOLED, result[POOLED])]
    return [[name, *(f"{values[count]:,}" if count in values else "" for count in ("n_bonafide", "n_spoof")),
             *(_cell(values.get(key), factor, decimals) for key, _, factor, decimals in _FORMATS)]
            for name, values in named]


def _cell(value, factor: int, decimals: int) -> str:
    if value is None or (np.isscalar(value) and np.isnan(value)):
        return ""
    if np.isscalar(value):
        return f"{factor * value:.{decimals}f}"
    return "-".join(f"{factor * end:.{decimals}f}" for end in value)


def told(name: str, result: Mapping) -> str:
    """A system in text."""
    skipped = {key: values["n_skipped"] for key, values in result["sets"].items() if values["n_skipped"]}
    rows = rows_of(result)
    first = [heading for heading in _HEADER if heading not in _BESIDE]
    lines = [name, _columns(rows, first), "", _columns(rows, ["set", *_BESIDE]), *_notes(result)]
    if skipped:
        lines.append("left out, as they cannot be read: " + ", ".join(f"{key} {n}" for key, n in skipped.items()))
    return "\n".join([*lines, *_changes(result)])


def _columns(rows: list[list[str]], headings: list[str]) -> str:
    chosen = [_HEADER.index(heading) for heading in headings]
    return text_table(headings, [[row[column] for column in chosen] for row in rows])


def _changes(result: Mapping) -> list[str]:
    """What a condition did to each set."""
    lines = []
    for a_set, found in result.get("differences", {}).items():
        low, high = (100 * end for end in found["interval"])
        lines.append(f"{a_set}: EER {100 * found['difference']:+.2f} points against the recordings as they are, 95 % "
                     f"[{low:+.2f}, {high:+.2f}], p = {found['p_value']:.2g}")
    return lines


def _notes(result: Mapping) -> list[str]:
    return [f"miss and false accept at {result['threshold']:.4g}, where the error rates of {result['fixed_on']} are "
            "equal; of spoofs alone false accept is 1 - SRR", f"calibration: {result['calibration']}"]


def summary(results: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of systems and sets: EER, or of a set of one class its error rate at the threshold."""
    sets = list(next(iter(results.values()))["sets"])
    header = ["system", *sets, MEAN, POOLED]
    rows = []
    for name, result in results.items():
        values = [_main(result["sets"][a_set]) for a_set in sets]
        rows.append([name, *(f"{100 * value:.2f}{mark}" for value, mark in values),
                     *(_cell(result[all_of].get("eer"), 100, 2) for all_of in (MEAN, POOLED))])
    return header, rows


def _main(values: Mapping) -> tuple[float, str]:
    if "eer" in values:
        return values["eer"], ""
    return (values["false_accept"], "*") if "false_accept" in values else (values["miss"], "+")


CAPTION = "EER in %; *: spoofs alone, 1 - SRR at the fixed threshold; +: bona fide alone, misses there"


def write(out, results: Mapping[str, Mapping], settings: Mapping[str, Any]) -> None:
    """benchmark.json, benchmark.md, benchmark.tex and benchmark.html."""
    header, rows = summary(results)
    pages = {"benchmark.md": "\n\n".join([markdown(header, rows, CAPTION), *(
        markdown(_HEADER, rows_of(result), name) for name, result in results.items())]),
        "benchmark.tex": "\n\n".join([latex(header, rows, CAPTION), *(
            latex(_HEADER, rows_of(result), name) for name, result in results.items())]),
        "benchmark.html": _page(results, settings), "benchmark.json": json.dumps(results, indent=1)}
    for name, text in pages.items():
        with atomic_write(os.path.join(out, name), "w") as stream:
            stream.write(f"{text}\n")


def _page(results: Mapping[str, Mapping], settings: Mapping[str, Any]) -> str:
    header, rows = summary(results)
    content = [html.section("Systems and sets", html.paragraph(CAPTION, "note"), heat_map(header, rows),
                            html.figures([html.Figure("mean", "Mean EER of each system over the sets of both classes",
                                                      _means(results)),
                                          html.Figure("sets", "EER of each set, with 95 % intervals", _sets(results))
                                          ]))]
    for name, result in results.items():
        parts = [_table(result), *(html.paragraph(note, "note") for note in (*_notes(result), *_changes(result)))]
        parts += [html.paragraph(f"{a_set}: {doubt}", "doubt") for a_set, values in result["sets"].items()
                  for doubt in values.get("doubts", [])]
        content.append(html.section(name, *parts))
    named = {key: ["=".join(pair) for pair in pairs] for key, pairs in settings.items() if key in ("model", "sets")}
    return page_of("Benchmark", {**settings, **named}, content)


def _table(result: Mapping) -> str:
    """The interval under its rate: a sheet of paper holds ten columns, and a phone fewer."""
    inner = _HEADER.index("95 %")
    rows = [[*row[:inner - 1], f"{row[inner - 1]}\n{row[inner]}".strip(), *row[inner + 1:]] for row in rows_of(result)]
    table = html.table(_HEADER[:inner] + _HEADER[inner + 1:], [Row(row, "rule" * (row[0] == MEAN)) for row in rows])
    return table + html.paragraph("Small figures: 95 % intervals.", "note") * ("<small>" in table)


def _means(results: Mapping[str, Mapping]):
    names = [name for name, result in results.items() if "eer" in result[MEAN]]
    figure, axes = new_figure((4.8, 0.8 + 0.32 * len(names)))
    values = [100 * results[name][MEAN]["eer"] for name in names]
    axes.barh(range(len(names)), values, color=SERIES[0], height=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=LETTERS)
    axes.invert_yaxis()
    axes.set_xlabel("mean EER, %")
    for place, value in enumerate(values):
        axes.annotate(f"{value:.2f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=LETTERS)
    axes.margins(x=0.15)
    return described(figure, "Mean EER: " + ", ".join(f"{name} {value:.2f} %" for name, value in zip(names, values)))


def _sets(results: Mapping[str, Mapping]):
    """A row for each set, in it a point for each system."""
    sets = [name for name, values in next(iter(results.values()))["sets"].items() if "eer" in values]
    figure, axes = new_figure((4.8, 1.4 + (0.2 + 0.14 * len(results)) * len(sets)))
    said = []
    for number, (name, result) in enumerate(results.items()):
        colour, places, values = SERIES[number % len(SERIES)], [], []
        for row, a_set in enumerate(sets):
            found = result["sets"][a_set]
            places.append(row + (number - (len(results) - 1) / 2) * 0.7 / len(results))
            values.append(100 * found["eer"])
            if "eer_interval" in found:
                axes.plot([100 * end for end in found["eer_interval"]], [places[-1]] * 2, color=colour, linewidth=1.4)
        axes.plot(values, places, MARKERS[number % len(MARKERS)], color=colour, markersize=4.5, label=name)
        said.append(f"{name}: {', '.join(f'{a_set} {value:.2f}' for a_set, value in zip(sets, values))}")
    axes.set_yticks(range(len(sets)), sets, fontsize=LETTERS)
    axes.set(xlabel="EER %", ylim=(len(sets) - 0.5, -0.5))
    axes.set_xlim(left=0)
    axes.legend()
    return described(figure, f"EER in per cent of each set: {'; '.join(said)}.")
