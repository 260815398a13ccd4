"""What a user hands over to be scored (files, streams, arrays) as mono audio at the model's rate, a span at a time."""

import io
import math
import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wedefense.config.frontend import SHORTEST
from wedefense.data.audio import LOUDEST, BadAudio, fill, open_audio, rate_ratio, read_span, resample, resampled_length
from wedefense.data.converted import converted
from wedefense.data.silence import trim
from wedefense.utils.audio_kinds import needs_ffmpeg
from wedefense.utils.errors import InputError

_MOST_CHANNELS = 8  # of an array; files say themselves what they are


@dataclass(frozen=True)
class Recording:
    """One recording; `read(start, length)` gives float32 samples at the model's rate, or raises `BadAudio`."""

    key: str
    samples: int
    rate: int  # of the source, before it was resampled
    read: Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class InputPolicy:
    """How much of a recording a model hears at a time.

    Recordings up to `whole` seconds are heard at once; longer ones in windows of `window` seconds that overlap by
    half, the last one ending where the recording ends. A model with a `fixed` input hears the first `fixed` samples,
    one with a `longest` no more than these.
    """

    rate: int = 16000
    shortest: int = SHORTEST  # samples; anything shorter is repeated up to it
    fixed: int | None = None  # samples; shorter recordings are repeated up to it
    longest: int | None = None
    trimmed: bool = False     # silence is cut out first
    whole: float = 60.0
    window: float = 30.0

    def pieces(self, samples: int, window: float | None = None) -> list[tuple[int, int]]:
        """(start, length) of each window in samples. `window` seconds, if given, replace both limits."""
        if window is not None and not 0 < window < math.inf:
            raise InputError(f"a window must last more than 0 seconds, got {window:g}")
        if self.fixed is not None:
            limit = size = self.fixed
            if window is None:
                return [(0, min(samples, self.fixed))]
            size = limit = min(self.fixed, max(round(window * self.rate), 1))
        else:
            samples = min(samples, self.longest or samples)
            size = max(round((window or self.window) * self.rate), 1)
            limit = size if window else round(self.whole * self.rate)
        if samples <= limit:
            return [(0, samples)]
        starts = range(0, samples - size, max(size // 2, 1))
        return [(start, size) for start in starts] + [(samples - size, size)]

    def prepared(self, recording: Recording) -> Recording:
        """The recording as this model hears it, or a `BadAudio`."""
        if not self.trimmed:
            return recording
        wav = trim(recording.read(0, recording.samples), self.rate)
        if not len(wav):
            raise BadAudio("nothing but silence, which this model has cut out")
        return Recording(recording.key, len(wav), recording.rate, lambda start, length: wav[start:start + length])

    def fit(self, wav: np.ndarray) -> np.ndarray:
        """Short audio repeated up to what the model needs."""
        return fill(wav, self.fixed or self.shortest)


def open_recording(key: str, audio, rate: int, sample_rate: int | None = None) -> Recording:
    """`audio`: a path, the bytes of a file, a binary stream, or samples with their `sample_rate`."""
    if isinstance(audio, (str, os.PathLike)):
        if os.path.isfile(audio) and not os.path.getsize(audio):
            raise BadAudio("an empty file")
        if needs_ffmpeg(audio):
            return _from_file(key, lambda: converted(audio), rate)
        return _from_file(key, lambda: audio, rate)
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return _from_file(key, lambda: io.BytesIO(audio), rate)
    if hasattr(audio, "read"):
        content = audio.read()
        return _from_file(key, lambda: io.BytesIO(content), rate)
    return _from_samples(key, audio, rate, sample_rate)


def _from_file(key: str, source: Callable, rate: int) -> Recording:
    with open_audio(source()) as sound:
        source_rate, ratio = sound.samplerate, rate_ratio(sound.samplerate, rate)
        samples = resampled_length(sound.frames, ratio)

    def read(start: int, length: int) -> np.ndarray:
        with open_audio(source()) as sound:
            return read_span(sound, ratio, start, length)

    return Recording(key, samples, source_rate, read)


def _from_samples(key: str, audio, rate: int, sample_rate: int | None) -> Recording:
    if sample_rate is None:
        raise InputError(f"{key}: samples without a rate; pass sample_rate=16000 or whatever it is")
    if not isinstance(sample_rate, numbers.Real) or sample_rate != sample_rate // 1:
        raise InputError(f"{key}: sample_rate must be a whole number of Hz, got {sample_rate!r}")
    wav = resample(mono(audio), rate_ratio(int(sample_rate), rate))
    return Recording(key, len(wav), int(sample_rate), lambda start, length: wav[start:start + length])


def mono(audio) -> np.ndarray:
    """(samples,) float32 of an array or tensor; of two dimensions the shorter one is the channels, which are averaged;
    more than eight are a batch, which is refused. Integers are divided by their full scale.
    """
    if hasattr(audio, "detach"):
        audio = audio.detach().cpu().float().numpy() if audio.is_floating_point() else audio.detach().cpu().numpy()
    wav = np.asarray(audio)
    if wav.dtype.kind not in "fi" or wav.ndim not in (1, 2):
        raise InputError(f"audio is an array of {wav.dtype} with {wav.ndim} dimensions; expected floats in [-1, 1] or "
                         "signed integers, (samples,) or (channels, samples)")
    if wav.ndim == 2 and min(wav.shape) > _MOST_CHANNELS:
        raise InputError(f"audio is an array of {wav.shape[0]} x {wav.shape[1]}: the shorter side would be channels of "
                         "one recording, which are averaged; give recordings one by one, or one channel")
    peak = max(abs(float(wav.max(initial=0))), abs(float(wav.min(initial=0))))
    if wav.dtype.kind == "i":
        bits = 8 * wav.dtype.itemsize
        if bits > 16 and 0 < peak <= 2 ** (bits // 2):
            raise InputError(f"audio is integers of {bits} bits, none of them over {peak:g}, which would be silence; "
                             "divide them by the full scale of what they were recorded with"
                             + ", or give samples.astype(numpy.int16)" * (peak <= 2 ** 15))
        wav = wav / -float(np.iinfo(wav.dtype).min)
    elif peak > LOUDEST and math.isfinite(peak):
        raise InputError(f"audio is numbers up to {peak:g}; expected floats in [-1, 1]: divide by 32768 what was "
                         "16-bit integers")
    if wav.ndim == 2:
        wav = wav.mean(axis=int(np.argmin(wav.shape)))
    if wav.size == 0:
        raise BadAudio("no samples in it")
    if not np.isfinite(wav).all():
        raise BadAudio("NaN or infinite samples")
    return np.ascontiguousarray(wav, dtype=np.float32)
