"""Speaker verification trials: read, looked up among the embeddings, scored by the cosine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wedefense.metrics.columns import choices, encode, positions, read_columns
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.tables import first_few

_LABELS = {"1": 1, "0": 0, "target": 1, "nontarget": 0}
_FORMS = "`1|0 ENROL TEST` or `ENROL TEST target|nontarget`"
_BLOCK = 16384  # trials scored at once


@dataclass(frozen=True)
class SpeakerTrials:
    """Pairs of utterances; an utterance is its place in `names`."""

    names: list[str]       # every utterance once
    enrol: np.ndarray      # (trials,) int64
    test: np.ndarray       # (trials,) int64
    is_target: np.ndarray  # (trials,) bool

    def __len__(self) -> int:
        return len(self.enrol)

    def titles(self) -> list[str]:
        """`ENROL TEST` of each trial."""
        return [f"{self.names[e]} {self.names[t]}" for e, t in zip(self.enrol.tolist(), self.test.tolist())]


def read_trials(path: str | os.PathLike) -> SpeakerTrials:
    """Read a trials file of either usual form."""
    columns = read_columns(path, 3, _FORMS)
    first, second, third = columns.cells[:3]
    label_first = first[0] in ("0", "1")
    if not label_first and third[0].lower() not in _LABELS:
        raise InputError(f"{columns.where(0)}: a line is neither {_FORMS}: '{first[0]} {second[0]} {third[0]}'")
    labels, enrol, test = (first, second, third) if label_first else (third, first, second)
    is_target = choices(columns, labels, _LABELS, "trial label").astype(bool)
    if is_target.all() or not is_target.any():
        raise InputError(f"{path}: all {len(labels)} trials are {'target' if is_target[0] else 'nontarget'} trials; "
                         "verification needs both kinds")
    names, codes = encode([*enrol, *test])
    return SpeakerTrials(names, codes[:len(enrol)], codes[len(enrol):], is_target)


def select(keys: Sequence[str], vectors: np.ndarray, wanted: Sequence[str], where: str) -> np.ndarray:
    """The vectors (utterances, dim) of the wanted utterances, in their order."""
    at = positions(list(keys), list(wanted))
    lost = [name for name, place in zip(wanted, at) if place < 0]
    if lost:
        example = f"; they are called like '{keys[0]}' there" if len(lost) == len(wanted) else ""
        raise InputError(f"{len(lost)} of {len(wanted)} utterances of the trials have no embedding in {where}: "
                         f"{first_few(lost)}{example}")
    return vectors[at]


def unit(vectors: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
    """(utterances, dim) scaled to length one; an embedding of zeros or NaN is an error."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(lengths[:, 0] > 0) | ~np.isfinite(lengths[:, 0]))
    if bad.size:
        shown = first_few([names[i] if names else f"row {i}" for i in bad[:4]])
        raise InputError(f"{bad.size} of {len(vectors)} embeddings are zero or not finite: {shown}")
    return vectors / lengths


def cosine(vectors: np.ndarray, enrol: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(trials,) products of the rows of (utterances, dim) unit vectors, a block of trials at a time."""
    scores = np.empty(len(enrol))
    for start in range(0, len(enrol), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores[block] = np.einsum("td,td->t", vectors[enrol[block]], vectors[test[block]])
    return scores


def write_scores(path: str | os.PathLike, trials: SpeakerTrials, scores: np.ndarray) -> None:
    """Lines `ENROL TEST SCORE target|nontarget`."""
    with atomic_write(path, "w") as stream:
        stream.writelines(f"{title} {score:.8g} {'target' if target else 'nontarget'}\n" for title, score, target
                          in zip(trials.titles(), scores.tolist(), trials.is_target.tolist()))
