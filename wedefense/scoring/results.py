"""Stage 7 on an experiment folder: every scored set evaluated, pooled and taken apart by its tables."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wedefense import __version__
from wedefense.experiment import lineage
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.provenance import left_out, left_out_text, provenance_of_sets, sentence
from wedefense.experiment.record import read
from wedefense.experiment.records import write_results
from wedefense.metrics.catalogue import METRICS, SUMMARY
from wedefense.metrics.detection import CLASSES, DetectionCosts
from wedefense.metrics.evaluation import BootstrapOptions, evaluate_detection
from wedefense.metrics.keys import Trials, load_trials, read_keys, read_meta
from wedefense.metrics.table import interval_rows, text_table
from wedefense.scoring.calibration import Calibration, CalibrationOptions, fit, sketch
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, read_seconds

_NOT_A_CONDITION = {"utt2lab", "utt2dur", "utt2num_frames"}
_MOST_VALUES = 1000
DURATION = "duration"
_MOST_PARTS, _TRIALS_OF_A_PART = 5, 20  # of the smaller class


@dataclass(frozen=True)
class ScoredSet:
    name: str
    trials: Trials
    meta: dict[str, list[str]]  # attack, speaker, codec ... of each trial
    precision: str | None = None  # in which the embeddings were computed, where that is known
    left_out: dict | None = None  # what could not be read (see `provenance.left_out`)
    seconds: np.ndarray | None = None  # of each trial
    audio: Path | None = None     # table of the recordings, NAME PATH
    weights: str | None = None    # fingerprint of those that scored it, where it is known


def load_set(exp_dir: str | os.PathLike, data: str | os.PathLike, name: str) -> ScoredSet:
    """The scores of a set, its labels, and what else its data folder says about each utterance."""
    scores, folder = ExperimentFolder(exp_dir).posteriors(name).llr, Path(data) / name
    if not scores.is_file():
        raise InputError(f"{scores}: no such file; score the set '{name}' first (stages 4 to 6)")
    lineage.require_llrs(ExperimentFolder(exp_dir), name)
    lost_audio = left_out(exp_dir, folder / "utt2lab", name)
    skipped = set(lost_audio["reasons"]) if lost_audio else set()
    trials = load_trials(scores, folder / "utt2lab", common=True if skipped else None)
    if skipped:
        lost = set(read_keys(folder / "utt2lab")[0]) - set(trials.names) - skipped
        if lost:
            raise InputError(f"{scores}: {len(lost)} utterances of {folder / 'utt2lab'} have no score and are not "
                             f"among those that stage 4 left out: {first_few(sorted(lost))}")
    meta: dict[str, list[str]] = {}
    for path in sorted(folder.glob("utt2*")):
        if path.name not in _NOT_A_CONDITION and path.is_file():
            meta |= read_meta(path, trials.names)
    for title in [title for title, column in meta.items() if len(set(column)) > _MOST_VALUES]:
        get_logger().info("%s: utt2%s has over %d values, no results by it", folder, title, _MOST_VALUES)
        del meta[title]
    seconds = _seconds(folder, trials.names)
    if seconds is not None and (parts := by_duration(seconds, trials.is_bonafide)):
        meta[DURATION] = parts
    embedded = read(ExperimentFolder(exp_dir).embeddings(name).source)
    of = embedded["inputs"] if embedded else {}
    return ScoredSet(name, trials, meta, of.get("precision"), lost_audio, seconds, audio_table(folder),
                     of.get("weights"))


def audio_table(folder: Path) -> Path | None:
    """Where a data folder says which file an utterance is."""
    return path if (path := folder / "wav.scp").is_file() else None


def _seconds(folder: Path, names: Sequence[str]) -> np.ndarray | None:
    """(trials,), where all durations are known."""
    if not (path := folder / "utt2dur").is_file():
        return None
    found = read_seconds(path)
    return np.array([found[name] for name in names]) if found.keys() >= set(names) else None


def by_duration(seconds: np.ndarray, is_bonafide: np.ndarray) -> list[str] | None:
    """The part of the durations that each trial falls into: parts of as many trials, fewer of a small set.

    >>> by_duration(np.array([1.0, 2.0, 3.0, 8.0] * 20), np.arange(80) % 8 < 4)[:4]
    ['1 to 2 s', '1 to 2 s', '3 to 8 s', '3 to 8 s']
    """
    parts = min(_MOST_PARTS, min(is_bonafide.sum(), (~is_bonafide).sum()) // _TRIALS_OF_A_PART)
    edges = np.unique(np.quantile(seconds, np.arange(1, parts) / parts)) if parts > 1 else np.zeros(0)
    part = np.searchsorted(edges, seconds)
    names = {}
    for number in np.unique(part):
        ends = dict.fromkeys(f"{end(seconds[part == number]):.3g}" for end in (np.min, np.max))
        names[number] = f"{' to '.join(ends)} s"
    return [names[number] for number in part] if len(names) > 1 else None


def evaluate_sets(sets: Sequence[ScoredSet], dev_set: str | None, bootstrap: BootstrapOptions | None = None,
                  classes: tuple[str, str] = CLASSES, costs: DetectionCosts = DetectionCosts(),
                  remark: str = "not calibrated") -> tuple[dict, Calibration | None]:
    """The results, and the calibration fitted on the dev set (if there is one) and applied to the others.

    A bootstrap by something else than trials draws all trials with the same value of that column together.
    """
    calibration = None
    if dev_set is not None:
        calibration, remark = _calibrate(sets, dev_set)
    results = {}
    for scored in sets:
        results[scored.name] = _evaluate(scored, bootstrap, costs, classes)
        if scored.precision:
            results[scored.name]["precision"] = scored.precision
        if scored.left_out:
            results[scored.name]["left_out"] = scored.left_out
            results[scored.name]["doubts"].append(left_out_text(scored.left_out))
        if calibration and scored.name != dev_set:
            try:
                calibration.refuse_known(scored.trials.names)
            except InputError as error:
                results[scored.name]["doubts"].append(f"not calibrated: {error}")
                continue
            trials = replace(scored.trials, scores=calibration.apply(scored.trials.scores))
            results[scored.name]["calibrated"] = _evaluate(replace(scored, trials=trials), bootstrap, costs, classes)
    return {"wedefense": __version__, "classes": list(classes), "dev_set": dev_set, "calibration": remark,
            "calibration_doubts": list(calibration.doubts) if calibration else [], "sets": results}, calibration


def _evaluate(scored: ScoredSet, bootstrap: BootstrapOptions | None, costs: DetectionCosts,
              classes: tuple[str, str]) -> dict:
    groups = None
    if bootstrap and bootstrap.by != BootstrapOptions.by:
        groups = scored.meta.get(bootstrap.by)
        if groups is None:
            raise InputError(f"set '{scored.name}' has no utt2{bootstrap.by} to draw bootstrap groups by "
                             f"(it has: {', '.join('utt2' + title for title in scored.meta) or 'no such table'})")
    return evaluate_detection(scored.trials, scored.meta, costs, bootstrap, groups, classes)


def _calibrate(sets: Sequence[ScoredSet], dev_set: str) -> tuple[Calibration | None, str]:
    """(model, what to tell about it)"""
    dev = next((scored for scored in sets if scored.name == dev_set), None)
    if dev is None or len(sets) == 1:
        return None, f"nothing calibrated: it takes the scores of '{dev_set}' and another set"
    try:
        model = fit(dev.trials.scores, dev.trials.is_bonafide, CalibrationOptions(of_llrs=True))
    except InputError as error:
        return None, f"nothing calibrated: {error}"
    model = replace(model, of=dev.weights)
    return replace(model, sketch=sketch(dev.trials.names)), f"calibrated on '{dev_set}': {model.formula()}"


def save_results(exp_dir: str | os.PathLike, results: dict) -> str:
    """Write the results, what made them, and their summary, which is returned."""
    results["made_by"] = provenance_of_sets(exp_dir, list(results["sets"]))
    text = summary(results)
    write_results(exp_dir, results, text)
    for name, result in results["sets"].items():
        for doubt in result["doubts"]:
            get_logger().warning("%s: %s", name, doubt)
    return text


def overview(results: Mapping) -> list[tuple[str, dict]]:
    """(label, evaluation) of every set, raw and then calibrated."""
    rows = []
    for name, result in results["sets"].items():
        rows.append((name, result))
        if "calibrated" in result:
            rows.append((f"{name} calibrated", result["calibrated"]))
    return rows


def summary(results: dict) -> str:
    """The sets in one aligned table, then by attack, which matters most on others than the dev set."""
    rows = []
    for label, result in overview(results):
        rows.append([label, *counts(result), *rates(result)])
        if "confidence" in result:
            rows += interval_rows(result["confidence"], 2, SUMMARY)
    for name, result in results["sets"].items():
        parts = result.get("breakdown", {}).get("attack")
        if parts and (name != results["dev_set"] or len(results["sets"]) == 1):
            rows += [[], [f"{name} by attack", *[""] * (2 + len(SUMMARY))]]
            rows += [[f"  {label}", *cells] for label, cells in breakdown_rows(parts)]
    said = [f"doubt about {name}: {doubt}" for name, result in results["sets"].items() for doubt in result["doubts"]]
    said += [f"doubt about the calibration: {doubt}" for doubt in results.get("calibration_doubts", [])]
    made = sentence(results.get("made_by", {}))
    return "\n".join([text_table(["set", *results["classes"], *headings()], rows), "", results["calibration"],
                      *said, *([made] if made else [])])


def breakdown_rows(parts: dict) -> list[tuple[str, list[str]]]:
    """(value, cells) of a breakdown, and the mean and the worst of several values."""
    rows = [(value, [*counts(found), *rates(found)]) for value, found in parts["values"].items()]
    if len(rows) > 1:
        rows.append(("mean", ["", "", *rates(parts["macro"])]))
        rows.append((f"worst: {parts['worst']}", ["", "", *rates(parts["values"][parts["worst"]])]))
    return rows


def headings() -> list[str]:
    return [METRICS[key].heading for key in SUMMARY]


def counts(result: dict) -> list[str]:
    return [str(result["n_bonafide"]), str(result["n_spoof"])]


def rates(result: dict) -> list[str]:
    return [METRICS[key].number(result[key]) if key in result else "" for key in SUMMARY]  # older results have fewer


def interval_name(result: dict) -> str:
    return f"{100 * result['confidence']['level']:g} % interval"


def intervals(result: dict) -> list[str]:
    """Of those metrics that resamples give."""
    found = result["confidence"]
    return ["-".join(map(METRICS[key].number, found[key])) if key in found else "" for key in SUMMARY]
