"""What a Python user calls."""

import os
from dataclasses import dataclass
from pathlib import Path

from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.models.detector import Detector, build_detector, own_weights
from wedefense.scoring.llr import Labels
from wedefense.train import checkpoint
from wedefense.utils.errors import InputError


@dataclass
class Experiment:
    """A trained experiment folder, loaded."""

    config: Config
    labels: Labels
    weights: Path
    detector: Detector


def load_experiment(exp_dir: str | os.PathLike, weights: str | os.PathLike | None = None) -> Experiment:
    """Rebuild the detector of an experiment folder from its config, labels and averaged weights."""
    folder = Path(exp_dir)
    for name, stage in (("config.yaml", 3), ("label2id", 3)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; {folder} is not a trained experiment (run stage {stage})")
    config = load_config(folder / "config.yaml")
    labels = Labels.load(folder / "label2id")
    path = Path(weights) if weights else folder / "models" / "avg_model.pt"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run stage 4 to average the epochs")
    detector = build_detector(config, len(labels.names), checkpoint.load_architecture(folder))
    checkpoint.load_weights(detector, own_weights(checkpoint.load(path)), path)
    return Experiment(config, labels, path, detector.eval())


def load_detector(exp_dir: str | os.PathLike, weights: str | os.PathLike | None = None) -> Detector:
    """The trained detector of an experiment folder, in evaluation mode."""
    return load_experiment(exp_dir, weights).detector
