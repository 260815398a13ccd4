"""The scores of a recording's frames, of a long one in windows whose seams nobody sees."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wedefense.config.frontend import FRONTENDS
from wedefense.detect.recordings import InputPolicy, Recording
from wedefense.frontend.features import LayerFeatures
from wedefense.models.detector import Detector

_CONTEXT = 3.0  # seconds that are heard around the frames that a window is for


@dataclass(frozen=True)
class FrameScores:
    times: np.ndarray  # (frames,) seconds at which each begins
    llr: np.ndarray    # (frames,): what the head says of each frame's part in the embedding; not calibrated
    shift: float       # seconds from one to the next

    def __repr__(self) -> str:
        lowest = int(self.llr.argmin())
        return (f"FrameScores({len(self.llr)} frames to {self.times[-1]:.2f} s, LLR {self.llr.min():.3f} to "
                f"{self.llr.max():.3f}, the lowest at {self.times[lowest]:.2f} s)")


class FrameWindow(NamedTuple):
    """A window of a recording, and the frames that it is for."""

    start: int        # samples
    length: int
    first: int        # frames, counted from that start
    last: int | None  # None: all that there are


def frame_windows(samples: int, step: int, policy: InputPolicy) -> Iterator[FrameWindow]:
    """Windows whose frames, `step` samples each, are those of the recording in one piece, each in one window."""
    around = round(_CONTEXT * policy.rate) // step
    own = max(round(policy.window * policy.rate) // step - 2 * around, 1)
    starts = range(0, samples // step, own) if samples > policy.whole * policy.rate else [0]
    starts = [start for start in starts if not start or samples - start * step >= own * step]  # the last is longest
    for start, following in zip(starts, [*starts[1:], None]):
        begin = max(start - around, 0)
        end = samples if following is None else min((following + around) * step, samples)
        yield FrameWindow(begin * step, end - begin * step, start - begin,
                          None if following is None else following - begin)


def hears_in_parts(detector: Detector) -> bool:
    """Whether scores in windows equal those in one piece: no frame depends on what is far from it."""
    return FRONTENDS.row_of(type(detector.frontend)).local


def frame_logits(detector: Detector, recording: Recording, policy: InputPolicy, device: torch.device) -> Tensor:
    """(frames, classes) in float32. What the back-end takes from the whole, it takes from the whole recording."""
    backend, step = detector.backend, round(detector.frontend.frame_shift * policy.rate / 1000)
    over_time = detector.cmvn is not None and detector.cmvn.over_time
    found: list[LayerFeatures | Tensor] = []
    for window in frame_windows(recording.samples, step, policy):
        wav = torch.from_numpy(policy.fit(recording.read(window.start, window.length)))[None].to(device)
        features, kept = detector.layers(wav, [wav.shape[1]]), slice(window.first, window.last)
        found.append(_cut(features, kept) if over_time else
                     backend.frame_parts(detector.prepared(features))[:, kept])
    if over_time:
        found = [backend.frame_parts(detector.prepared(_joined(found)))]
    parts = torch.cat(found, dim=1)                              # (1, frames, ...)
    lengths = torch.tensor([parts.shape[1]], device=device)
    logits = backend.scores_of_parts(parts, lengths, detector.projection)[0].float()
    return logits[:max(-(-recording.samples // step), 1)]        # short recordings were repeated


def _cut(features: LayerFeatures, kept: slice) -> LayerFeatures:
    layers = [layer[:, kept] for layer in features.layers]
    return LayerFeatures(layers, torch.full_like(features.lengths, layers[0].shape[1]))


def _joined(parts: list[LayerFeatures]) -> LayerFeatures:
    layers = [torch.cat(layer, dim=1) for layer in zip(*(part.layers for part in parts))]
    return LayerFeatures(layers, torch.full_like(parts[0].lengths, layers[0].shape[1]))
