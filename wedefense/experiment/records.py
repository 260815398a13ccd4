"""What an experiment folder tells about itself without torch, and what made it."""

import json
import math
import os
import platform
import subprocess
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import wedefense
from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.record import read as read_record
from wedefense.metrics.catalogue import METRICS
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.fingerprint import of_weights
from wedefense.utils.json_file import read_json
from wedefense.utils.owner import sweep

_PACKAGES = ("torch", "s3prl", "transformers", "numpy", "scipy", "soundfile", "matplotlib")


def read_config(exp_dir: str | os.PathLike) -> Config | None:
    """The config of an experiment, or None where there is none."""
    path = ExperimentFolder(exp_dir).config
    return load_config(path, scoring=True) if path.is_file() else None


def read_history(exp_dir: str | os.PathLike) -> dict | None:
    """`{"rows": [one dict per epoch], "best": ...}` as training wrote it, or None."""
    path = ExperimentFolder(exp_dir).history
    if not path.is_file():
        return None
    history = read_json(path, "stage 3 writes it")
    rows = history.get("rows")
    if not isinstance(rows, list) or not all(map(_is_epoch, rows)):
        raise InputError(f"{path}: not a training history ('rows', one object of numbers per epoch); stage 3 writes it")
    if history.get("best") is not None and not _is_best(history["best"]):
        raise InputError(f"{path}: not a training history ('best', the epoch with its metric and value); stage 3 "
                         "writes it")
    return history if rows else None


def _is_epoch(row) -> bool:
    return (isinstance(row, dict) and type(row.get("epoch")) is int and row["epoch"] > 0
            and all(value is None or isinstance(value, (int, float)) for value in row.values()))


def _is_best(best) -> bool:
    return (isinstance(best, dict) and type(best.get("epoch")) is int and isinstance(best.get("metric"), str)
            and best["metric"].removeprefix("val_") in METRICS
            and isinstance(best.get("value"), (int, float)) and math.isfinite(best["value"]))


def read_results(exp_dir: str | os.PathLike) -> dict:
    path = ExperimentFolder(exp_dir).results
    if not path.is_file():
        raise InputError(f"{path}: no such file; run stage 7 first")
    results = read_json(path, "run stage 7 again")
    sets = results.get("sets")
    if not isinstance(sets, dict) or not all(isinstance(found, dict) for found in sets.values()):
        raise InputError(f"{path}: not the results of stage 7 ('sets'); run it again")
    return results


def write_results(exp_dir: str | os.PathLike, results: dict, summary: str) -> None:
    """The results of stage 7 as data, and beside them as text."""
    folder = ExperimentFolder(exp_dir)
    sweep(folder)
    for path, content in ((folder.results, json.dumps(results, indent=1)), (folder.summary, f"{summary}\n")):
        with atomic_write(path, "w") as stream:
            stream.write(content)


def layer_weights(exp_dir: str | os.PathLike) -> dict[str, np.ndarray] | None:
    """How much the back-end takes of each front-end layer (softmax of its weights), by parameter name.

    None without averaged weights; empty if the back-end has no such parameters.
    """
    path = ExperimentFolder(exp_dir).average
    if not path.is_file():
        return None
    if (kept := read_record(ExperimentFolder(exp_dir).averaging)) and "layer_weights" in kept:
        if kept["outputs"].get(path.name) == of_weights(path):
            return _arrays(kept["layer_weights"])
    try:
        with zipfile.ZipFile(path) as archive:  # a look at the names saves the import of torch
            if not any(name.endswith("data.pkl") and b"weights" in archive.read(name) for name in archive.namelist()):
                return {}
    except Exception as error:  # zipfile has many for a damaged file
        raise InputError(f"{path}: not a checkpoint ({error}); run stage 4 again") from None
    from wedefense.utils.safe_load import load_torch

    return _arrays(shares_of_layers(load_torch(path, records=False)))


def _arrays(shares: Mapping[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(each, dtype=np.float32) for name, each in shares.items()}


def shares_of_layers(weights: Mapping) -> dict[str, list[float]]:
    """Those of `layer_weights`, for the record of the averaged weights: a report of them need not load torch."""
    return {name: tensor.float().softmax(dim=0).tolist() for name, tensor in weights.items()
            if name.split(".")[-1] in ("weights_k", "weights_v", "weights") and tensor.ndim == 1 and len(tensor) > 1}


def code_state() -> dict[str, str]:
    """The version of WeDefense, and its commit where it runs from its repository."""
    commit = _commit()
    return {"version": wedefense.__version__ + (f" ({commit})" if commit else "")}


def environment() -> dict[str, str]:
    """Versions of what the results depend on, and the commit when WeDefense runs from its repository."""
    found = {"WeDefense": wedefense.__version__, "git commit": _commit() or "not run from a git checkout",
             "Python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit() -> str | None:
    folder = Path(wedefense.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:  # installed into somebody else's repository
        return None
    commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", ".")
    return commit and commit + (" with uncommitted changes" if changed else "")
