"""Pruning an experiment that is trained already: a short training of gates alone, from its weights."""

from pathlib import Path

from wedefense.config.frontend import check_prunable
from wedefense.utils.errors import InputError

CUT, AVERAGE = "pruned_model", Path("models") / "avg_model.pt"


def source_of(experiment: str | Path) -> Path:
    """The folder to start from: the experiment, or what was cut of it before."""
    folder = Path(experiment)
    if (folder / CUT / "config.yaml").is_file():
        folder = folder / CUT
    for name in ("config.yaml", AVERAGE):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; --model names a trained experiment (stages 3 and 4 done)")
    return folder


def settings(source: Path, frontend: str, asked: list[str]) -> list[str]:
    """What differs from the config of the trained experiment, as `--key value`; what the user `asked` comes last."""
    try:
        check_prunable(frontend)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if not any(text.startswith("--target_") for text in asked):
        raise InputError("say how much to remove: --target_sparsity 0.3, --target_params or --target_macs")
    changes = {
        "model_init": source / AVERAGE, f"dataset_args.{frontend}_args.frozen": False,
        "use_pruning_loss": True, "gates_only": True, "initial_reg_lr": 0.1,
        "num_epochs": 4, "sparsity_warmup_epochs": 2, "num_avg": 1, "average": "last", "optimizer": "AdamW",
        "save_epoch_interval": 1, "early_stop_patience": 0, "do_lm": False, "gpus": "[0]", "sharding": "none",
        "checkpoint": "null"}
    return [text for key, value in changes.items() for text in (f"--{key}", str(value))] + asked
