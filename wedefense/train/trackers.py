"""Trackers of experiments, each imported only where `loggers` names it: Weights & Biases, MLflow, trackio.

The experiment folder keeps which run is its own, so that a training that goes on stays one run; one that begins anew is
another. Where things go, the environment says as each has it (WANDB_MODE, MLFLOW_TRACKING_URI, TRACKIO_DIR ...).
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wedefense.experiment.folder import ExperimentFolder
from wedefense.train.loggers import Run
from wedefense.utils.files import atomic_write

_PROJECT = "wedefense"
_MOST_PARAMS = 100  # that MLflow takes at once


def own_run(run: Run, tracker: str, make: Callable[[], str] = lambda: secrets.token_hex(4)) -> tuple[str, bool]:
    """(name of the run of this training, whether it began before)"""
    file = ExperimentFolder(run.folder).tracked
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if run.step and tracker in known:
        return known[tracker], True
    known[tracker] = make()
    with atomic_write(file, "w") as stream:
        json.dump(known, stream, indent=1)
    return known[tracker], False


def _name(run: Run) -> str:
    return run.folder.resolve().name


class Wandb:
    """WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline (then `wandb sync EXP/wandb/offline-run-*`) ..."""

    def __init__(self, run: Run):
        import wandb

        self._image = wandb.Image
        identity, _ = own_run(run, "wandb")
        self._run = wandb.init(project=os.environ.get("WANDB_PROJECT", _PROJECT), name=_name(run), id=identity,
                               resume="allow", dir=str(run.folder.resolve()), config=run.config, allow_val_change=True)
        for kind, axis in (("train", "train/step"), ("epoch", "epoch/epoch")):
            self._run.define_metric(f"{kind}/*", step_metric=axis)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        at = {"train/step": step} if any(name.startswith("train/") for name in values) else {}
        self._run.log({**values, **at})

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        self._run.log({name: self._image(_bytes(image)), "epoch/epoch": step})

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow:
    """MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME; without them where `mlflow ui` in the same folder looks."""

    def __init__(self, run: Run):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client, self._metric = MlflowClient(), Metric
        self._id, known = own_run(run, "mlflow", lambda: self._begun(run))
        if known:
            self._client.update_run(self._id, status="RUNNING")
            return
        params = [Param(key, str(value)) for key, value in _flat(run.config).items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._id, params=params[first:first + _MOST_PARAMS])

    def _begun(self, run: Run) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        return self._client.create_run(experiment, run_name=_name(run)).info.run_id

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._id, [self._metric(name, value, now, step) for name, value in values.items()])

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        self._client.log_image(self._id, _bytes(image), key=name.replace("/", "_"), step=step)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


class Trackio:
    """TRACKIO_DIR, TRACKIO_SPACE_ID ...; `trackio show --project wedefense` shows them."""

    def __init__(self, run: Run):
        import trackio

        self._image = trackio.Image
        identity, _ = own_run(run, "trackio")  # in the name, by which trackio finds a run again
        self._run: Any = trackio.init(project=_PROJECT, name=f"{_name(run)}-{identity}", config=run.config,
                                      resume="allow")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        self._run.log({name: self._image(_bytes(image))}, step=step)

    def close(self, failed: bool) -> None:
        self._run.finish()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """
    >>> _flat({"seed": 42, "model_args": {"heads": 8}})
    {'seed': 42, 'model_args.heads': 8}
    """
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def _bytes(image: np.ndarray) -> np.ndarray:
    """(height, width) from 0 to 1 -> (height, width, 3) from 0 to 255"""
    return np.repeat((255 * np.clip(image, 0, 1)).round().astype(np.uint8)[..., None], 3, axis=2)
