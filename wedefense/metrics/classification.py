"""Metrics of closed-set classification, such as emotions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wedefense.metrics.catalogue import METRICS, OF_CLASSES
from wedefense.metrics.table import text_table
from wedefense.utils.errors import InputError, did_you_mean


@dataclass(frozen=True)
class ClassificationResult:
    accuracy: float             # share of utterances that are right
    unweighted_accuracy: float  # mean over the classes of the share that is right (UAR)
    macro_f1: float
    classes: list[str]
    recalls: dict[str, float]   # of the classes that occur
    confusion: np.ndarray       # (true class, predicted class) counts


def classification_metrics(labels: Sequence[Any], predicted: Sequence[Any],
                           classes: Sequence[Any] | None = None) -> ClassificationResult:
    """Metrics of predicted against true labels; `classes` fixes their order and refuses any other."""
    if len(labels) != len(predicted) or not len(labels):
        raise InputError(f"{len(labels)} labels and {len(predicted)} predictions: both are needed for every utterance")
    classes = sorted(set(labels) | set(predicted)) if classes is None else list(classes)
    index = {name: i for i, name in enumerate(classes)}
    for name in set(labels) | set(predicted):
        if name not in index:
            raise InputError(f"unknown class '{name}'{did_you_mean(str(name), map(str, classes))}")
    true, guess = (np.fromiter((index[name] for name in names), np.int64, len(names)) for names in (labels, predicted))
    size = len(classes)
    confusion = np.bincount(size * true + guess, minlength=size * size).reshape(size, size)
    right, per_true, per_guess = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present, seen = per_true > 0, per_true + per_guess > 0
    recalls = right[present] / per_true[present]
    names = [str(name) for name in classes]
    return ClassificationResult(
        accuracy=float(right.sum() / len(labels)), unweighted_accuracy=float(recalls.mean()),
        macro_f1=float((2 * right[seen] / (per_true + per_guess)[seen]).mean()), classes=names,
        recalls={name: float(r) for name, r in zip(np.array(names)[present].tolist(), recalls)}, confusion=confusion)


def summary_table(result: ClassificationResult) -> str:
    row = ["all", str(int(result.confusion.sum())), *rates(vars(result))]
    return text_table(["", "utterances", *headings()], [row])


def headings() -> list[str]:
    return [METRICS[name].heading for name in OF_CLASSES]


def rates(result: Mapping) -> list[str]:
    return [METRICS[name].number(result[name]) for name in OF_CLASSES]


def confusion_table(result: ClassificationResult) -> str:
    """The confusion matrix in per cent of each true class, as aligned text."""
    rows = []
    for name, counts in zip(result.classes, result.confusion):
        total = counts.sum()
        shares = [f"{100 * count / total:.1f}" if total else "-" for count in counts]
        rows.append([name, str(total), *shares])
    return text_table(["true \\ predicted", "n", *result.classes], rows)
