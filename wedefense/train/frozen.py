"""What checkpoints leave out in training: an encoder of which nothing is trained."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from wedefense.config.frontend import PretrainedOptions
from wedefense.config.schema import Config
from wedefense.experiment import checkpoint, frozen
from wedefense.experiment.folder import ExperimentFolder
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger


class FrozenEncoder:
    """Its tensors are written once, under their fingerprint; checkpoints name it. None: everything is trained."""

    def __init__(self, config: Config, detector: nn.Module):
        self.folder, self.names = ExperimentFolder(config.exp_dir), frozen.frozen_names(detector)
        self.mark: str | None = None  # once it is known
        self.source = config.model_init or _named(config)

    def left_out(self, state: Mapping[str, Tensor], writes: bool) -> Mapping[str, Tensor]:
        """`state` as a checkpoint holds it; where this rank `writes`, the frozen part is on disk before it is."""
        if not self.names or not writes:
            return state
        tensors = self._of(state)
        if self.mark is None:
            self.mark = frozen.fingerprint(tensors)
        place = self.folder.frozen(self.mark)
        if not place.is_file():
            checkpoint.save(place, {name: tensor.detach().cpu() for name, tensor in tensors.items()})
            get_logger().info("%s: the frozen encoder, once for all checkpoints", place)
        return frozen.without(state, self.names, self.mark, self.source)

    def put_back(self, weights: Mapping[str, Tensor], path: Path, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights to go on from, whole: with the frozen part of `state`, which must be what they were trained over.

        Checkpoints that hold everything are taken as they are.
        """
        mark = frozen.mark_of(weights)
        if mark is None:
            return weights
        if not self.names:
            raise InputError(f"{path}: was trained over a frozen encoder, which this config trains; to go on from its "
                             f"weights use --model_init {shlex.quote(str(path))} and another --exp_dir")
        self.mark = mark
        if state:
            return frozen.put_back(weights, self._of(state), path, f"this training ({self.source})")
        place = self.folder.frozen(mark)  # this rank holds shares; the first one compares what was built
        return frozen.put_back(weights, checkpoint.load(place), path, str(place))

    def _of(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: state[name] for name in sorted(self.names)}


def _named(config: Config) -> str:
    options = config.dataset_args.frontend_options
    if not isinstance(options, PretrainedOptions):
        return ""
    return options.upstream_args.path_or_url or options.upstream_args.name
