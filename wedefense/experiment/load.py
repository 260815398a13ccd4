"""From the folder of a trained experiment to its detector."""

import os
from dataclasses import dataclass
from pathlib import Path

from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint
from wedefense.experiment.folder import ExperimentFolder
from wedefense.frontend.ssl.formats.huggingface import read_weight_file
from wedefense.frontend.ssl.formats.recorded import architecture_of_weights
from wedefense.models.detector import Detector, build_detector, own_weights
from wedefense.utils.errors import InputError


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
    folder = ExperimentFolder(exp_dir)
    if weights is None:
        folder = folder.newest
    for needed in (folder.config, folder.labels):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; {folder} is not a trained experiment (run stage 3)")
    path = Path(weights) if weights else folder.shared if folder.shared.is_file() else folder.average
    if not path.is_file():
        raise InputError(f"{path}: no such file; run stage 4 to average the epochs")
    config, labels = load_config(folder.config), Labels.load(folder.labels)
    return build_experiment(config, labels, path, architecture_of_weights(path))


def build_experiment(config: Config, labels: Labels, path: Path, architecture, weights=None) -> Experiment:
    """The detector that a config describes, with these weights or else those that lie at `path`."""
    detector = build_detector(config, len(labels.names), architecture)
    if weights is None:
        weights = read_weight_file(path) if path.suffix == ".safetensors" else checkpoint.load(path)
    checkpoint.load_weights(detector, own_weights(weights), path)
    return Experiment(config, labels, path, detector.eval())
