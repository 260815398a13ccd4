"""Pruning an experiment that is trained already: a short training of gates alone, from its weights."""

import os

from wedefense.config.frontend import check_prunable
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.lineage import newest
from wedefense.utils.errors import InputError


def source_of(experiment: str | os.PathLike) -> ExperimentFolder:
    """The folder to start from: the experiment, or what was cut of it before."""
    folder = newest(ExperimentFolder(experiment))
    for needed in (folder.config, folder.average):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; --model names a trained experiment (stages 3 and 4 done)")
    return folder


def settings(source: ExperimentFolder, frontend: str, asked: list[str]) -> list[str]:
    """What differs from the config of the trained experiment, as `--key value`; what the user `asked` comes last."""
    try:
        check_prunable(frontend)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if not any(text.startswith("--target_") for text in asked):
        raise InputError("say how much to remove: --target_sparsity 0.3, --target_params or --target_macs")
    changes = {
        "model_init": source.average, f"dataset_args.{frontend}_args.frozen": False,
        "use_pruning_loss": True, "gates_only": True, "initial_reg_lr": 0.1,
        "num_epochs": 4, "sparsity_warmup_epochs": 2, "num_avg": 1, "average": "last", "optimizer": "AdamW",
        "save_epoch_interval": 1, "early_stop_patience": 0, "do_lm": False, "gpus": "[0]", "sharding": "none",
        "checkpoint": "null"}
    return [text for key, value in changes.items() for text in (f"--{key}", str(value))] + asked
