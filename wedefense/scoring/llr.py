"""From logits to log-likelihood ratios."""

import numpy as np

from wedefense.data.labels import Labels
from wedefense.utils.bonafide import BONAFIDE_NAMES
from wedefense.utils.errors import InputError


def llr(logits: np.ndarray, labels: Labels) -> np.ndarray:
    """(utterances, classes) logits -> (utterances,): how much likelier bona fide is than not.

    The training priors are taken out of the logits, so that the score fits any prior:
    logsumexp over bona fide classes (logit - ln prior) - the same over the others.
    """
    if not labels.has_bonafide:
        raise InputError(f"no bona fide class among the labels {', '.join(labels.names[:5])}; "
                         f"one of {', '.join(BONAFIDE_NAMES)} is needed for a log-likelihood ratio")
    if not np.isfinite(logits).all():
        raise InputError("NaN or infinite logits, of which no log-likelihood ratio can be made; look at the weights")
    evidence = np.asarray(logits, dtype=np.float64) - labels.log_priors
    bonafide = labels.bonafide
    return (np.logaddexp.reduce(evidence[:, bonafide], axis=1)
            - np.logaddexp.reduce(evidence[:, ~bonafide], axis=1))
