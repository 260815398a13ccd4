"""Options of the training modes, and the table of their names."""

from dataclasses import dataclass

from wedefense.config.pruning import PruningOptions
from wedefense.config.registry import Registry, Row

STANDARD, PRUNING = "standard", "pruning"


@dataclass(frozen=True)
class ModeOptions:
    """What is trained is said by the front-end's `frozen` and by `scheduler_args` alone."""


MODES = Registry("training mode", {
    "standard": Row("wedefense.train.modes:Mode", ModeOptions),
    "pruning": Row("wedefense.train.prune:Prune", PruningOptions),  # chosen by use_pruning_loss
}, "modes")
