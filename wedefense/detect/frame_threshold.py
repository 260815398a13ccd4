"""At or below which score a frame is called fake: what a dev set told, or a person says."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.provenance import are_of_average
from wedefense.metrics.localization import TIME
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.files import atomic_write
from wedefense.utils.json_file import read_json


def thresholds_of(folder: ExperimentFolder) -> dict[int, float]:
    """ms of a frame -> where the EER of the dev set in time lies, as stage 7 found it or as it was shared."""
    path, found = folder.results, {}
    if folder.frame_thresholds.is_file():
        with blamed_on(folder.frame_thresholds, "file of thresholds"):
            shared = read_json(folder.frame_thresholds)
            return {int(ms): float(value) for ms, value in shared.items()}
    if not path.is_file():
        return {}
    with blamed_on(path, "file of results"):
        results = read_json(path, "stage 7 writes it")
        if not are_of_average(results, folder):
            return {}
        for name, result in results.get("sets", {}).items():
            for ms, where in result.get("localization", {}).items():
                if (value := _of_dev(where, name == results.get("dev_set"))) is not None:
                    found[int(ms)] = value
    return found


def save_thresholds(folder: ExperimentFolder, thresholds: Mapping[int, float]) -> None:
    with atomic_write(folder.frame_thresholds, "w") as stream:
        json.dump({str(ms): value for ms, value in thresholds.items()}, stream)


def given_threshold(text: str) -> float:
    """A number, or the file that `wedefense evaluate --segments --json` wrote of a dev set, or of others with --dev."""
    try:
        value = float(text)
    except ValueError:
        if not os.path.exists(text):
            raise InputError(f"--threshold {text}: neither a number nor a file; give a score, or what `wedefense "
                             "evaluate --segments ... --json FILE` wrote of the dev set") from None
        return _of_file(Path(text))
    if math.isnan(value):
        raise InputError("--threshold nan: decides nothing; give a number")
    return value


def _of_file(path: Path) -> float:
    with blamed_on(path, "result of wedefense evaluate --segments"):
        where = read_json(path, "write it by wedefense evaluate --segments ... --json").get("localization")
        value = None if where is None else _of_dev(where, True)
    if value is None:
        raise InputError(f"{path}: has no threshold of frames; wedefense evaluate --segments ... --json writes one")
    return value


def _of_dev(where: Mapping, is_dev: bool) -> float | None:
    row = where.get("rows", {}).get(TIME, {})
    value = row.get("dev_threshold", row.get("eer_threshold") if is_dev else None)
    return None if value is None else float(value)
