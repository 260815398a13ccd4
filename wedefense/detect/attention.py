"""Where a detector looks: which layers, and which moments of a recording."""

from dataclasses import dataclass

import numpy as np
import torch

from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.recordings import Recording
from wedefense.models.backend import ShowsAttention


@dataclass(frozen=True, eq=False)
class Attention:
    """Of what a model hears at once."""

    layers: dict[str, np.ndarray]  # by what the layers are mixed for: (layers,), 0 is what enters the encoder's blocks
    frames: np.ndarray | None      # (heads, frames), each row sums to 1
    begin: float                   # seconds into the recording
    shift: float                   # seconds from one frame to the next
    head: str                      # what a head is: "head", or "layer" where each looks by itself


@torch.no_grad()
def attention(model: LoadedDetector, recording: Recording, begin: float, end: float) -> Attention | None:
    """From `begin` to `end` in seconds, a window of its score; None where the back-end has nothing to show."""
    backend, rate = model.detector.backend, model.input_policy.rate
    if not isinstance(backend, ShowsAttention):
        return None
    start = round(begin * rate)
    length = min(round(end * rate), recording.samples) - start
    wav = model.input_policy.fit(recording.read(start, length))
    with model.arithmetic.scope():
        features = model.detector.features(torch.from_numpy(wav)[None].to(model.device), [len(wav)])
        shares = backend.attention_shares(features)
    layers = {name: weights.float().reshape(-1).cpu().numpy() for name, weights in shares.layers.items()}
    shift, frames = model.detector.frontend.frame_shift / 1000, None
    if shares.frames is not None:
        heard = max(round(length / rate / shift), 1)  # short recordings were repeated
        frames = shares.frames[0, :heard].float().cpu().numpy().T
    return Attention(layers, frames, begin, shift, shares.head) if layers or frames is not None else None
