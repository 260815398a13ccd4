"""The report of an experiment: results with their confidence, curves, weights, settings, in one file."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wedefense.config.schema import Config
from wedefense.experiment import records
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.provenance import provenance, sentence
from wedefense.metrics.classification import ClassificationResult
from wedefense.report import html, pruning_section, render, sections, timelines
from wedefense.report.html import Row
from wedefense.report.listen import Players
from wedefense.report.localization import of_heads, where_section
from wedefense.report.set_section import one_set
from wedefense.scoring.calibration import Calibration
from wedefense.scoring.results import ScoredSet
from wedefense.utils.files import atomic_write


def write_report(exp_dir: str | os.PathLike, results: Mapping, sets: Sequence[ScoredSet] = (),
                 calibration: Calibration | None = None, fonts: str = "sans", heard: int = Players.listen) -> Path:
    """Write the report and its figures; what the folder lacks is left out, and said so.

    The curves of detection are drawn from the scores in `sets`; `fonts` are those of the PDFs (`render.FONTS`), `heard`
    how many utterances of each class and set stand in the page to listen to (0: no timelines either).
    """
    folder, players = ExperimentFolder(exp_dir), Players(heard)
    with render.letters(fonts):
        content = [sections.results_and_det(folder, results, sets)]
        content += [one_set(folder, results, scored, calibration,
                            players if scored.name != results["dev_set"] or len(sets) == 1 else None)
                    for scored in sets]
        content += [where_section(where, f"Where it is fake: {title}") for title, where in of_heads(results)]
        content += timelines.of_sets(folder, results, sets) if heard else []
        content.append(sections.conditions(results))
        return _finish(folder, content)


def write_class_report(exp_dir: str | os.PathLike, found: Mapping[str, ClassificationResult],
                       fonts: str = "sans") -> Path:
    """The same for an experiment in closed-set classification, such as of emotions."""
    folder = ExperimentFolder(exp_dir)
    with render.letters(fonts):
        return _finish(folder, sections.classification(folder, found))


def _finish(folder: ExperimentFolder, content: list[str]) -> Path:
    """Put what is known of the model and its training around the results."""
    config = records.read_config(folder)
    content = [_introduction(folder, config), *content, pruning_section.pruning(folder), sections.training(folder),
               sections.layers(folder), sections.configuration(folder),
               sections.environment(None if config is None else config.seed)]
    with atomic_write(folder.report, "w") as stream:
        stream.write(html.page(f"{folder.root.resolve().name}: results", *content))
    return folder.report


def write_page(path: str | os.PathLike, title: str, settings: Mapping[str, object], content: Sequence[str]) -> None:
    """One self-contained file about an evaluation that belongs to no experiment folder."""
    with atomic_write(path, "w") as stream:
        stream.write(page_of(title, settings, content))


def page_of(title: str, settings: Mapping[str, object], content: Sequence[str]) -> str:
    """With what was asked for, when and with what."""
    rows = [Row([name, " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)])
            for name, value in settings.items() if value not in (None, False, [])]
    return html.page(title, html.paragraph(_reported(), "note"), *content, html.section(
        "Settings", html.table(["", ""], rows, "text")), sections.environment())


def _introduction(folder: ExperimentFolder, config: Config | None) -> str:
    """What the results are of; epochs, seed and code by the records of the weights."""
    parts = []
    if config is not None:
        data = config.dataset_args
        parts = [" ".join(filter(None, (data.frontend, data.pretrained_name))), config.model, config.optimizer]
    return html.paragraph(", ".join(filter(None, (*parts, sentence(provenance(folder)), _reported()))), "note")


def _reported() -> str:
    return f"reported {time.strftime('%Y-%m-%d %H:%M')}"
