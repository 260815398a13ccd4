"""What a score means: posterior, decision, words."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wedefense.data.audio import SILENT
from wedefense.metrics.detection import DetectionCosts
from wedefense.utils.errors import InputError, OptionError

_CLIPPED = 0.01   # of the samples
_OVER = 2.0       # of full scale: what no clipped file comes to when it is resampled or decoded
_LARGEST = 1e6    # likelihood ratios beyond it are not told apart in words


def costs_for(prior: float, cost_miss: float, cost_fa: float) -> DetectionCosts:
    """What decides, refused by the names that it has here."""
    try:
        return DetectionCosts(prior, cost_miss, cost_fa)
    except OptionError as error:
        name = {"p_spoof": "prior", "c_miss": "cost_miss", "c_fa": "cost_fa"}[error.key]
        raise OptionError(name, error.message) from None


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
    doubts: tuple[str, ...] = ()  # what about the recording makes its score less certain

    def __repr__(self) -> str:
        doubts = f"; {'; '.join(self.doubts)}" if self.doubts else ""
        return (f"Score({self.name}: {self.decision}, LLR {self.llr:.3f}, P(spoof) {percent(self.posterior)} where "
                f"{100 * self.prior:g} % are{doubts})")

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """The picture of its windows over time, with the threshold: written to a PNG, SVG or PDF file, whose path is
        returned; without one as a matplotlib Figure.

        >>> model.score("clip.wav", window=2.0).plot("clip.png").name
        'clip.png'
        """
        from wedefense.report.llr_plots import windows_figure
        from wedefense.report.render import kept

        starts, ends, llrs = zip(*((window.start, window.end, window.llr) for window in self.windows))
        title = f"{Path(self.name).name}: {self.decision}, LLR {self.llr:.3f}, P(spoof) {percent(self.posterior)}"
        return kept(windows_figure(starts, ends, llrs, self.threshold, title), path)

    @property
    def lowest(self) -> Window:
        """The window that sounds most like a spoof: what a partly faked recording is to be judged by."""
        return min(self.windows, key=lambda window: window.llr)


def doubts(samples: int, rate: int, source_rate: int, peak: float, clipped: float) -> tuple[str, ...]:
    """What a listener should know of a recording: samples at the model's `rate`, and the share of them at full scale.

    >>> doubts(4800, 16000, 8000, peak=0.5, clipped=0.0)
    ('shorter than a second', 'recorded at 8000 Hz: nothing above 4000 Hz, which the model listens to')
    >>> doubts(48000, 16000, 16000, peak=1.0, clipped=0.02), doubts(48000, 16000, 16000, peak=8.0, clipped=0.5)
    (('clipped: over 1 % of the samples at full scale',), ('louder than full scale: over 1 % of the samples above it',))
    """
    found = []
    if peak < SILENT:
        found.append("silence: there is nothing to judge")
    if samples < rate:
        found.append("shorter than a second")
    if source_rate < rate:
        found.append(f"recorded at {source_rate} Hz: nothing above {source_rate // 2} Hz, which the model listens to")
    if clipped > _CLIPPED:
        share = f"over {100 * _CLIPPED:g} % of the samples"
        found.append(f"clipped: {share} at full scale" if peak < _OVER else f"louder than full scale: {share} above it")
    return tuple(found)


def posterior(llr: float, prior: float) -> float:
    """Probability of a spoof.

    >>> posterior(0.0, 0.05)
    0.05
    """
    odds = llr + math.log((1 - prior) / prior)
    return 1 / (1 + math.exp(odds)) if odds < 700 else 0.0


def decide(llr: float, costs: DetectionCosts) -> str:
    if not math.isfinite(llr):
        raise InputError(f"a log-likelihood ratio of {llr} decides nothing; look at the weights and the calibration")
    return "bonafide" if llr >= costs.bayes_threshold else "spoof"


def times(llr: float) -> str:
    """How much likelier one of the kinds is; >>> times(-3.0), times(30)
    ('20', 'over 1,000,000')
    """
    ratio = math.exp(min(abs(llr), 700))
    return f"over {_LARGEST:,.0f}" if ratio > _LARGEST else f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"


def likelihood(llr: float) -> str:
    """>>> likelihood(3.0)
    '20 times likelier if bona fide than if spoofed'
    """
    kinds = ("bona fide", "spoofed") if llr >= 0 else ("spoofed", "bona fide")
    return f"{times(llr)} times likelier if {kinds[0]} than if {kinds[1]}"


def meaning(llr: float, costs: DetectionCosts) -> str:
    """>>> meaning(3.0, DetectionCosts())
    'such audio is 20 times likelier if bona fide than if spoofed; where 5 % are spoofs, 0.26 % of such are: accept'
    """
    verdict = "accept" if decide(llr, costs) == "bonafide" else "reject"
    return (f"such audio is {likelihood(llr)}; where {100 * costs.p_spoof:g} % are spoofs, "
            f"{percent(posterior(llr, costs.p_spoof))} of such are: {verdict}")


def percent(share: float) -> str:
    """>>> percent(0.05), percent(0.99996), percent(1e-9)
    ('5 %', 'over 99.9 %', 'under 0.01 %')
    """
    if share > 0.999:
        return "over 99.9 %"
    return "under 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.1f} %"
