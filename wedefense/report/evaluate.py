"""Score files against their keys, in each of the forms that `wedefense evaluate` knows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wedefense.metrics.class_keys import load_class_trials
from wedefense.metrics.classification import classification_metrics, confusion_table, summary_table
from wedefense.metrics.detection import CLASSES, DetectionCosts
from wedefense.metrics.evaluation import BootstrapOptions, evaluate_detection, evaluate_sasv
from wedefense.metrics.keys import Trials, load_trials, read_meta
from wedefense.metrics.sasv_keys import load_sasv_trials
from wedefense.metrics.table import result_table
from wedefense.metrics.tandem import AsvRates, TandemCosts
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write


@dataclass(frozen=True)
class ScoreFiles:
    scores: str
    keys: str
    meta: tuple[str, ...] = ()  # tables to break the result down by
    groups: str | None = None   # table of what the bootstrap draws together
    common: bool = False        # take the utterances that both files have, instead of stopping

    def columns(self, names: list[str]) -> dict[str, list[str]]:
        return {title: column for path in self.meta for title, column in read_meta(path, names).items()}


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found: as data, as text, and as the sections of a page (made when they are asked for)."""

    result: dict
    text: str
    sections: Callable[[], list[str]]

    def write(self, json_path: str | None, html_path: str | None, settings: Mapping[str, Any]) -> None:
        if json_path:
            with atomic_write(json_path, "w") as stream:
                json.dump(self.result, stream, indent=1)
        if html_path:
            from wedefense.report.write import write_page

            shown = {name: value for name, value in settings.items() if name not in ("json", "html")
                     and not (name == "costs" and settings["classes"])}
            write_page(html_path, f"{Path(settings['scores']).name}: evaluation", shown, self.sections())


def detection(files: ScoreFiles, costs: DetectionCosts, resamples: int | None = None, rocch: bool = False) -> Evaluated:
    trials = load_trials(files.scores, files.keys, files.common)
    by, groups = "trial", None
    if files.groups:
        by, groups = next(iter(read_meta(files.groups, trials.names).items()))
    return of_trials(files, trials, costs, resamples, by, groups, rocch)


def of_trials(files: ScoreFiles, trials: Trials, costs: DetectionCosts, resamples: int | None, by: str,
              groups: list[str] | None, rocch: bool, more: Mapping = {},
              more_sections: Callable[[], list[str]] = list) -> Evaluated:
    """`more` goes into the result, `more_sections` onto the page."""
    meta = files.columns(trials.names)
    seconds = _durations(meta, trials)
    bootstrap = None if resamples is None else BootstrapOptions(resamples, by=by)
    result = evaluate_detection(trials, meta, costs, bootstrap, groups) | dict(more)

    def page_sections() -> list[str]:
        from wedefense.report import sections
        from wedefense.report.listen import Players
        from wedefense.report.set_section import one_set
        from wedefense.scoring.results import ScoredSet, audio_table

        scored = ScoredSet(Path(files.scores).name, trials, meta, seconds=seconds,
                           audio=audio_table(Path(files.keys).parent))
        results = {"classes": CLASSES, "dev_set": None, "calibration": "the scores are taken as they are",
                   "sets": {scored.name: result}}
        note = [sections.range_note(result)] if "range_eer" in result else []
        return [sections.results_and_det(None, results, [scored], *note), *more_sections(),
                one_set(None, results, scored, None, Players()), sections.conditions(results)]

    return Evaluated(result, result_table(result, rocch), page_sections)


def _durations(meta: dict[str, list[str]], trials: Trials) -> np.ndarray | None:
    """Seconds of each trial, where a table of `utt2dur` is among the others: parts of them take its place."""
    if "dur" not in meta:
        return None
    from wedefense.scoring.results import DURATION, by_duration

    try:
        seconds = np.array([float(cell) for cell in meta.pop("dur")])
    except ValueError as error:
        raise InputError(f"utt2dur: no number of seconds ({error})") from None
    if parts := by_duration(seconds, trials.is_bonafide):
        meta[DURATION] = parts
    return seconds if len(set(trials.names)) == len(trials.names) else None  # not of segments


def sasv(files: ScoreFiles, costs: DetectionCosts, asv: AsvRates) -> Evaluated:
    """Spoofing-aware speaker verification: a-DCF, min t-DCF and t-EER of five-column scores."""
    trials = load_sasv_trials(files.scores, files.keys, files.common)
    result = evaluate_sasv(trials, files.columns(trials.names), TandemCosts.like(costs), asv)

    def page_sections() -> list[str]:
        from wedefense.report import sasv_sections

        return sasv_sections.page_sections(trials, result)

    return Evaluated(result, result_table(result), page_sections)


def classes(files: ScoreFiles) -> Evaluated:
    """Closed-set classification, such as of emotions: accuracy, mean accuracy of the classes, confusion."""
    trials = load_class_trials(files.scores, files.keys, files.common)
    names = np.array(trials.classes)
    found = classification_metrics(names[trials.truth].tolist(), names[trials.predicted].tolist(), trials.classes)

    def page_sections() -> list[str]:
        from wedefense.report import sections

        return sections.classification(None, {Path(files.scores).name: found})

    result = asdict(found) | {"confusion": found.confusion.tolist(), "n_utterances": len(trials.names)}
    return Evaluated(result, f"{summary_table(found)}\n\n{confusion_table(found)}", page_sections)
