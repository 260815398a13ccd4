"""Predictions and labels of closed-set classification, such as of emotions."""

import os
from dataclasses import dataclass

import numpy as np

from wedefense.metrics.columns import Columns, choices, encode, numbers, positions, read_columns
from wedefense.metrics.keys import named_column, report_strays, utterances
from wedefense.utils.errors import InputError

_FORMS = "NAME CLASS, or a header `filename CLASS1 CLASS2 ...` over scores of each class"


@dataclass(frozen=True)
class ClassTrials:
    names: list[str]
    classes: list[str]     # in the order of the confusion matrix
    truth: np.ndarray      # (utterances,) index of a class
    predicted: np.ndarray  # (utterances,) index of a class


def load_class_trials(scores: str | os.PathLike, keys: str | os.PathLike, common: bool = False) -> ClassTrials:
    """Join predicted classes, or a score for each class, with `NAME CLASS` (utt2lab)."""
    predictions, labels = read_columns(scores, 2, _FORMS), read_columns(keys, 2, "NAME CLASS")
    names, scored = utterances(labels), utterances(predictions)
    column = named_column(labels, "label", "lab", "class", "emotion")
    if predictions.header and len(predictions.cells) > 2:
        classes, predicted = _largest(predictions, scored)
    else:
        classes = sorted(set(column))
        predicted = choices(predictions, named_column(predictions, "class", "label", "emotion", "prediction"),
                            {name.lower(): i for i, name in enumerate(classes)}, "class")
    truth = choices(labels, column, {name.lower(): i for i, name in enumerate(classes)}, "class")
    at = positions(scored, names)
    report_strays(scores, scored, keys, names, at, common)
    kept = np.flatnonzero(at >= 0)
    return ClassTrials([names[i] for i in kept.tolist()], classes, truth[kept], predicted[at[kept]])


def _largest(columns: Columns, names: list[str]) -> tuple[list[str], np.ndarray]:
    """(classes that the header names, index of the largest score of each utterance)"""
    titles = next(line.split() for line in columns.lines if line.strip())  # as they are spelt
    rest = [(title, cells) for title, cells in zip(titles, columns.cells) if cells is not names]
    classes = [title for title, _ in rest]
    if len(encode(classes)[0]) < len(classes):
        raise InputError(f"{columns.path}:1: the header names a class twice: {', '.join(classes)}")
    scores = np.stack([numbers(columns, cells, f"the score of '{title}'") for title, cells in rest], axis=1)
    return classes, scores.argmax(axis=1)
