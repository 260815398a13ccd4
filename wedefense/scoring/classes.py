"""Closed-set classification (emotions) on an experiment folder, and the mean of several folds."""

import os
from collections.abc import Sequence
from pathlib import Path

from wedefense import __version__
from wedefense.data.labels import Labels
from wedefense.experiment import lineage
from wedefense.experiment.arks import read_scp
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.provenance import left_out, left_out_text
from wedefense.experiment.records import write_results
from wedefense.metrics.catalogue import METRICS, OF_CLASSES
from wedefense.metrics.classification import (
    ClassificationResult,
    classification_metrics,
    confusion_table,
    headings,
    rates,
)
from wedefense.metrics.table import text_table
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.json_file import read_json
from wedefense.utils.tables import first_few, read_table


def evaluate(exp_dir: str | os.PathLike, data: str | os.PathLike, name: str) -> ClassificationResult:
    """The largest logit of each utterance of a set against its label."""
    folder = ExperimentFolder(exp_dir)
    classes, posteriors = list(Labels.load(folder.labels).names), folder.posteriors(name)
    lineage.require_logits(folder, name)
    keys, logits = read_scp(posteriors.scp)
    truth = read_table(Path(data) / name / "utt2lab")
    if keys_without := [key for key in keys if key not in truth]:
        raise InputError(f"{Path(data) / name / 'utt2lab'}: no label for {first_few(keys_without)}")
    if left := sorted(truth.keys() - set(keys) - _reasons(exp_dir, data, name).keys()):
        raise InputError(f"{posteriors.root}: no logits of {len(left)} utterances: {first_few(left)}")
    return classification_metrics([truth[key] for key in keys], [classes[i] for i in logits.argmax(axis=1)], classes)


def _reasons(exp_dir, data, name: str) -> dict[str, str]:
    """Why stage 4 left utterances out, by their keys."""
    return (left_out(exp_dir, Path(data) / name / "utt2lab", name) or {"reasons": {}})["reasons"]


def save(exp_dir: str | os.PathLike, data: str | os.PathLike, found: dict[str, ClassificationResult]) -> str:
    """Write the results and their summary, which is returned."""
    sets = {name: {metric: getattr(result, metric) for metric in OF_CLASSES}
            | {"recalls": result.recalls, "confusion": result.confusion.tolist(), "classes": result.classes}
            for name, result in found.items()}
    more = [f"{name}\n{confusion_table(result)}" for name, result in found.items()]
    for name in found:
        if lost := left_out(exp_dir, Path(data) / name / "utt2lab", name):
            sets[name]["left_out"] = lost
            more.append(f"doubt about {name}: {left_out_text(lost)}")
    return _write(exp_dir, {"wedefense": __version__, "sets": sets}, more)


def average(folds: Sequence[str | os.PathLike], exp_dir: str | os.PathLike) -> str:
    """The mean of every set over the folds, each fold counting once, as the results of `exp_dir`."""
    results = [_read(ExperimentFolder(fold).results)["sets"] for fold in folds]
    names = list(results[0])
    if any(list(result) != names for result in results):
        raise InputError(f"the folds have different sets: {[list(result) for result in results]}")
    sets: dict[str, dict[str, object]] = {}
    with blamed_on(first_few(map(str, folds)), "folds with results of classes"):
        for name in names:
            sets[name] = {metric: sum(float(result[name][metric]) for result in results) / len(results)
                          for metric in OF_CLASSES}
            sets[name]["folds"] = [result[name]["accuracy"] for result in results]
    return _write(exp_dir, {"wedefense": __version__, "folds": [str(fold) for fold in folds], "sets": sets}, [])


def _read(path: Path) -> dict:
    if not path.is_file():
        raise InputError(f"{path}: no such file; run stage 7 of this fold first")
    with blamed_on(path, "results of a fold"):
        return {"sets": dict(read_json(path)["sets"])}


def _write(exp_dir, results: dict, more: list[str]) -> str:
    rows = []
    for name, result in results["sets"].items():
        rows.append([name, *rates(result)])
        for number, accuracy in enumerate(result.get("folds", []), 1):
            rows.append([f"  fold {number}", METRICS["accuracy"].number(accuracy), "", ""])
    text = "\n\n".join([text_table(["set", *headings()], rows), *more])
    write_results(exp_dir, results, text)
    return text
