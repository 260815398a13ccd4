"""Checkpoints: weights by epoch for people, and all there is for an exact resume."""

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from wedefense.experiment import frozen
from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.frontend.ssl.formats.huggingface import read_weight_file
from wedefense.frontend.ssl.formats.recorded import record_architecture
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.finite import require_finite
from wedefense.utils.tables import first_few


def save(path: str | os.PathLike, state: object) -> None:
    """Written beside `path`, flushed and renamed over it: whole or not at all, whatever happens."""
    with atomic_write(path) as stream:
        told = _Told(stream)
        try:
            torch.save(state, told)
        except RuntimeError as error:
            raise told.error or error from None


class _Told:
    """A stream that remembers what went wrong in writing: torch says something else of it."""

    error: OSError | None = None

    def __init__(self, stream):
        self._stream = stream

    def write(self, content) -> int:
        try:
            return self._stream.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._stream.flush()


def load(path: str | os.PathLike, records: bool = False) -> Any:
    """The content of a checkpoint, safetensors too; nothing in it is executed, and its numbers are finite."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint")
    content = read_weight_file(path, records)
    require_finite(content, path)
    return content


_KEYS = ("weights", "state_dict", "model", "model_state_dict", "model_weight")


def load_model(path: str | os.PathLike) -> dict[str, Tensor]:
    """The weights of a whole model: of a file of weights, of what a resume takes, or under the usual key of others.

    A frozen encoder that the file leaves out is taken from beside it.
    """
    found = trained_part(path)
    mark = frozen.mark_of(found)
    if mark is None:
        return found
    place = frozen_beside(path, mark)
    if not place.is_file():
        raise InputError(f"{path}: holds what was trained and not its frozen encoder (from {frozen.source_of(found)}), "
                         f"which should lie in {place}; give {NAMES.average}, which is whole, or put that file back")
    return frozen.put_back(found, load(place), Path(path), str(place))


def frozen_beside(path: str | os.PathLike, mark: str) -> Path:
    """Where the frozen encoder of a checkpoint lies."""
    return Path(path).absolute().parent / NAMES.frozen(mark).name


def trained_part(path: str | os.PathLike) -> dict[str, Tensor]:
    """What a file of a model holds itself; what lies beside its tensors, like settings of Lightning, is left alone."""
    content = load(path, records=True)
    for found in (content, *(content.get(key) for key in _KEYS if isinstance(content, dict))):
        if isinstance(found, dict) and found and all(
                isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
            return found
    what = f"a dict of {first_few(map(str, content))}" if isinstance(content, dict) and content else "none"
    raise InputError(f"{path}: expected the tensors of a model by name, found {what}; give a {NAMES.average} or "
                     "another file that training wrote")


_ANOTHER = ("the checkpoint is of another architecture than the config describes; give the weights that were trained "
            "with it, or their own config")


def load_weights(module: nn.Module, weights: dict[str, Tensor], source: str | os.PathLike,
                 load=nn.Module.load_state_dict) -> None:
    """Strict loading whose error names the first tensor that differs, and why."""
    own, weights = module.state_dict(), adopted(module, weights)
    require_finite({name: weights[name] for name in own if name in weights}, source)
    for name, tensor in own.items():
        if name not in weights:
            near = _renamed(name, weights, own)
            raise InputError(f"{source}: tensor '{name}' is missing{near}; {_ANOTHER}")
        if weights[name].shape != tensor.shape:
            raise InputError(f"{source}: tensor '{name}' has shape {tuple(weights[name].shape)}, the config's model "
                             f"wants {tuple(tensor.shape)}; {_ANOTHER}")
    for name in weights:
        if name not in own:
            raise InputError(f"{source}: tensor '{name}' is not part of the config's model; "
                             f"{_ANOTHER}")
    load(module, {name: weights[name] for name in own})  # in one order: ranks that hold shares take turns by it


def adopted(module: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights`, in which each part that has an `adopt` has made up for what other toolkits keep or leave out."""
    weights = dict(weights)
    for name, part in module.named_modules():
        if isinstance(part, Adopts):
            part.adopt(weights, f"{name}." if name else "")
    return weights


@runtime_checkable
class Adopts(Protocol):
    """A part of a model whose tensors are kept otherwise elsewhere."""

    def adopt(self, weights: dict[str, Tensor], prefix: str) -> None:
        """Change `weights`, names of this part beginning with `prefix`, into those that it has."""


def _renamed(name: str, weights: dict, own: dict) -> str:
    strangers = [n for n in weights if n not in own and weights[n].shape == own[name].shape]
    return f" (the file has '{strangers[0]}')" if strangers else ""


def save_architecture(exp_dir: str | os.PathLike, detector: nn.Module) -> None:
    """The shape of an SSL front-end, so that the experiment loads without its pretrained file."""
    architecture = detector.frontend.architecture
    if architecture is not None:
        record_architecture(exp_dir, architecture)


def average(exp_dir: str | os.PathLike, epochs: list[int]) -> dict[str, Tensor]:
    """The mean of the weights of the given epochs, summed in float64; integer buffers from the last.

    It is whole: a frozen encoder, which the epochs leave out, is put back.
    """
    folder = ExperimentFolder(exp_dir)
    if not epochs:
        raise InputError(f"{folder}: no {NAMES.epoch('<epoch>')} to average; train first (stage 3)")
    total: dict[str, Tensor] = {}
    for epoch in epochs:
        path = folder.epoch(epoch)
        weights = trained_part(path)
        if total and weights.keys() != total.keys():
            odd = sorted(weights.keys() ^ total.keys())[0]
            raise InputError(f"{path}: tensor '{odd}' is not in every epoch; these checkpoints are of different models")
        if total and frozen.mark_of(weights) != frozen.mark_of(total):
            raise InputError(f"{path}: its frozen encoder is another than that of epoch {epochs[0]}")
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                total[name] = total.get(name, 0) + tensor.double()
            else:
                total[name] = tensor
    mean = {name: (tensor / len(epochs)).to(weights[name].dtype) if weights[name].is_floating_point() else tensor
            for name, tensor in total.items()}
    mark = frozen.mark_of(mean)
    return mean if mark is None else frozen.put_back(mean, load(folder.frozen(mark)), path, str(folder.frozen(mark)))
