"""Score normalisation against a cohort of other speakers: S-norm, and AS-norm with each side's own top n."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wedefense.metrics.columns import encode
from wedefense.utils.errors import InputError

_BLOCK_BYTES = 1 << 26  # of cohort scores held at once


class CohortStatistics(NamedTuple):
    """Of the scores of each utterance against the cohort."""

    mean: np.ndarray  # (utterances,)
    std: np.ndarray   # (utterances,)


def speaker_means(vectors: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """(utterances, dim) -> (speakers, dim) mean embedding of each speaker, speakers in sorted order."""
    _, codes = encode(speakers)
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    return np.stack([vectors[own].mean(axis=0, dtype=np.float64) for own in rows])


def cohort_statistics(vectors: np.ndarray, cohort: np.ndarray, top_n: int | None = None) -> CohortStatistics:
    """Mean and spread of the scores of unit vectors (utterances, dim) against (cohort, dim), or of the `top_n` best."""
    size = len(cohort)
    top_n = size if top_n is None else top_n
    if size < 2 or not 2 <= top_n <= size:
        raise InputError(f"score normalisation over the {top_n} nearest needs a cohort of at least that many speakers "
                         f"and at least 2, this one has {size}; set top_n accordingly")
    mean, std = np.empty(len(vectors)), np.empty(len(vectors))
    rows = max(1, _BLOCK_BYTES // (vectors.itemsize * size))
    for start in range(0, len(vectors), rows):
        block = slice(start, start + rows)
        scores = vectors[block] @ cohort.T.astype(vectors.dtype)  # (utterances, cohort)
        if top_n < size:
            scores = np.partition(scores, size - top_n, axis=1)[:, size - top_n:]
        mean[block], std[block] = scores.mean(axis=1, dtype=np.float64), scores.std(axis=1, dtype=np.float64)
    if not (std > 1e-6).all():
        raise InputError("the cohort scores of an utterance are all the same: the cohort must hold different speakers")
    return CohortStatistics(mean, std)


def normalise(scores: np.ndarray, statistics: CohortStatistics, enrol: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Each score as seen from the cohort of its enrolment and of its test utterance, averaged."""
    mean, std = statistics
    return ((scores - mean[enrol]) / std[enrol] + (scores - mean[test]) / std[test]) / 2
