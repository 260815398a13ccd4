"""The scores of a recording's frames, of a long one in windows whose seams nobody sees."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wedefense.config.frontend import FRONTENDS
from wedefense.data.audio import BadAudio
from wedefense.data.labels import Labels
from wedefense.detect.model_output import NO_SCORE, level
from wedefense.detect.recordings import InputPolicy, Recording
from wedefense.detect.score import doubts
from wedefense.frontend.features import LayerFeatures
from wedefense.models.backend import ScoresFrames
from wedefense.models.detector import Detector
from wedefense.scoring.llr import llr
from wedefense.utils.errors import InputError

_CONTEXT = 3.0  # seconds that are heard around the frames that a window is for


@dataclass(frozen=True)
class FrameScores:
    times: np.ndarray  # (frames,) seconds at which each begins
    llr: np.ndarray    # (frames,) higher = more bona fide; not calibrated
    shift: float       # seconds from one to the next
    doubts: tuple[str, ...] = ()  # what a listener should know of the recording

    def __repr__(self) -> str:
        lowest = int(self.llr.argmin())
        return (f"FrameScores({len(self.llr)} frames to {self.times[-1]:.2f} s, LLR {self.llr.min():.3f} to "
                f"{self.llr.max():.3f}, the lowest at {self.times[lowest]:.2f} s)")

    def plot(self, path: str | os.PathLike | None = None, threshold: float = 0.0) -> Any:
        """The picture over time, with a threshold: written to a PNG, SVG or PDF file, whose path is returned; without
        one as a matplotlib Figure."""
        from wedefense.report.llr_plots import steps_figure
        from wedefense.report.render import kept

        return kept(steps_figure(self.llr, np.append(self.times, self.times[-1] + self.shift), threshold), path)


class FrameWindow(NamedTuple):
    """A window of a recording, and the frames that it is for."""

    start: int        # samples
    length: int
    first: int        # frames, counted from that start
    last: int | None  # None: all that there are


def frame_windows(samples: int, step: int, policy: InputPolicy, whole: float) -> Iterator[FrameWindow]:
    """Windows whose frames, `step` samples each, are those of the recording in one piece, each in one window; up to
    `whole` seconds there is one."""
    around = round(_CONTEXT * policy.rate) // step
    own = max(round(policy.window * policy.rate) // step - 2 * around, 1)
    starts = range(0, samples // step, own) if samples > whole * policy.rate else [0]
    starts = [start for start in starts if not start or samples - start * step >= own * step]  # the last is longest
    for start, following in zip(starts, [*starts[1:], None]):
        begin = max(start - around, 0)
        end = samples if following is None else min((following + around) * step, samples)
        yield FrameWindow(begin * step, end - begin * step, start - begin,
                          None if following is None else following - begin)


def as_in_one_piece(detector: Detector, samples: int, policy: InputPolicy) -> bool:
    """Whether the scores of a recording are those that it would have in one piece.

    They are in windows too where no frame hears far: the front-end is local, and what the back-end takes from the whole
    it is given of the whole.
    """
    return samples <= _whole(detector, policy) * policy.rate or (
        detector.localizer is None and FRONTENDS.row_of(type(detector.frontend)).local)


def _whole(detector: Detector, policy: InputPolicy) -> float:
    """Seconds up to which a recording is heard in one piece; heads of segments were taught by crops of a few."""
    return policy.whole if detector.localizer is None else min(policy.window, policy.whole)


def resolutions(detector: Detector) -> list[float]:
    """ms of the frames that have scores, the shortest first."""
    if detector.localizer is not None:
        return sorted(detector.localizer.options.resolutions)
    return [detector.frontend.frame_shift] if isinstance(detector.backend, ScoresFrames) else []


def frame_ms(detector: Detector, resolution: int | None = None) -> float:
    """How long a frame is that has a score: the one asked for in ms, or the shortest; an error where there is none."""
    known = resolutions(detector)
    if not known:
        raise InputError(f"the back-end {type(detector.backend).__name__} has no scores of frames; MHFA and CA-MHFA "
                         "have, and what was trained with localization_args")
    if resolution is not None and resolution not in known:
        raise InputError(f"this model has no scores of {resolution} ms, but of {', '.join(f'{ms:g}' for ms in known)}")
    return known[0] if resolution is None else resolution


@torch.no_grad()
def score_frames(detector: Detector, labels: Labels, recording: Recording, policy: InputPolicy,
                 device: torch.device, resolution: int | None = None) -> FrameScores:
    """By the heads of segments that a detector was trained with, else by what each frame adds to its score."""
    ms = frame_ms(detector, resolution)
    if policy.trimmed:
        raise InputError("this model cuts silence out (dataset_args.trim_silence), so that its frames have no times in "
                         "the recording; cut the silence yourself (wedefense.data.silence), and set it to False")
    recording, levels = _noted(recording)
    if detector.localizer is not None:
        found = segment_scores(detector, recording, policy, device, round(ms)).cpu().double().numpy()
    else:
        logits = frame_logits(detector, recording, policy, device).cpu().numpy()
        found = llr(logits, labels) if np.isfinite(logits).all() else logits[:, 0]
    if not np.isfinite(found).all():
        raise BadAudio(NO_SCORE)
    peaks, clipped = zip(*levels)
    return FrameScores(ms / 1000 * np.arange(len(found)), found, ms / 1000,
                       doubts(recording.samples, policy.rate, recording.rate, max(peaks), float(np.mean(clipped))))


def _noted(recording: Recording) -> tuple[Recording, list[tuple[float, float]]]:
    """The same, and the levels of what has been read of it."""
    levels: list[tuple[float, float]] = []

    def read(start: int, length: int) -> np.ndarray:
        wav = recording.read(start, length)
        levels.append(level(wav))
        return wav

    return replace(recording, read=read), levels


def frame_logits(detector: Detector, recording: Recording, policy: InputPolicy, device: torch.device) -> Tensor:
    """(frames, classes) in float32. What the back-end takes from the whole, it takes from the whole recording."""
    backend, step = detector.backend, round(detector.frontend.frame_shift * policy.rate / 1000)
    over_time = detector.cmvn is not None and detector.cmvn.over_time
    heard: list[LayerFeatures] = []
    found: list[Tensor] = []
    for wav, kept in _windows(recording, step, policy, policy.whole, device):
        features = detector.layers(wav, [wav.shape[1]])
        if over_time:
            heard.append(_cut(features, kept))
        else:
            found.append(backend.frame_parts(detector.prepared(features))[:, kept])
    if over_time:
        found = [backend.frame_parts(detector.prepared(_joined(heard)))]
    parts = torch.cat(found, dim=1)                              # (1, frames, ...)
    lengths = torch.tensor([parts.shape[1]], device=device)
    logits = backend.scores_of_parts(parts, lengths, detector.projection)[0].float()
    return logits[:_beginning(recording, step)]


def segment_scores(detector: Detector, recording: Recording, policy: InputPolicy, device: torch.device,
                   ms: int) -> Tensor:
    """(segments,) log-odds of bona fide, by the heads for segments of `ms`, in each window by itself."""
    step, found = ms * policy.rate // 1000, []
    for wav, kept in _windows(recording, step, policy, _whole(detector, policy), device):
        _, segments = detector.embed_and_locate(wav, [wav.shape[1]])
        assert segments is not None
        found.append(segments.scores(ms)[0, :int(segments.lengths[ms][0])][kept])
    return torch.cat(found)[:_beginning(recording, step)]


def _windows(recording: Recording, step: int, policy: InputPolicy, whole: float,
             device: torch.device) -> Iterator[tuple[Tensor, slice]]:
    """wav (1, samples), and which of its frames are wanted."""
    for window in frame_windows(recording.samples, step, policy, whole):
        wav = policy.fit(recording.read(window.start, window.length))
        yield torch.from_numpy(wav)[None].to(device), slice(window.first, window.last)


def _beginning(recording: Recording, step: int) -> int:
    """Frames that begin within the recording, for short ones were repeated."""
    return max(-(-recording.samples // step), 1)


def _cut(features: LayerFeatures, kept: slice) -> LayerFeatures:
    layers = [layer[:, kept] for layer in features.layers]
    return LayerFeatures(layers, torch.full_like(features.lengths, layers[0].shape[1]))


def _joined(parts: list[LayerFeatures]) -> LayerFeatures:
    layers = [torch.cat(layer, dim=1) for layer in zip(*(part.layers for part in parts))]
    return LayerFeatures(layers, torch.full_like(parts[0].lengths, layers[0].shape[1]))
