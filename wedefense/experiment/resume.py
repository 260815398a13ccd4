"""Whether a training goes on where the folder stands: decided from its record, before anything is written."""

import contextlib
import os
import shlex
from dataclasses import replace
from pathlib import Path

from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.experiment import lineage
from wedefense.experiment.folder import ExperimentFolder, folder_of
from wedefense.experiment.record import Change, changes, read
from wedefense.experiment.records import code_state, read_history
from wedefense.utils.errors import InputError
from wedefense.utils.fingerprint import of_sources
from wedefense.utils.log import get_logger

log = get_logger()


def settle(config: Config, ranks: int) -> "lineage.Step | None":
    """The record that the training goes on under; None where all epochs are done and nothing is to be written.

    An error names every setting and every content that is another than the weights were trained with.
    """
    step, folder = lineage.training(config, ranks), ExperimentFolder(config.exp_dir)
    home = folder_of(config.checkpoint) or ExperimentFolder("") if config.checkpoint else folder
    found = read(home.training)
    if found is None or not (config.checkpoint or has_weights(folder)):
        if found is None and folder.last.is_file():
            log.warning("%s: trained by a version that kept no record of data and settings; %s is all there is to "
                        "compare with", folder, folder.config)
            refuse(home, _blocking(config, folder, changes(lineage.settings(load_config(folder.config)),
                                                           lineage.settings(config))))
        return replace(step, told=_told({}, 0, config.model_init, None))
    refuse(home, _blocking(config, folder, changes(found["inputs"], step.inputs)))
    if is_finished(folder, config) and not config.checkpoint:
        return None
    return replace(step, told=_told(found, epochs_done(folder), found.get("started_from", config.model_init),
                                    _place(config) or (read(folder.training) or {}).get("checkpoint")))


def checkpoint_to_take(config: Config) -> str | None:
    """`checkpoint`, unless this training began from it already and has a `last.ckpt` of its own to go on from."""
    folder = ExperimentFolder(config.exp_dir)
    begun = folder.last.is_file() and (read(folder.training) or {}).get("checkpoint") == _place(config)
    return None if begun else config.checkpoint


def _place(config: Config) -> str | None:
    return config.checkpoint and os.path.abspath(config.checkpoint)


def _blocking(config: Config, folder: ExperimentFolder, found: list[Change]) -> list[Change]:
    """What stands in the way; more epochs do not where no rate depends on their number."""
    done = epochs_done(folder)
    free = set()
    if not config.scheduler_args.spans_all_epochs and config.num_epochs >= done:
        free.add("num_epochs")
    if is_finished(folder, config):
        free.add("dataset_args.eval_frms")  # validation is over; stage 4 takes it from its own call
        if not config.checkpoint:  # nothing is trained, on however many ranks what follows runs
            free.add("ranks")
    return [change for change in found if change.key not in free]


def refuse(home: ExperimentFolder, blocking: list[Change]) -> None:
    if blocking:
        told = "; ".join(f"{change}{_why(change)}" for change in blocking)
        raise InputError(f"{home}: its weights were trained otherwise: {told}. Nothing was touched. Take another "
                         "--exp_dir, or begin a new training from these weights there: "
                         f"--fork {shlex.quote(f'{home}-2')}")


def _why(change: Change) -> str:
    if change.key == "num_epochs":
        return " (the schedule spreads its rates over all epochs, so that another number changes every one)"
    if change.key == "ranks" and isinstance(change.old, int):
        gpus = ",".join(map(str, range(change.old)))
        return (f" (batches, rates and the place in an epoch are those of {change.old}; as many go on: --gpus "
                f"'[{gpus}]' on one node)")
    return ""


def has_weights(folder: ExperimentFolder) -> bool:
    """Whether a training left any; before the first ones its settings bind nobody."""
    return folder.last.is_file() or bool(folder.epochs())


def epochs_done(folder: ExperimentFolder) -> int:
    history = known_history(folder)
    return history["rows"][-1]["epoch"] if history else 0


def known_history(folder: ExperimentFolder) -> dict | None:
    """None for a broken one too, which a resume writes again."""
    with contextlib.suppress(InputError):
        return read_history(folder)
    return None


def is_finished(folder: ExperimentFolder, config: Config) -> bool:
    return folder.last.is_file() and folder.epoch(config.num_epochs).is_file() and epochs_done(
        folder) >= config.num_epochs


def _told(found: dict, done: int, started_from: str | None, checkpoint: str | None) -> dict:
    """Which weights or checkpoint it began with, and which code trained from which epoch on; one that changed under a
    training is spoken of.
    """
    before = list(found.get("code", []))
    now = code_state() | {"sources": of_sources()}
    if before and before[-1]["sources"] != now["sources"]:
        log.warning("the code is another than what trained so far (%s, now %s); it goes on, and record, report and "
                    "card say from which epoch", before[-1]["version"], now["version"])
    if not before or before[-1]["sources"] != now["sources"]:
        before.append({"from_epoch": done + 1} | now)
    began = {"started_from": started_from, "checkpoint": checkpoint}
    return {"code": before} | {key: place for key, place in began.items() if place}


def newest_weights(exp_dir: str | Path) -> Path:
    """Of the last epoch that was kept, to begin a new training from."""
    folder = ExperimentFolder(exp_dir)
    if not (epochs := folder.epochs()):
        raise InputError(f"{folder}: no epoch to fork from; --exp_dir is the folder that has the weights, --fork "
                         "where the new training goes. Without weights leave --fork out")
    return folder.epoch(epochs[-1])
