"""Every metric by the name it has in results: how it is called, printed and compared. Add one here and compute it.

What computes a metric of detection is a field of `DetectionResult`; nothing else lists them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

# What gives a metric: trials of two classes, of speakers and spoofs together, closed sets of classes, segments of
# utterances, spoofs alone, a training epoch.
DETECTION, TANDEM, CLASSIFICATION = "detection", "tandem", "classification"
LOCALIZATION, SPOOFS, TRAINING = "localization", "spoofs", "training"


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold at which a metric is reached, in the result as `<metric>_threshold`."""

    name: str             # in a figure of the scores
    marked: str           # in the legend of a DET curve
    marker: str           # matplotlib's
    why: str              # what the threshold is chosen for; {costs} are put in
    takes_costs: bool     # without costs there is no such point
    accepts_equal: bool = False  # a score right at the threshold counts as bona fide


@dataclass(frozen=True)
class Metric:
    heading: str                   # of its column; ends in % where the number is in per cent
    decimals: int = 4
    of: str = DETECTION
    column: int = 0                # its place in every table of detection, as published ones have it (0: after these,
                                   # and not in the summary of an experiment)
    bootstrapped: bool = False     # confidence.py has the form of it that a resample needs
    higher_is_better: bool = False
    shown: bool = True             # False: in the table of an evaluation only when asked for
    point: OperatingPoint | None = None

    @property
    def percent(self) -> bool:
        return self.heading.endswith("%")

    @property
    def factor(self) -> int:
        """From the stored number to the printed one."""
        return 100 if self.percent else 1

    @property
    def title(self) -> str:
        return self.heading.removesuffix(" %")

    def better(self, value: float, than: float) -> bool:
        return value > than if self.higher_is_better else value < than

    def number(self, value: float) -> str:
        """As in a column of its own."""
        return f"{self.factor * value:.{self.decimals}f}"

    def phrase(self, value: float) -> str:
        """In a sentence."""
        return f"{self.title} {100 * value:.2f} %" if self.percent else f"{self.title} {self.number(value)}"


METRICS = {
    "eer": Metric("EER %", 3, column=2, bootstrapped=True, point=OperatingPoint(
        "EER", "EER", "o", "equal error rates on this set", takes_costs=False)),
    "rocch_eer": Metric("ROCCH-EER %", 3, shown=False),
    "min_dcf": Metric("minDCF", column=1, bootstrapped=True, point=OperatingPoint(
        "minimum DCF", "minimum DCF", "s", "the least cost on this set", takes_costs=True)),
    "act_dcf": Metric("actDCF", column=5, bootstrapped=True, point=OperatingPoint(
        "Bayes", "actual DCF (Bayes threshold)", "^", "LLRs taken at their word, {costs}", takes_costs=True,
        accepts_equal=True)),
    "cllr": Metric("Cllr", column=3, bootstrapped=True),
    "min_cllr": Metric("min Cllr", column=4, bootstrapped=True),
    "a_dcf": Metric("a-DCF", of=TANDEM),
    "min_tdcf": Metric("min t-DCF", of=TANDEM),
    "min_tdcf_legacy": Metric("min t-DCF (2019)", of=TANDEM),
    "t_eer": Metric("t-EER %", 3, of=TANDEM),
    "range_eer": Metric("range EER %", 3),
    "accuracy": Metric("accuracy %", 2, of=CLASSIFICATION, higher_is_better=True),
    "unweighted_accuracy": Metric("unweighted %", 2, of=CLASSIFICATION, higher_is_better=True),
    "macro_f1": Metric("macro F1 %", 2, of=CLASSIFICATION, higher_is_better=True),
    "segment_eer": Metric("segment EER %", 3, of=LOCALIZATION),
    **{f"segment_eer_{ms}": Metric(f"EER of {ms} ms %", 3, of=LOCALIZATION) for ms in (20, 40, 80, 160, 320, 640)},
    "srr_complement": Metric("1 - SRR %", 2, of=SPOOFS),
    "loss": Metric("loss", of=TRAINING),
    "train_loss": Metric("train_loss", of=TRAINING),
}
# What may choose the best epoch.
Monitor = Literal["eer", "min_dcf", "act_dcf", "cllr", "min_cllr", "loss", "accuracy", "segment_eer", "train_loss"]
MONITORS: tuple[Monitor, ...] = get_args(Monitor)
MAIN: Monitor = "eer"  # where there is room for one number of a system

SUMMARY = tuple(sorted((name for name in METRICS if METRICS[name].column), key=lambda name: METRICS[name].column))
ORDERED = (*SUMMARY, *(name for name in METRICS if name not in SUMMARY))  # of columns
BOOTSTRAPPED = tuple(name for name in ORDERED if METRICS[name].bootstrapped)
OF_CLASSES = tuple(name for name, metric in METRICS.items() if metric.of == CLASSIFICATION)
POINTS = {name: metric.point for name, metric in METRICS.items() if metric.point}


def needs_validation(monitor: str) -> bool:
    """False for what the training epoch itself gives."""
    return monitor != "train_loss"


def history_key(monitor: str) -> str:
    """Its key in a row of the training history."""
    return f"val_{monitor}" if needs_validation(monitor) else monitor
