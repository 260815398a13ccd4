"""A detector as a folder that can be uploaded to a hub as it is, and loads from there or from anywhere."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import save as safetensors_bytes

from wedefense.config.frontend import FRONTENDS
from wedefense.config.typed import to_builtin
from wedefense.detect.export import export
from wedefense.detect.frame_threshold import save_thresholds
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector, results_of
from wedefense.experiment import checkpoint
from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.models.detector import public_weights
from wedefense.report.hub_card import About, write_hub_card
from wedefense.report.model_card import DESCRIPTION, RUNS
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write, portable_path
from wedefense.utils.hub import Push, push_folder, require_token

# Of an older model, where the new one has none: what would then be taken for a part of the new one.
REPLACED = (*(path.as_posix() for path in (NAMES.architecture, NAMES.calibration, NAMES.frame_thresholds)),
            DESCRIPTION, *RUNS)


def push(model: LoadedDetector, asked: Push, about: About, onnx: bool = False) -> str:
    """Its shared folder as one commit on a hub; where that can be looked at."""
    require_token(asked)
    with tempfile.TemporaryDirectory(prefix="wedefense-push-") as folder:
        share(model, folder, about, onnx, asked.hub_id)
        return push_folder(Path(folder), asked, REPLACED)


def share(model: LoadedDetector, out: str | os.PathLike, about: About, onnx: bool = False,
          hub_id: str = "") -> tuple[list[str], Path]:
    """`write_folder`, with an ONNX file if wanted and a card; a line for each file of weights, and the card's path."""
    lines = [write_folder(model, out)]
    if onnx:
        lines += [file.summary() for file in export(model, out, "onnx")[1:]]
    folder = ExperimentFolder(out)
    return lines, write_hub_card(folder, results_of(model) or folder, lines, about, hub_id, model.remark)


def write_folder(model: LoadedDetector, out: str | os.PathLike) -> str:
    """Config, labels, weights and calibration under `out`, loaded back and compared; what was written, in a line.

    No path of the machine that the model was trained on goes along.
    """
    out = ExperimentFolder(out)
    if model.config is None:
        raise InputError(f"{model.weights}: a published checkpoint of no experiment; share the file as it is")
    if out.models.exists():
        raise InputError(f"{out}: an experiment lies here, which the shared form would overwrite; choose another "
                         "folder")
    kind = model.config.dataset_args.frontend
    if not FRONTENDS.row(kind).self_contained and model.detector.frontend.architecture is None:
        raise InputError(f"a detector with the front-end {kind} cannot be shared as a folder: {kind} builds its model "
                         "from its own checkpoint, and the folder would not hold that")
    out.root.mkdir(parents=True, exist_ok=True)
    config = portable(to_builtin(model.config)) | {"exp_dir": Path(model.config.exp_dir).name}
    with atomic_write(out.config, "w") as stream:
        yaml.safe_dump(config, stream, sort_keys=False, allow_unicode=True)
    model.labels.save(out.labels)
    checkpoint.save_architecture(out, model.detector)
    if model.calibration is not None:
        replace(model.calibration, of=None).save(out.calibration)  # the weights take another form here
    if model.frame_thresholds:
        save_thresholds(out, model.frame_thresholds)
    else:
        out.frame_thresholds.unlink(missing_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in public_weights(model.detector).items()}
    with atomic_write(out.shared) as stream:
        stream.write(safetensors_bytes(weights))
    difference = _difference(model, load_detector(out, trust=True))
    if difference > 0:
        raise InputError(f"{out}: loaded back, it differs from {model.weights} by {difference:.2g}; do not share it")
    return f"`{NAMES.shared}`: {out.shared.stat().st_size / 1e6:.1f} MB; loaded back, it gives the same outputs"


def portable(tree):
    """A config of portable paths."""
    if isinstance(tree, dict):
        return {key: portable(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [portable(value) for value in tree]
    return portable_path(tree) if isinstance(tree, str) else tree


def _numbers(calibration: Calibration | None) -> Calibration | None:
    return calibration and replace(calibration, of=None)


def _difference(model: LoadedDetector, other: LoadedDetector) -> float:
    wav = 0.1 * np.random.default_rng(0).standard_normal(3 * model.input_policy.rate).astype(np.float32)
    one, two = (np.concatenate(part.embedding_and_logits(wav)) for part in (model, other.to(model.device)))
    same = (model.labels == other.labels and _numbers(model.calibration) == _numbers(other.calibration)
            and model.frame_thresholds == other.frame_thresholds)
    return float(np.nan_to_num(np.abs(one - two), nan=np.inf).max()) if same else np.inf
