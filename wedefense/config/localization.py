"""Options of localisation: which segments get a target of their own, and how much each target weighs."""

from dataclasses import dataclass, fields
from typing import Literal

from wedefense.utils.checks import at_least
from wedefense.utils.errors import OptionError


@dataclass(frozen=True)
class LocalizationOptions:
    """Where is it fake? Heads for segments beside that for the utterance, trained on `segments` of the data folder.

    They go with every training mode: a frozen front-end, a trained one, one that is being pruned.
    """

    # ms of a segment, one or several; one that holds anything fake is fake. None: the utterance is the only target
    resolutions: tuple[Literal[10, 20, 40, 80, 160, 320, 640], ...] = ()
    loss: Literal["cross_entropy", "focal", "p2sgrad"] = "cross_entropy"  # of segments; p2sgrad has cosines as its head
    gamma: float = 2.0                           # of focal: how much less counts what is already right
    weight: tuple[float, float] | None = None    # of bona fide segments and of fake ones
    balance: bool = False                        # in every batch both classes of segments weigh the same
    segment_weight: float = 1.0                  # of the mean over the resolutions, in the whole loss
    utterance_weight: float = 1.0                # of `loss` (that of the config) for whole utterances
    boundary_weight: float = 0.0                 # of the target "does the class change in this segment?"
    # where that is: where the audio changes, or in the first and the last of each run of fake segments
    boundary_of: Literal["audio", "runs"] = "audio"
    boundary_negatives: float = 0.0              # per segment with a change so many without count, the hardest; 0: all
    boundary_reach: int = 0                      # so many segments before and after one with a change count as one too
    # what the score of a whole utterance is: of a head of its own, or the least or the mean of its finest segments
    utterance: Literal["head", "min", "mean"] = "head"

    def __post_init__(self):
        at_least(self, 0, "gamma", "segment_weight", "utterance_weight", "boundary_weight", "boundary_negatives",
                 "boundary_reach")
        if len(set(self.resolutions)) < len(self.resolutions):
            raise OptionError("resolutions", f"names one twice: {list(self.resolutions)}")
        if self.weight is not None and (min(self.weight) < 0 or not any(self.weight)):
            raise OptionError("weight", f"must not be negative nor all 0, got {list(self.weight)}")
        if not self.resolutions and any(getattr(self, own.name) != own.default for own in fields(self)):
            raise OptionError("resolutions", "name the segments to tell apart, like [20]; without them nothing here "
                                             "has a meaning")
        if self.resolutions and not self.segment_weight + self.boundary_weight:
            raise OptionError("segment_weight", "segments are asked for and nothing about them is trained; raise it")

    @property
    def wanted(self) -> bool:
        return bool(self.resolutions)

    @property
    def finest(self) -> int:
        return min(self.resolutions)
