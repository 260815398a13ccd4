"""Options of pruning; the YAML keys stand at the top level of a config, as in published recipes."""

from dataclasses import dataclass
from typing import Literal

from wedefense.utils.checks import at_least, positive
from wedefense.utils.errors import OptionError

Schedule = Literal["linear", "cosine", "exponential", "sigmoid"]


@dataclass(frozen=True)
class DropRates:
    """How closed the gates of each kind of unit are at the start."""

    conv: float = 0.01      # channels of the convolutions
    head: float = 0.01      # attention heads
    attlayer: float = 0.01  # whole attention sublayers
    interm: float = 0.5     # hidden units of the feed-forwards
    ffnlayer: float = 0.01  # whole feed-forwards

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            if not 0 < getattr(self, name) < 1:
                raise OptionError(name, f"must lie between 0 and 1, both excluded, got {getattr(self, name)}")


@dataclass(frozen=True)
class DistillOptions:
    """Extra terms of the loss that hold the pruned model near to the unpruned one it started as; 0: none.

    They cost a forward pass of the unpruned model for each batch.
    """

    layers: float = 0.0       # weight of the relative squared distance of the front-end's layers
    logits: float = 0.0       # weight of the divergence of the classes; needs model_init, a trained start
    temperature: float = 2.0  # by which logits are divided before they are compared

    def __post_init__(self):
        at_least(self, 0, "layers", "logits")
        positive(self, "temperature")

    @property
    def wanted(self) -> bool:
        return bool(self.layers or self.logits)


@dataclass(frozen=True)
class PruningOptions:
    """Which units of the encoder stay is learnt with the weights (`use_pruning_loss: True`).

    Sparsity is the fraction of the encoder that is removed: 0.1 removes 10 % and keeps 90 %.
    """

    use_pruning_loss: bool = False       # learn which units of the SSL front-end to remove
    target_sparsity: float = 0.0         # the fraction of the parameters to remove
    target_params: float | None = None   # instead: parameters that the encoder may keep
    target_macs: float | None = None     # instead: multiply-adds that 2 s of audio may cost in the encoder
    initial_reg_lr: float = 5e-2         # learning rate of gates and multipliers, constant
    sparsity_warmup_epochs: float = 5    # the target rises over so many epochs ...
    sparsity_schedule: Schedule = "cosine"
    min_sparsity: float = 0.0            # ... from here
    initial_drop_rates: DropRates = DropRates()
    # steady: a stiff quadratic term, and l1 free near the target; released: WeDefense's, l1 (kept from 0 up), l2 alone
    constraint: Literal["steady", "released"] = "steady"
    clip_gates: bool = False             # gates count in grad_clip's norm and are scaled by it, as in WeDefense
    gates_only: bool = False             # the weights stay as they are; gates and multipliers alone are learnt
    distillation: DistillOptions = DistillOptions()  # terms that hold the pruned model near to the unpruned one

    def __post_init__(self):
        for name in ("target_sparsity", "min_sparsity"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(name, f"is the fraction to remove, from 0 up to (not including) 1, got "
                                        f"{getattr(self, name)}")
        positive(self, "initial_reg_lr", "target_params", "target_macs")
        at_least(self, 0, "sparsity_warmup_epochs")
        given = [name for name in ("target_sparsity", "target_params", "target_macs") if getattr(self, name)]
        if len(given) > 1:
            raise OptionError(given[1], f"{given[0]} is given too; one of them decides how much is removed")
        if given == ["target_sparsity"] and self.min_sparsity > self.target_sparsity:
            raise OptionError("min_sparsity", f"must not exceed target_sparsity ({self.target_sparsity}), got "
                                              f"{self.min_sparsity}")
