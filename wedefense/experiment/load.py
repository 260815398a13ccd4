"""From the folder of a trained experiment to its detector."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from wedefense.config.frontend import FRONTENDS
from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint, frozen
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.lineage import newest
from wedefense.experiment.model_config import read_model_config
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.formats.read import expected_shapes, read_checkpoint
from wedefense.frontend.ssl.formats.recorded import architecture_of_weights
from wedefense.models.detector import Detector, build_detector, own_weights
from wedefense.utils.errors import InputError, blamed_on, of_paths


@dataclass
class Experiment:
    """A trained experiment folder, loaded."""

    config: Config
    labels: Labels
    weights: Path
    detector: Detector


@of_paths()
def load_experiment(exp_dir: str | os.PathLike, weights: str | os.PathLike | None = None,
                    trust: bool = False) -> Experiment:
    """Rebuild the detector of an experiment folder from its config, labels and averaged weights.

    A pruned training is loaded as it was cut, unless other `weights` are named. `trust`: the folder is one's own, and
    its config may name code and files elsewhere (see `wedefense.experiment.model_config`).
    """
    folder = ExperimentFolder(exp_dir)
    if weights is None:
        folder = newest(folder)
    for needed in (folder.config, folder.labels):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; {folder} is not a trained experiment (run stage 3)")
    path = Path(weights) if weights else folder.shared if folder.shared.is_file() else folder.average
    if not path.is_file():
        raise InputError(f"{path}: no such file; run stage 4 to average the epochs, or `wedefense average --config "
                         f"{folder.config}`")
    architecture = architecture_of_weights(path)
    config = read_model_config(folder.config, architecture is not None, trust)
    return build_experiment(config, Labels.load(folder.labels), path, architecture)


def build_experiment(config: Config, labels: Labels, path: Path, architecture, weights=None) -> Experiment:
    """The detector that a config describes, with these weights or else those that lie at `path`."""
    with blamed_on(path, "model of its config"):
        if weights is None:
            weights = _whole(path, config, len(labels.names))
        detector = build_detector(config, len(labels.names), architecture)
        checkpoint.load_weights(detector, own_weights(weights), path)
    return Experiment(config, labels, path, detector.eval())


def _whole(path: Path, config: Config, classes: int) -> dict[str, Tensor]:
    """The weights at `path`; a frozen encoder that they leave out is that of the experiment, or else of the config."""
    found = checkpoint.trained_part(path)
    mark = frozen.mark_of(found)
    if mark is None or checkpoint.frozen_beside(path, mark).is_file():
        return checkpoint.load_model(path)
    detector = build_detector(config, classes)
    names, state = frozen.frozen_names(detector), detector.state_dict()
    tensors = {name: state[name] for name in sorted(names)}
    return frozen.put_back(found, tensors, path, "the encoder that its config names")


def architecture_in(path: Path, config: Config) -> Architecture | None:
    """Of the native encoder in a checkpoint; None where the front-end has none, or has to be made to know it."""
    data = config.dataset_args
    if not FRONTENDS.row(data.frontend).shape_in_weights:
        return None
    upstream = data.frontend_options.upstream_args
    if not FRONTENDS.load(data.frontend).is_native(upstream.name):
        return None
    found = read_checkpoint(path, upstream.name).architecture
    if upstream.path_or_url and Path(upstream.path_or_url).exists():  # the file it began as may know more than tensors
        told = read_checkpoint(upstream.path_or_url, upstream.name).architecture
        if expected_shapes(told) == expected_shapes(found):
            return replace(told, final_norm=found.final_norm)
    return found
