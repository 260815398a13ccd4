"""What a kind of training adds to the one loop: parameter groups, extra loss terms, its own saved state."""

import numpy as np
from torch import Tensor, nn

from wedefense.config.modes import MODES
from wedefense.config.schema import Config
from wedefense.data.batch import Batch
from wedefense.models.detector import Detector, Outputs
from wedefense.utils.errors import InputError


class Mode(nn.Module):
    """Train every parameter that asks for gradients, those of `frontend_modules` at `frontend_lr_ratio` of the rate.

    A mode is a module: what it learns itself (multipliers, for one) is saved and resumed with it. The detector is
    none of its parts, or its weights would be saved twice.
    """

    def __init__(self, options: object = None, detector: Detector | None = None):
        super().__init__()

    def groups(self, detector: Detector, scheduler_options) -> list[dict]:
        """Optimiser groups; each has `lr_ratio` (of the schedule) or a constant `fixed_lr`."""
        prefixes = tuple(f"{module}." for module in scheduler_options.frontend_modules)
        own: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in detector.named_parameters():
            if parameter.requires_grad:
                (own if f"{name}.".startswith(prefixes) else others).append(parameter)
        groups = [{"name": "backend", "params": others, "lr_ratio": 1.0},
                  {"name": "frontend", "params": own, "lr_ratio": scheduler_options.frontend_lr_ratio}]
        groups = [group for group in groups if group["params"]]
        if not groups:
            raise InputError("nothing to train: every parameter is frozen")
        return groups

    def before_step(self, step: int, steps_per_epoch: int) -> None:
        """Called before each optimiser step."""

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Extra terms of the loss, by name: scalars that are added to it."""
        return {}

    def encoders(self) -> list[nn.Module]:
        """Others than the detector's that hear every batch."""
        return []

    def scalars(self) -> dict[str, float]:
        """What to log beside the loss."""
        return {}

    def images(self) -> dict[str, np.ndarray]:
        """What to show of each epoch: (height, width), 0 black, 1 white."""
        return {}


def build_mode(config: Config, detector: Detector) -> Mode:
    """The mode a config asks for."""
    options = config if config.use_pruning_loss else config.mode_args  # pruning's stand at the top of a config
    return MODES.load(config.chosen_mode)(options, detector)
