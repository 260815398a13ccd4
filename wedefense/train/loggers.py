"""Where the curves of a training go: TensorBoard, trackers, what installed plug-ins offer, classes of one's own.

A logger is a class made with a `Run`. One that fails is told of and left out; the training goes on.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from wedefense.config.components import origin
from wedefense.config.registry import found
from wedefense.config.schema import Config
from wedefense.config.typed import to_builtin
from wedefense.experiment.folder import ExperimentFolder
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.log import get_logger

GROUP = "wedefense.loggers"  # of entry points
_TRACKERS = "wedefense.train.trackers"
_OWN = {"tensorboard": f"{__name__}:TensorBoard", "wandb": f"{_TRACKERS}:Wandb", "mlflow": f"{_TRACKERS}:MLflow",
        "trackio": f"{_TRACKERS}:Trackio"}  # trackers by the name of the package that they take


class Run(NamedTuple):
    """What a logger is made with."""

    folder: Path             # of the experiment
    config: dict[str, Any]   # all of it, as YAML has it
    step: int                # done before, where a training goes on


class Logger(Protocol):
    """Steps are those of the optimiser for `train/...`, epochs for all else."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """What is known at a step, all of `train/...` or all of `epoch/...`."""

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """(height, width), from 0 to 1."""

    def close(self, failed: bool) -> None:
        """`failed`: an error or an interrupt ended the training."""


class TensorBoard:
    """`tensorboard --logdir exp` shows them."""

    def __init__(self, run: Run):
        from torch.utils.tensorboard import SummaryWriter

        # Of another start what comes after `step` is hidden, for it comes again; so does the point of an epoch that
        # was not saved, and `tensorboard` takes the later of two.
        self._writer = SummaryWriter(ExperimentFolder(run.folder).tensorboard, purge_step=run.step + 1)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a checkpoint is saved next, and nothing before it is trained again

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        self._writer.add_image(name, image, step, dataformats="HW")
        self._writer.flush()

    def close(self, failed: bool) -> None:
        self._writer.close()


def logger_class(name: str) -> Callable[[Run], Logger]:
    """By its name, that of an installed plug-in, or package.module:Class."""
    plugins = {point.name: point.value for point in entry_points(group=GROUP)}
    target = _OWN.get(name) or plugins.get(name) or name
    if target.startswith(_TRACKERS) and find_spec(name) is None:
        raise InputError(f"loggers: '{name}' takes the package {name}, which is not installed: pip install {name}")
    if ":" not in target:
        raise InputError(f"loggers: unknown logger '{name}'{did_you_mean(name, (*_OWN, *plugins))}; a class of your "
                         "own is named as package.module:Class")
    return found(target, "logger")


def known() -> Iterator[tuple[str, str, str]]:
    """(name, target, where it comes from) of each; nowhere: of WeDefense."""
    yield from ((name, target, "") for name, target in _OWN.items())
    yield from ((point.name, point.value, origin(point)) for point in entry_points(group=GROUP))


class Loggers:
    """All loggers of a training, as one."""

    def __init__(self, config: Config, folder: ExperimentFolder, step: int):
        self._loggers: dict[str, Logger] = {}
        run = Run(folder.root, to_builtin(config), step)
        for name in config.loggers:
            self._unless_it_fails(name, self._begin, name, logger_class(name), run)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, logger in list(self._loggers.items()):
            self._unless_it_fails(name, logger.scalars, values, step)

    def images(self, images: Mapping[str, np.ndarray], step: int) -> None:
        for image in images:
            for name, logger in list(self._loggers.items()):
                self._unless_it_fails(name, logger.image, image, images[image], step)

    def close(self, failed: bool) -> None:
        for name, logger in list(self._loggers.items()):
            self._unless_it_fails(name, logger.close, failed)

    def _begin(self, name: str, cls: Callable[[Run], Logger], run: Run) -> None:
        self._loggers[name] = cls(run)

    def _unless_it_fails(self, name: str, call: Callable, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # of any library, a network that is down: no reason to lose a training
            get_logger().warning("logger '%s' fails and is left out from here on: %s: %s", name, type(error).__name__,
                                 error)
            self._loggers.pop(name, None)

