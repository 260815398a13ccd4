"""What a model makes of a recording in windows, put together, and why audio cannot be used."""

from dataclasses import dataclass

import numpy as np

from wedefense.data.audio import BadAudio
from wedefense.detect.recordings import Recording

_FULL_SCALE = 0.999
NO_SCORE = "no finite score: what the model computes overflows; look at its weights"


@dataclass(frozen=True)
class ModelOutput:
    """What the model made of a recording, a row for each of its windows."""

    recording: Recording
    pieces: list[tuple[int, int]]  # (start, samples)
    embeddings: np.ndarray         # (windows, embed_dim)
    logits: np.ndarray             # (windows, classes)
    peak: float                    # the largest sample, of 1 at full scale
    clipped: float                 # the share of samples at full scale


def assembled(recording: Recording, rows: list) -> ModelOutput | tuple[Recording, str]:
    """Of (piece, embedding, logits, *level) of each window, or why one has none."""
    reasons = [row for row in rows if isinstance(row, str)]
    if reasons:
        return recording, reasons[0]
    rows.sort(key=lambda row: row[0])
    pieces, embeddings, logits, peaks, clipped = zip(*rows)
    if not all(np.isfinite(part).all() for part in (*embeddings, *logits)):
        return recording, NO_SCORE
    return ModelOutput(recording, list(pieces), np.stack(embeddings), np.stack(logits), max(peaks),
                       float(np.mean(clipped)))


def level(wav: np.ndarray) -> tuple[float, float]:
    """The largest sample, and the share of those at full scale."""
    size = np.abs(wav)
    return float(size.max()), float((size > _FULL_SCALE).mean())


def or_reason(make, *arguments):
    """What `make` gives, or why the audio is bad."""
    try:
        return make(*arguments)
    except BadAudio as error:
        return str(error)
