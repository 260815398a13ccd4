"""Options of the heads and losses, one dataclass each, and the tables of their names."""

import math
from dataclasses import dataclass
from typing import Literal

from wedefense.config.registry import Registry, Row
from wedefense.utils.checks import at_least, fraction, positive
from wedefense.utils.errors import OptionError


def _row(place: str, options: type) -> Row:
    return Row(f"wedefense.models.{place}", options)


@dataclass(frozen=True)
class ProjectionOptions:
    """What every head has; `margin_update` of the config moves the margin."""

    project_type: str = "softmax"
    scale: float = 32.0
    easy_margin: bool = False
    embed_dim: int | None = None  # these three are written by WeSpeaker into its resolved configs; not used
    num_class: int | None = None
    do_lm: bool = False           # large-margin fine-tuning; the config's own `do_lm` sets it

    def __post_init__(self):
        positive(self, "scale")

    @property
    def centres(self) -> int:
        """Rows of weights for each class."""
        return 1


@dataclass(frozen=True)
class SoftmaxOptions(ProjectionOptions):
    """Batch norm, ReLU and a linear layer."""

    project_type: Literal["softmax"] = "softmax"


@dataclass(frozen=True)
class LinearOptions(ProjectionOptions):
    """A linear layer alone."""

    project_type: Literal["linear"] = "linear"


@dataclass(frozen=True)
class TanhLinearOptions(ProjectionOptions):
    """Tanh and a linear layer."""

    project_type: Literal["TanhLinear"] = "TanhLinear"


@dataclass(frozen=True)
class SLSHeadOptions(ProjectionOptions):
    """The output layer of the published SLS model: log-softmax of SELU."""

    project_type: Literal["sls"] = "sls"


@dataclass(frozen=True)
class AddMarginOptions(ProjectionOptions):
    project_type: Literal["add_margin"] = "add_margin"


@dataclass(frozen=True)
class ArcMarginOptions(ProjectionOptions):
    project_type: Literal["arc_margin"] = "arc_margin"


@dataclass(frozen=True)
class InterTopKOptions(ProjectionOptions):
    """Additive angular margin with K centres per class, and a penalty on the closest wrong classes."""

    project_type: Literal["arc_margin_intertopk_subcenter"] = "arc_margin_intertopk_subcenter"
    K: int = 3
    mp: float = 0.06       # penalty angle at margin 0.2; it grows with the margin
    k_top: int = 5         # closest wrong classes to penalise, at most all of them; none with do_lm

    def __post_init__(self):
        super().__post_init__()
        positive(self, "K")
        at_least(self, 0, "mp", "k_top")

    @property
    def centres(self) -> int:
        return self.K


@dataclass(frozen=True)
class SphereOptions(ProjectionOptions):
    """Multiplicative angular margin; its margin is a whole number of its own."""

    project_type: Literal["sphere"] = "sphere"
    margin: int = 4

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.margin <= 5:
            raise OptionError("margin", f"must lie between 1 and 5, got {self.margin}")


@dataclass(frozen=True)
class SphereFace2Options(ProjectionOptions):
    """One binary classifier for each class."""

    project_type: Literal["sphereface2"] = "sphereface2"
    t: int = 3                               # exponent that spreads the cosines
    lanbuda: float = 0.7                     # weight of the own class against the others
    margin_type: Literal["A", "C"] = "C"     # C: cos(theta) - margin, A: cos(theta + margin)

    def __post_init__(self):
        super().__post_init__()
        positive(self, "t")
        fraction(self, "lanbuda")


@dataclass(frozen=True)
class P2SGradOptions(ProjectionOptions):
    """Mean squared error between cosines and the one-hot label."""

    project_type: Literal["p2sgrad", "MSEp2sgrad"] = "p2sgrad"


HEADS = Registry("projection", {
    "softmax": _row("heads:Softmax", SoftmaxOptions),
    "linear": _row("heads:Linear", LinearOptions),
    "TanhLinear": _row("heads:TanhLinear", TanhLinearOptions),
    "sls": _row("heads:SLSHead", SLSHeadOptions),
    "add_margin": _row("heads:AddMargin", AddMarginOptions),
    "arc_margin": _row("heads:ArcMargin", ArcMarginOptions),
    "arc_margin_intertopk_subcenter": _row("heads:InterTopK", InterTopKOptions),
    "sphere": _row("heads:Sphere", SphereOptions),
    "sphereface2": _row("heads:SphereFace2", SphereFace2Options),
    "p2sgrad": _row("heads:P2SGrad", P2SGradOptions),
    "MSEp2sgrad": _row("heads:P2SGrad", P2SGradOptions),
}, "projections", ProjectionOptions, scores=True)


@dataclass(frozen=True)
class LossOptions:
    """Cross-entropy."""

    # Of the classes: [0.9, 0.1] in the order of the label ids, or {bonafide: 0.9, spoof: 0.1}. Scores are freed from
    # them, as they are from how often each class comes.
    weight: tuple[float, ...] | dict[str, float] | None = None
    # Draws scores together, and aside where classes are not as many; this is not taken out: calibrate them.
    label_smoothing: float = 0.0

    def __post_init__(self):
        fraction(self, "label_smoothing")
        values = self.weight.values() if isinstance(self.weight, dict) else self.weight or ()
        if not all(0 < value < math.inf for value in values):
            raise OptionError("weight", f"of a class must be above 0, got {self.weight}; leave a class that is not to "
                                        "count out of the list")


LOSSES = Registry("loss", {
    "CrossEntropyLoss": _row("losses:CrossEntropyLoss", LossOptions),
}, "losses")
