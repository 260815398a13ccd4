"""Options of the training loop: optimisers, learning-rate and margin schedules."""

from dataclasses import dataclass
from typing import Literal

from wedefense.config.registry import KEYWORDS, Registry, Row
from wedefense.utils.checks import at_least, positive
from wedefense.utils.errors import OptionError

_COMMON = ("weight_decay", "foreach", "maximize", "capturable", "differentiable")
_ADAM = (*_COMMON, "betas", "eps", "amsgrad", "fused")

# Keyword arguments of torch.optim, so that a misspelt one is refused before torch is imported.
# LBFGS (needs a closure) and SparseAdam (needs sparse gradients) cannot train these networks.
OPTIMIZER_ARGS: dict[str, tuple[str, ...]] = {
    "ASGD": (*_COMMON, "lambd", "alpha", "t0"),
    "Adadelta": (*_COMMON, "rho", "eps"),
    "Adafactor": ("weight_decay", "foreach", "maximize", "beta2_decay", "eps", "d"),
    "Adagrad": ("weight_decay", "foreach", "maximize", "differentiable", "fused",
                "lr_decay", "initial_accumulator_value", "eps"),
    "Adam": (*_ADAM, "decoupled_weight_decay"),
    "AdamW": _ADAM,
    "Adamax": (*_COMMON, "betas", "eps"),
    "NAdam": (*_COMMON, "betas", "eps", "momentum_decay", "decoupled_weight_decay"),
    "RAdam": (*_COMMON, "betas", "eps", "decoupled_weight_decay"),
    "RMSprop": (*_COMMON, "alpha", "eps", "momentum", "centered"),
    "Rprop": ("foreach", "maximize", "capturable", "differentiable", "etas", "step_sizes"),
    "SGD": ("weight_decay", "foreach", "maximize", "differentiable", "fused",
            "momentum", "dampening", "nesterov"),
}
OPTIMIZERS = Registry("optimizer", {
    **{name: Row(f"torch.optim:{name}", KEYWORDS) for name in OPTIMIZER_ARGS},
}, "optimizers")


@dataclass(frozen=True)
class SchedulerOptions:
    """What every schedule has: the rate at the beginning and at the end, and that of the front-end."""

    initial_lr: float = 0.1
    final_lr: float = 5e-5
    warm_up_epoch: float = 6
    frontend_modules: tuple[str, ...] = ("frontend",)  # parameters whose names begin so ...
    frontend_lr_ratio: float = 1.0                     # ... learn at this multiple of the rate

    def __post_init__(self):
        positive(self, "initial_lr", "final_lr")
        at_least(self, 0, "warm_up_epoch", "frontend_lr_ratio")

    @property
    def spans_all_epochs(self) -> bool:
        """Whether the rate of a step depends on how many epochs there will be."""
        return self.initial_lr != self.final_lr


@dataclass(frozen=True)
class ExponentialDecreaseOptions(SchedulerOptions):
    """From initial_lr down to final_lr, by the same factor in each step."""

    warm_from_zero: bool = False


@dataclass(frozen=True)
class TriAngular2Options(SchedulerOptions):
    """Triangles whose peaks become lower."""

    cycle_step: int = 2
    reduce_lr_diff_ratio: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        positive(self, "cycle_step", "reduce_lr_diff_ratio")

    @property
    def spans_all_epochs(self) -> bool:
        return False


@dataclass(frozen=True)
class StepDecreaseOptions(SchedulerOptions):
    """initial_lr, times `factor` after every `every_epochs` epochs, and never below final_lr."""

    final_lr: float = 1e-10
    factor: float = 0.5
    every_epochs: int = 10

    def __post_init__(self):
        super().__post_init__()
        positive(self, "factor", "every_epochs")

    @property
    def spans_all_epochs(self) -> bool:
        return False


SCHEDULERS = Registry("scheduler", {
    "ExponentialDecrease": Row("wedefense.train.schedules:ExponentialDecrease", ExponentialDecreaseOptions),
    "TriAngular2": Row("wedefense.train.schedules:TriAngular2", TriAngular2Options),
    "StepDecrease": Row("wedefense.train.schedules:StepDecrease", StepDecreaseOptions),
}, "schedulers", SchedulerOptions)


@dataclass(frozen=True)
class MarginOptions:
    """The margin rises from `increase_start_epoch` to `fix_start_epoch` (epochs count from 1)."""

    initial_margin: float = 0.0
    final_margin: float = 0.0
    increase_start_epoch: int = 20
    fix_start_epoch: int = 40
    update_margin: bool = True
    increase_type: Literal["exp", "linear"] = "exp"
    epoch_iter: int | None = None  # written by WeSpeaker into its resolved configs; not used

    def __post_init__(self):
        at_least(self, 1, "increase_start_epoch")
        if self.fix_start_epoch < self.increase_start_epoch:
            raise OptionError("fix_start_epoch", f"must not come before increase_start_epoch "
                                                 f"({self.increase_start_epoch}), got {self.fix_start_epoch}")
