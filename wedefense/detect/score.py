"""What a score means: posterior, decision, words."""

import math
from dataclasses import dataclass

from wedefense.metrics.detection import DetectionCosts

_LARGEST = 1e6  # likelihood ratios beyond it are not told apart in words


@dataclass(frozen=True)
class Window:
    """A part of a recording, in seconds, and its score."""

    start: float
    end: float
    llr: float


@dataclass(frozen=True)
class Score:
    """One recording. A higher `llr` means more bona fide."""

    name: str
    llr: float                    # log-likelihood ratio (natural), the mean over the windows
    posterior: float              # probability of a spoof at `prior`
    decision: str                 # "bonafide" or "spoof": llr at or above `threshold`, or below
    meaning: str                  # the same in words
    prior: float                  # of a spoof, before listening
    threshold: float              # where the expected costs of both decisions are equal
    calibrated: bool              # False: the size of the llr is as the model was trained, not fitted to data
    raw: float                    # the model's own score, before any calibration
    seconds: float                # of the recording
    heard: float                  # seconds from its beginning that the model took in
    windows: tuple[Window, ...]   # more than one for long recordings

    @property
    def lowest(self) -> Window:
        """The window that sounds most like a spoof: what a partly faked recording is to be judged by."""
        return min(self.windows, key=lambda window: window.llr)


def posterior(llr: float, prior: float) -> float:
    """Probability of a spoof.

    >>> posterior(0.0, 0.05)
    0.05
    """
    odds = llr + math.log((1 - prior) / prior)
    return 1 / (1 + math.exp(odds)) if odds < 700 else 0.0


def decide(llr: float, costs: DetectionCosts) -> str:
    return "bonafide" if llr >= costs.bayes_threshold else "spoof"


def meaning(llr: float, costs: DetectionCosts) -> str:
    """>>> meaning(3.0, DetectionCosts())
    'sounds 20 times likelier bona fide than spoofed; with 5 % spoofs expected, 0.26 % odds of a spoof: accept'
    """
    ratio = math.exp(min(abs(llr), 700))
    times = f"over {_LARGEST:,.0f}" if ratio > _LARGEST else f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"
    kinds = ("bona fide", "spoofed") if llr >= 0 else ("spoofed", "bona fide")
    verdict = "accept" if decide(llr, costs) == "bonafide" else "reject"
    chance = 100 * posterior(llr, costs.p_spoof)
    return (f"sounds {times} times likelier {kinds[0]} than {kinds[1]}; with {100 * costs.p_spoof:g} % spoofs expected, "
            f"{chance:.2g} % odds of a spoof: {verdict}")
