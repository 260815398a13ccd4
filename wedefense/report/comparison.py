"""The page of `wedefense compare`: systems on the same trials, each beside the first."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wedefense.metrics.catalogue import BOOTSTRAPPED, MAIN, METRICS, Metric
from wedefense.metrics.confidence import Difference
from wedefense.metrics.detection import CLASSES, DetectionCosts
from wedefense.metrics.evaluation import BootstrapOptions, evaluate_detection
from wedefense.metrics.keys import read_meta
from wedefense.report import html, sections
from wedefense.report.heat import heat_map
from wedefense.report.html import Figure, Row
from wedefense.report.style import CALIBRATED, GREY, INK, SERIES, SIZE, SMALL, SPOOF, described, new_figure
from wedefense.report.write import write_page
from wedefense.scoring.comparison import SIGNIFICANT, Comparison, p_text
from wedefense.scoring.results import ScoredSet

_MOST_CURVES = len(SERIES)  # of which each has a colour of its own
_MOST_PARTS = 40
_COLOURS = {"better": CALIBRATED, "worse": SPOOF, "": GREY}
_MARKS = {"better": "o", "worse": "s", "": "D"}


def write_comparison(path: str | os.PathLike, compared: Comparison, costs: DetectionCosts,
                     settings: Mapping[str, Any]) -> None:
    """`settings` are the options of the command: keys, resamples, groups."""
    systems, groups = compared.trials, compared.groups
    *others, last = compared.found
    by = Path(settings["groups"]).name.removeprefix("utt2") if groups else BootstrapOptions.by
    bootstrap = BootstrapOptions(settings["resamples"], by=by)
    table = Path(settings["keys"]).parent / "utt2attack"
    meta = read_meta(table, next(iter(systems.values())).names) if table.is_file() else {}
    evaluated = {name: evaluate_detection(each, meta, costs, bootstrap, groups) for name, each in systems.items()}
    results = {"of": "system", "classes": CLASSES, "dev_set": None, "calibration": "the scores are taken as they are",
               "sets": evaluated}
    sets = [ScoredSet(name, each, {}) for name, each in systems.items()]
    left_out = [f"The figure has the first {_MOST_CURVES} of these {len(sets)}."] * (len(sets) > _MOST_CURVES)
    content = [sections.results_and_det(None, results, sets[:_MOST_CURVES], *left_out),
               _differences(compared),
               *(_by(title, evaluated) for title in meta)]
    write_page(path, f"{', '.join([compared.first, *others])} and {last}: comparison", settings, content)


def _differences(compared: Comparison) -> str:
    found, first = compared.found, compared.first
    small = "deviations and 95 % intervals" if compared.over_seeds else "95 % intervals"
    parts = [html.paragraph(f"{' '.join(compared.explanation.split())} Small figures: {small}.", "note")]
    drawn = []
    for i, key in enumerate(BOOTSTRAPPED):
        metric, each = METRICS[key], {name: differences[i] for name, differences in found.items()}
        rows = [Row([name, *_row_cells(difference)]) for name, difference in each.items()]
        some = next(iter(each.values()))
        rows.append(Row([first, _measured(metric, some.a, some.deviations and some.deviations[0]), *[""] * 3], "rule"))
        parts += [f"<h3>{metric.heading}</h3>",
                  html.table(["system", metric.heading, "difference", "p (Holm)", ""], rows)]
        drawn.append(Figure(f"difference_{key}", f"{metric.title} less that of {first}, with 95 % intervals",
                            difference_plot(each, first)))
    return html.section("Differences", html.side_by_side("\n".join(parts), html.figures(drawn)))


def _row_cells(found: Difference) -> list[str]:
    """The interval under the difference: the verdict of a line is on the page of a phone too."""
    metric = METRICS[found.metric]
    value, *ends = (f"{metric.factor * x:+.{metric.decimals}f}".replace("-", "−")
                    for x in (found.value, *found.interval))
    measured = _measured(metric, found.b, found.deviations and found.deviations[1])
    return [measured, f"{value}\n{' to '.join(ends)}", p_text(found.p_holm), verdict(found)]


def _measured(metric: Metric, value: float, deviation: float | None) -> str:
    return metric.number(value) + (f"\n±\u00a0{metric.number(deviation)}" if deviation is not None else "")


def verdict(found: Difference) -> str:
    if found.p_holm >= SIGNIFICANT:
        return ""
    return "better" if METRICS[found.metric].better(found.b, found.a) else "worse"


def difference_plot(found: Mapping[str, Difference], first: str):
    """A row for each system: its difference from the first one, and the interval."""
    metric = METRICS[next(iter(found.values())).metric]
    figure, axes = new_figure((SIZE[0], 1.4 + 0.28 * len(found)))
    for row, difference in enumerate(found.values()):
        colour = _COLOURS[verdict(difference)]
        axes.plot([metric.factor * end for end in difference.interval], [row, row], color=colour, linewidth=1.8)
        axes.plot(metric.factor * difference.value, row, _MARKS[verdict(difference)], color=colour, markersize=6)
    axes.axvline(0, color=INK, linewidth=1)
    for name, colour in _COLOURS.items():
        if colour in {_COLOURS[verdict(difference)] for difference in found.values()}:
            label = f"{name}, p < {SIGNIFICANT:g}" if name else "may be chance"
            axes.plot([], [], f"{_MARKS[name]}-", color=colour, label=label)
    axes.set_yticks(range(len(found)), list(found), fontsize=SMALL)
    axes.set(xlabel=f"{metric.heading}, less {first}", ylim=(len(found) - 0.5, -0.5))
    axes.grid(False, axis="y")
    axes.legend()
    said = "; ".join(f"{name} {metric.factor * d.value:+.{metric.decimals}f} ({metric.factor * d.interval.low:+.3g} to "
                     f"{metric.factor * d.interval.high:+.3g}){', ' + verdict(d) if verdict(d) else ''}"
                     for name, d in found.items())
    return described(figure, f"{metric.heading} less that of {first}, a row for each system: {said}.")


def _by(title: str, results: Mapping[str, Mapping]) -> str:
    """The main rate of each system and value, coloured; empty where there is one value, or too many to read."""
    values = list(next(iter(results.values()))["breakdown"][title]["values"])
    if not 1 < len(values) <= _MOST_PARTS:
        return ""
    rows = [[value, *(METRICS[MAIN].number(result["breakdown"][title]["values"][value][MAIN])
                      for result in results.values())] for value in values]
    return html.section(f"By {title}", html.paragraph(f"{METRICS[MAIN].heading}; the darker, the higher.", "note"),
                        heat_map([title, *results], rows))
