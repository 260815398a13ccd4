"""From the folder of a trained experiment to its detector."""

import os
from dataclasses import dataclass
from pathlib import Path

from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint
from wedefense.frontend.ssl.formats.huggingface import read_weight_file
from wedefense.models.detector import Detector, build_detector, own_weights
from wedefense.utils.errors import InputError

AVERAGE = Path("models") / "avg_model.pt"
WEIGHTS = "model.safetensors"  # of a folder made to be shared
CUT = "pruned_model"


@dataclass
class Experiment:
    """A trained experiment folder, loaded."""

    config: Config
    labels: Labels
    weights: Path
    detector: Detector


def load_experiment(exp_dir: str | os.PathLike, weights: str | os.PathLike | None = None) -> Experiment:
    """Rebuild the detector of an experiment folder from its config, labels and averaged weights.

    A pruned training is loaded as it was cut, unless other `weights` are named.
    """
    folder = Path(exp_dir)
    if weights is None and (folder / CUT / "config.yaml").is_file():
        folder = folder / CUT
    for name, stage in (("config.yaml", 3), ("label2id", 3)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; {folder} is not a trained experiment (run stage {stage})")
    shared = folder / WEIGHTS
    path = Path(weights) if weights else shared if shared.is_file() else folder / AVERAGE
    if not path.is_file():
        raise InputError(f"{path}: no such file; run stage 4 to average the epochs")
    config, labels = load_config(folder / "config.yaml"), Labels.load(folder / "label2id")
    return build_experiment(config, labels, path, _architecture(path))


def _architecture(weights: Path):
    """Of the front-end: noted by the experiment the weights lie in."""
    for folder in weights.absolute().parents[:2]:
        if (found := checkpoint.load_architecture(folder)) is not None:
            return found
    return None


def build_experiment(config: Config, labels: Labels, path: Path, architecture, weights=None) -> Experiment:
    """The detector that a config describes, with these weights or else those that lie at `path`."""
    detector = build_detector(config, len(labels.names), architecture)
    if weights is None:
        weights = read_weight_file(path) if path.suffix == ".safetensors" else checkpoint.load(path)
    checkpoint.load_weights(detector, own_weights(weights), path)
    return Experiment(config, labels, path, detector.eval())
