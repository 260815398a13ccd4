"""Read a pretrained encoder from any file of the field, told apart by what is in it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.formats.fairseq import fairseq_architecture, is_fairseq, read_fairseq
from wedefense.frontend.ssl.formats.huggingface import (
    FAMILIES,
    WEIGHT_FILES,
    hf_architecture,
    read_weight_file,
    read_weights,
)
from wedefense.frontend.ssl.formats.recorded import architecture_of_weights
from wedefense.frontend.ssl.formats.tensor_names import Naming, drop_lost_bias, infer_architecture, locate, to_our_names
from wedefense.frontend.ssl.formats.wedefense import is_pruned, read_architecture
from wedefense.frontend.ssl.seeded import seeded_weights
from wedefense.frontend.ssl.source import find_source
from wedefense.frontend.ssl.zoo import find_model
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.finite import require_finite
from wedefense.utils.json_file import read_json
from wedefense.utils.tables import first_few

_KNOWN = ("a Hugging Face folder, s3prl's conversions, WavLM's release, a fairseq release, a torchaudio state dict, "
          "WeDefense's {state_dict, config} or a checkpoint of an experiment")


@dataclass(frozen=True)
class Checkpoint:
    """An encoder as it lies on disk."""

    architecture: Architecture
    state_dict: dict[str, Tensor]  # float32, under our names
    format: str                    # "Hugging Face", "s3prl", "fairseq (args)", ...
    source: str                    # the file or folder
    remark: str = ""               # what the file does not say and had to be inferred

    @property
    def family(self) -> str:
        return self.architecture.family


def read_checkpoint(path: str | os.PathLike, name: str | None = None) -> Checkpoint:
    """Read a file or folder. `name`: the table's name of the model, for files that hold tensors alone."""
    with blamed_on(path, "encoder"):
        return _read(Path(path), name)


def _read(path: Path, name: str | None) -> Checkpoint:
    if path.is_dir():
        return _read_folder(path, name)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    config = path.parent / "config.json"
    content = read_weight_file(path)
    if path.name in WEIGHT_FILES and config.is_file() and not is_pruned(content) and not _of_detector(content, config):
        return _read_hugging_face(path.parent, content)
    return _read_content(content, str(path), name)


def _read_folder(folder: Path, name: str | None) -> Checkpoint:
    if (folder / "config.json").is_file():
        weights = read_weights(folder)
        if is_pruned(weights) or _of_detector(weights, folder / "config.json"):
            return _read_content(weights, str(folder), name)
        return _read_hugging_face(folder, weights)
    for file in WEIGHT_FILES:
        if (folder / file).is_file():
            return read_checkpoint(folder / file, name)
    raise InputError(f"{folder}: no model in this folder (expected config.json with {' or '.join(WEIGHT_FILES)}, or "
                     "give the checkpoint file itself)")


def _of_detector(weights: Mapping, config: Path) -> bool:
    """Whether a whole detector's tensors lie beside a config that is not of its encoder."""
    found = locate(weights)
    return found is not None and found[1] != "" and read_json(config).get("model_type") not in FAMILIES


def _read_hugging_face(folder: Path, weights: Mapping[str, Tensor]) -> Checkpoint:
    config = read_json(folder / "config.json")
    if config.get("model_type") == "whisper":
        raise InputError(f"{folder}: a Whisper model; it is read with 'frontend: whisper'")
    architecture = hf_architecture(config, folder)
    found = locate(weights)
    if found is None or found[0] != "huggingface":
        raise InputError(f"{folder}: its weights hold no {config['model_type']} encoder (expected tensors such as "
                         "'feature_projection.projection.weight')")
    return _finished(to_our_names(weights, *found, str(folder)), architecture, "Hugging Face", str(folder))


def _read_content(content, source: str, name: str | None) -> Checkpoint:
    if is_pruned(content):
        return _read_wedefense(content, source)
    if is_fairseq(content):
        tensors, settings, kind = read_fairseq(content, source)
        found = _located(tensors, source)
        architecture = fairseq_architecture(settings, tensors, source)
        return _finished(to_our_names(tensors, *found, source), architecture, kind, source)
    tensors = find_tensors(content, source)
    naming, prefix = _located(tensors, source)
    state = to_our_names(tensors, naming, prefix, source)
    drop_lost_bias(state)
    kind = {"torchaudio": "torchaudio", "fairseq": "fairseq tensors", "huggingface": "Hugging Face tensors"}[naming]
    if ".upstream." in f".{prefix}":
        kind = "WeDefense experiment"
    recorded = architecture_of_weights(Path(source)) if kind == "WeDefense experiment" else None
    if isinstance(recorded, Architecture):
        return _finished(state, recorded, "experiment", source)
    architecture, remark = _bare_architecture(state, naming, prefix, source, name)
    if prefix.removesuffix("ssl_model.model.") + "fc0.weight" in tensors:  # SLS takes the blocks' outputs as they are
        architecture = replace(architecture, final_norm=False)
    return _finished(state, architecture, kind, source, remark)


def _bare_architecture(state, naming: str, prefix: str, source: str, name: str | None) -> tuple[Architecture, str]:
    """The architecture of tensors without a config, and what had to be assumed for it."""
    architecture = infer_architecture(state, source)
    model = find_model(name) if name else None
    remark = "no config in the file: architecture inferred from the tensors"
    shapes, beside = {key: value.shape for key, value in state.items()}, Path(source).parent / "config.json"
    if model is not None and expected_shapes(model.architecture) == shapes:
        architecture, remark = model.architecture, f"no config in the file: architecture of '{model.name}'"
    elif naming == "huggingface" and beside.is_file() and read_json(beside).get("model_type") in FAMILIES:
        told = hf_architecture(read_json(beside), beside.parent)
        if expected_shapes(told) == shapes:
            return told, "no config in the file: architecture of the config.json beside it"
    if prefix.endswith(("m_ssl.model.", "ssl_model.model.", "backbone.ssl_model.")):  # as `published_forms` has it
        architecture = replace(architecture, normalize_waveform=prefix.endswith("m_ssl.model."))
    if prefix.endswith("upstream.") and naming == "torchaudio":  # WeDefense's Hugging Face front-end
        architecture = replace(architecture, final_norm=False)
    return architecture, remark


def _read_wedefense(content: Mapping, source: str) -> Checkpoint:
    tensors = content["state_dict"]
    state = to_our_names(tensors, *_located(tensors, source), source)
    relative = drop_lost_bias(state)
    scaled = "feature_extractor.dummy_weight" in state
    architecture = read_architecture(content, scaled, relative, source)
    whole = all(len(block.heads) == architecture.total_heads and block.ff_dim for block in architecture.blocks)
    kind = "WeDefense" if whole and len({block.ff_dim for block in architecture.blocks}) == 1 else "WeDefense (pruned)"
    return _finished(state, architecture, kind, source)


def find_tensors(content, source: str) -> Mapping[str, Tensor]:
    """The state dict in a checkpoint: the content itself, or what lies under one of the usual keys."""
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content.get(key) for key in ("state_dict", "model", "model_state_dict", "model_weight")]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and any(isinstance(value, Tensor) for value in candidate.values()):
            return candidate
    what = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        what = f"a dict of {first_few(map(str, content))}" if content else "an empty dict"
    raise InputError(f"{source}: {what} holds no tensors of an encoder (expected {_KNOWN})")


def _located(tensors: Mapping[str, Tensor], source: str) -> tuple[Naming, str]:
    found = locate(tensors)
    if found is None:
        raise InputError(f"{source}: no encoder of the wav2vec 2.0 family among its tensors "
                         f"({first_few(map(str, tensors))}); expected {_KNOWN}")
    return found


def expected_shapes(architecture: Architecture) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in Encoder(architecture).state_dict().items()}


def _finished(state: dict[str, Tensor], architecture: Architecture, kind: str, source: str,
              remark: str = "") -> Checkpoint:
    """Check every tensor against the architecture, and make them float32."""
    expected = expected_shapes(architecture)
    what = f"{architecture.family} encoder of {architecture.num_blocks} blocks"
    missing = [key for key in expected if key not in state]
    if missing:
        raise InputError(f"{source}: {len(missing)} of {len(expected)} tensors of a {what} are missing: "
                         f"{first_few(missing)} (by our names)")
    extra = [key for key in state if key not in expected]
    if extra:
        raise InputError(f"{source}: a {what} as its config describes has no {first_few(extra)}")
    for key, shape in expected.items():
        if state[key].shape != shape:
            raise InputError(f"{source}: '{key}' has shape {tuple(state[key].shape)}, expected {tuple(shape)} for "
                             f"this {what}")
    require_finite({key: state[key] for key in expected}, source)
    return Checkpoint(architecture, {key: state[key].float() for key in expected}, kind, source, remark)


def load_encoder(checkpoint: Checkpoint, architecture: Architecture | None = None, **options) -> Encoder:
    """The encoder with the checkpoint's tensors as its weights; `options` are the encoder's own.

    `architecture`: the checkpoint's with other dropouts.
    """
    with torch.device("meta"):
        encoder = Encoder(architecture or checkpoint.architecture, **options)
    encoder.load_state_dict(checkpoint.state_dict, assign=True)
    return encoder


def find_checkpoint(name: str, path_or_url: str | None = None,
                    download_dir: str | os.PathLike | None = None) -> Checkpoint:
    """The checkpoint of a name, path, hub id or URL, fetched if need be."""
    model = find_model(name)
    if model is not None and model.seed is not None and not path_or_url:
        state = seeded_weights(expected_shapes(model.architecture), model.seed)
        return Checkpoint(model.architecture, state, "seeded random weights", model.name)
    return read_checkpoint(find_source(name, path_or_url, download_dir), name)
