"""Quality measures of speaker trials: what else than the score tells how far to believe it.

A measure belongs to an utterance; a trial gets the lower and the higher one of its two utterances, so that
enrolment and test may change places. A calibration fitted with them is a quality measure function (QMF).
"""

from collections.abc import Mapping

import numpy as np

from wedefense.scoring.speaker.trials import unit
from wedefense.utils.log import get_logger


def log_duration(seconds: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(seconds, 1e-3))


def magnitude(vectors: np.ndarray) -> np.ndarray:
    """Length of the embeddings (utterances, dim) before it is normalised away: low for unclear speech."""
    return np.linalg.norm(vectors.astype(np.float64), axis=1)


def has_magnitude(vectors: np.ndarray) -> bool:
    """Whether the lengths of embeddings say anything: those of a model that normalises them do not, which is told."""
    lengths = magnitude(vectors)
    if len(lengths) < 2 or np.ptp(lengths) > 1e-3 * lengths.mean():
        return True
    get_logger().warning("all embeddings have length %.3g, so that it is no quality measure (model_args.l2_norm: False "
                         "leaves CA-MHFA's as they are)", lengths.mean())
    return False


def consistency(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine between two embeddings of the same utterance, such as of the whole and of a part."""
    return np.einsum("ud,ud->u", unit(vectors), unit(others))


def of_trials(measures: Mapping[str, np.ndarray], enrol: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(trials, 2 x measures) lower and higher value of each pair, and what each column is."""
    columns, names = [], []
    for name, values in measures.items():
        columns += [np.minimum(values[enrol], values[test]), np.maximum(values[enrol], values[test])]
        names += [f"lower {name}", f"higher {name}"]
    return np.stack(columns, axis=1), names
