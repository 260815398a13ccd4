"""A frozen encoder is written once for an experiment; its checkpoints hold what is trained and name the encoder.

The own weights of an encoder with adapters are one too.

A checkpoint of such a training has two more tensors: the fingerprint of the frozen ones (SHA-256) and, as text, where
they came from. They lie in `models/frozen_<fingerprint>.pt` and are put back when the checkpoint is read; other
tensors in that place are refused.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense.frontend.ssl.adapters import is_adapter
from wedefense.utils.errors import InputError

FINGERPRINT, SOURCE = "frozen.sha256", "frozen.source"
UPSTREAM = "frontend.upstream."


def frozen_names(detector: nn.Module) -> frozenset[str]:
    """Of the state's tensors, those of an encoder that do not change; none where it is trained itself."""
    upstream = {name: parameter for name, parameter in detector.named_parameters() if name.startswith(UPSTREAM)}
    trained = {name for name, parameter in upstream.items() if parameter.requires_grad}
    if not upstream or trained and not any(map(is_adapter, upstream)):
        return frozenset()
    if not detector.frontend.still and any(isinstance(module, nn.modules.batchnorm._BatchNorm)
                                           for module in detector.frontend.upstream.modules()):
        return frozenset()  # with frozen_dropout its statistics follow the batches
    return frozenset(name for name in detector.state_dict() if name.startswith(UPSTREAM)) - trained


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Of names, kinds, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def without(weights: Mapping[str, Tensor], names: Iterable[str], mark: str, source: str) -> dict[str, Tensor]:
    """What a checkpoint holds of `weights`: all but the frozen `names`, and what they were."""
    names = set(names)
    kept = {name: tensor for name, tensor in weights.items() if name not in names}
    return kept | {FINGERPRINT: _text(mark), SOURCE: _text(source)}


def mark_of(weights: Mapping[str, Tensor]) -> str | None:
    """The fingerprint of what was left out, None in a file that holds everything."""
    return _read(weights[FINGERPRINT]) if FINGERPRINT in weights else None


def source_of(weights: Mapping[str, Tensor]) -> str:
    return _read(weights[SOURCE]) if SOURCE in weights else "unknown"


def put_back(weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path, place: str) -> dict[str, Tensor]:
    """The whole of a checkpoint at `path`, with the frozen `tensors` of `place`, which must be those it had."""
    mark, found = mark_of(weights), fingerprint(tensors)
    if mark is None:
        return dict(weights)
    if found != mark:
        raise InputError(f"{path}: was trained over a frozen encoder of fingerprint {mark[:12]} (from "
                         f"{source_of(weights)}), but {place} has {found[:12]}: the scores would be meaningless; give "
                         "the encoder that it was trained with")
    return {name: tensor for name, tensor in weights.items() if name not in (FINGERPRINT, SOURCE)} | dict(tensors)


def _text(words: str) -> Tensor:
    return torch.tensor(list(words.encode()), dtype=torch.uint8)


def _read(letters: Tensor) -> str:
    return bytes(letters.tolist()).decode(errors="replace")
