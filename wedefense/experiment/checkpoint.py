"""Checkpoints: weights by epoch for people, `last.ckpt` for an exact resume."""

import errno
import json
import os
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense.config.tree import from_plain
from wedefense.config.typed import build, plain
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write

LAST = "last.ckpt"
_EPOCH_FILE = re.compile(r"^model_(\d+)\.pt$")


def save(path: str | os.PathLike, state: object) -> None:
    """Written beside `path`, flushed and renamed over it: whole or not at all, whatever happens."""
    try:
        with atomic_write(path) as stream:
            torch.save(state, stream)
    except (OSError, RuntimeError) as error:
        # a RuntimeError of torch has no errno
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise InputError(f"{path}: the disk is full; the previous checkpoint is untouched. "
                             "Free some space and rerun the same command to go on") from None
        raise


def load(path: str | os.PathLike) -> object:
    """Tensors and plain containers only; nothing in the file is executed."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a checkpoint that can be read safely ({reason})") from None


def load_weights(module: nn.Module, weights: dict[str, Tensor], source: str | os.PathLike,
                 load=nn.Module.load_state_dict) -> None:
    """Strict loading whose error names the first tensor that differs, and why."""
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            near = _renamed(name, weights, own)
            raise InputError(f"{source}: tensor '{name}' is missing{near}; the checkpoint is of another architecture "
                             "than the config describes")
        if weights[name].shape != tensor.shape:
            raise InputError(f"{source}: tensor '{name}' has shape {tuple(weights[name].shape)}, the config's model "
                             f"wants {tuple(tensor.shape)}; the checkpoint is of another architecture")
    for name in weights:
        if name not in own:
            raise InputError(f"{source}: tensor '{name}' is not part of the config's model; "
                             "the checkpoint is of another architecture")
    load(module, weights)


def _renamed(name: str, weights: dict, own: dict) -> str:
    strangers = [n for n in weights if n not in own and weights[n].shape == own[name].shape]
    return f" (the file has '{strangers[0]}')" if strangers else ""


def save_architecture(exp_dir: str | os.PathLike, detector: nn.Module) -> None:
    """`frontend.json`: the shape of an SSL front-end, so that the experiment loads without its pretrained file."""
    architecture = detector.frontend.architecture
    if architecture is not None:
        with atomic_write(Path(exp_dir) / "frontend.json", "w") as stream:
            json.dump(plain(architecture), stream)


def load_architecture(exp_dir: str | os.PathLike) -> Architecture | None:
    path = Path(exp_dir) / "frontend.json"
    if not path.is_file():
        return None
    return build(Architecture, from_plain(json.loads(path.read_text(encoding="utf-8")), str(path)), source=str(path))


def model_path(exp_dir: str | os.PathLike, epoch: int) -> Path:
    return Path(exp_dir) / "models" / f"model_{epoch}.pt"


def saved_epochs(exp_dir: str | os.PathLike) -> list[int]:
    """Epochs whose weights lie in the experiment, ascending, whatever else lies there."""
    folder = Path(exp_dir) / "models"
    if not folder.is_dir():
        return []
    return sorted(int(m.group(1)) for m in map(_EPOCH_FILE.match, os.listdir(folder)) if m)


def average(exp_dir: str | os.PathLike, epochs: list[int]) -> dict[str, Tensor]:
    """The mean of the weights of the given epochs, summed in float64; integer buffers from the last."""
    if not epochs:
        raise InputError(f"{exp_dir}: no models/model_<epoch>.pt to average; train first (stage 3)")
    total: dict[str, Tensor] = {}
    for epoch in epochs:
        path = model_path(exp_dir, epoch)
        weights = load(path)
        if total and weights.keys() != total.keys():
            odd = sorted(weights.keys() ^ total.keys())[0]
            raise InputError(f"{path}: tensor '{odd}' is not in every epoch; these checkpoints are of different models")
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                total[name] = total.get(name, 0) + tensor.double()
            else:
                total[name] = tensor
    return {name: (tensor / len(epochs)).to(weights[name].dtype) if weights[name].is_floating_point() else tensor
            for name, tensor in total.items()}


def epochs_to_average(config) -> list[int]:
    """The last `num_avg` saved epochs, or the best ones by the monitored metric of validation."""
    epochs = saved_epochs(config.exp_dir)
    if config.use_pruning_loss:  # before the target stands still, each epoch has another sparsity
        epochs = [epoch for epoch in epochs if epoch > config.sparsity_warmup_epochs] or epochs[-1:]
    if config.average == "best":
        history = Path(config.exp_dir) / "history.json"
        rows = json.loads(history.read_text(encoding="utf-8"))["rows"] if history.is_file() else []
        metric = config.monitor if config.monitor == "train_loss" else f"val_{config.monitor}"
        values = {row["epoch"]: row[metric] for row in rows if metric in row and row["epoch"] in epochs}
        if not values:
            raise InputError(f"average: best: no {metric} in {history}; validate in training or use --average last")
        epochs = sorted(sorted(values, key=values.get, reverse=config.monitor == "accuracy")[:config.num_avg])
    return epochs[-config.num_avg:]
