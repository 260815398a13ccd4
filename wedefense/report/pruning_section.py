"""The section of a report about a pruned encoder: what it costs and scores before and after, and what was cut."""

import os
from collections.abc import Mapping
from pathlib import Path

from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.catalogue import METRICS, SUMMARY
from wedefense.report import html
from wedefense.report.html import Figure, Row
from wedefense.report.pruning_plot import kept_figure
from wedefense.utils.json_file import read_json


def pruning(exp_dir: str | os.PathLike) -> str:
    """Empty for an experiment that was not pruned."""
    folder = ExperimentFolder(exp_dir)
    report = _read(folder.pruning)
    if report is None:
        return ""
    source = report.get("unpruned")
    note = (f"{100 * report['target_sparsity']:.1f} % of the {report['measure']} were to go, "
            f"{100 * report['sparsity']:.1f} % went. ")
    note += "Time: the least of eight forward passes, on the CPU that cut the model. "
    note += (f"Before: {source}. " if source else "No unpruned experiment was named to compare with (wedefense prune "
                                                   "--unpruned). ")
    rows = _costs(report) + _accuracy(_read(ExperimentFolder(folder.root / source).results) if source else None,
                                      _read(folder.results))
    return html.section("Pruning", html.table(["encoder", "before", "after", "change"], rows),
                        html.paragraph(note, "note"), html.figures([picture(report)]))


def picture(report: Mapping) -> Figure:
    return Figure("pruning", "What is left of each layer; grey is what was cut",
                  kept_figure(report["units"]["before"], report["units"]["after"]))


def _read(path: Path) -> dict | None:
    return read_json(path, "run stage 4 again") if path.is_file() else None


def _costs(report: Mapping) -> list[Row]:
    rows = []
    for name, key, unit, decimals in (("parameters, M", "parameters", 1e-6, 3),
                                      ("multiply-adds for 2 s, G", "multiply-adds", 1e-9, 3),
                                      ("forward pass of 2 s, ms", "seconds", 1e3, 1)):
        before, after = report[key]["before"], report[key]["after"]
        rows.append(Row([name, f"{unit * before:.{decimals}f}", f"{unit * after:.{decimals}f}",
                         f"{100 * (after / before - 1):+.1f} %".replace("-", "−")]))
    return rows


def _accuracy(before: Mapping | None, after: Mapping | None) -> list[Row]:
    """The first two metrics of each set that both have been scored on, or of this experiment alone."""
    rows: list[Row] = []
    for name, result in (after or {}).get("sets", {}).items():
        other = (before or {}).get("sets", {}).get(name, {})
        for key in (key for key in SUMMARY[:2] if key in result):
            metric = METRICS[key]
            change = f"{metric.factor * (result[key] - other[key]):+.{metric.decimals}f}" if key in other else ""
            rows.append(Row([f"{name}, {metric.heading}", metric.number(other[key]) if key in other else "",
                             metric.number(result[key]), change.replace("-", "−")], "rule" if not rows else ""))
    return rows
