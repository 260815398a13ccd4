"""Reading audio: only the samples asked for, as mono float32, at any sample rate."""

import contextlib
import functools
import math
import os
import re
import stat
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import soundfile

from wedefense.utils.file_parts import FileSlice, part_of

_ZERO_CROSSINGS = 32     # of the resampling filter, either side: about 90 dB of stop band
_UNKNOWN_LENGTH = 2**40  # libsndfile's "no length in the header" lies far above, real files below
_PROMISED = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: *(\d+) \(should be (\d+)\)", re.MULTILINE)
_SLACK = 8               # bytes that writers of headers get wrong
_STREAMED = 0x7FFFF000   # bytes: about what is written where the length was not known yet
_RATES, _LONGEST_FILTER = range(1000, 1_000_001), 400_000  # Hz; a header may say anything
SILENT = 1e-4            # of full scale: -80 dB; what stays below is silence
LOUDEST = 100.0          # of floats: speech normalised to a deviation of 1 stays below, 16-bit integers do not
_LOOK, _END = 4096, 64   # samples looked at at a time, and first of all, at the end
_PCM16_SCALE = np.float32(1 / 32768)


class BadAudio(Exception):
    """This recording cannot be used; the message says why, without its name."""


class _Reader(soundfile.SoundFile):
    """Spares the seeks that soundfile does around each read, a sixth of the time to read a crop of a FLAC file."""

    untouched = True

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_audio(source):
    """A `soundfile.SoundFile` of a path or a binary stream; a `BadAudio` when it cannot be opened or read."""
    try:
        with contextlib.ExitStack() as held, _Reader(_readable(source, held)) as sound:
            if sound.frames == 0:
                raise BadAudio("no samples in it")
            if sound.frames >= _UNKNOWN_LENGTH:
                raise BadAudio("its header has no length; encode it again")
            if sound.samplerate not in _RATES:
                raise BadAudio(f"its header says a sample rate of {sound.samplerate} Hz, which no recording has; write "
                               "it again with its own")
            _refuse_half(sound.extra_info)
            yield sound
    except BadAudio:
        raise
    except (soundfile.LibsndfileError, OSError, MemoryError) as error:
        raise BadAudio(f"not readable: {_cause(error)}") from None


def _readable(source, held: contextlib.ExitStack):
    """What libsndfile opens; of a part of a file, a stream that `held` closes."""
    if not isinstance(source, (str, os.PathLike)):
        return source
    part = part_of(source)
    if part is None:
        return regular_file(source)
    return FileSlice(held.enter_context(open(regular_file(part.file), "rb", buffering=0)), part.offset, part.size)


def regular_file(path: str | os.PathLike) -> bytes:
    """The path in bytes, which a name may be made of that is no text; what is no file would be waited for."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadAudio(f"no file but a folder, a pipe, a socket or a device: {path}; write it to a file")
        return os.fsencode(path)
    except FileNotFoundError:
        raise BadAudio(f"no such file: {path}") from None
    except ValueError as error:
        raise BadAudio(f"no file has such a name ({error})") from None


def _refuse_half(log: str) -> None:
    """Half a file is no recording: libsndfile cuts what a header promises to what is there, and says so in its log."""
    for promised, there in _PROMISED.findall(log):
        if _SLACK < int(promised) - int(there) and int(promised) < _STREAMED:
            raise BadAudio(f"cut short: its header says {promised} bytes of audio, {there} are there; get it again")


def _cause(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)  # errors of libsndfile have it
    if text.startswith("File does not exist"):  # as it says of an MP3 that is none; the file was seen before
        return "no audio of the kind that its name says"
    return text.strip().rstrip(".")


def read_frames(sound, start: int = 0, frames: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """(frames,) float32 in file samples from `start`; channels are averaged. Fewer than promised is `BadAudio`.

    `out` may take the result, where it has the right length; it is not always used.
    """
    frames = sound.frames - start if frames is None else frames
    if start or not sound.untouched:
        sound.seek(start)
    sound.untouched = False
    if sound.channels > 1 or (out is not None and len(out) != frames):
        out = None
    if sound.channels == 1 and sound.subtype == "PCM_16" and sound.format != "FLAC":
        wav = sound.read(frames, dtype="int16")  # and scaled here: the same numbers, in half of libsndfile's time
        wav = np.multiply(wav, _PCM16_SCALE, out=out if len(wav) == frames else None)
    else:
        wav = sound.read(frames, dtype="float32", out=out)
        wav = wav if wav.ndim == 1 else wav.mean(axis=1)
    if len(wav) < frames:
        raise BadAudio(f"cut short: it ends {frames - len(wav)} samples before its header says")
    if not sound.subtype.startswith("PCM_"):
        _refuse_numbers(wav)
    return wav


def _refuse_numbers(wav: np.ndarray) -> None:
    peak = float(max(wav.max(initial=0), -wav.min(initial=0)))
    if not math.isfinite(peak):
        raise BadAudio("NaN or infinite samples")
    if peak > LOUDEST:
        raise BadAudio(f"numbers up to {peak:g}, where 1 is full scale; divide by 32768 what was 16-bit integers")


def resample(wav: np.ndarray, ratio: Fraction) -> np.ndarray:
    """(samples,) -> (ceil(samples * ratio),), by a polyphase low-pass filter."""
    if ratio == 1:
        return wav
    from scipy.signal import resample_poly

    up, down = ratio.numerator, ratio.denominator
    return resample_poly(wav, up, down, window=_low_pass(up, down)).astype(np.float32, copy=False)


@functools.lru_cache(maxsize=64)
def _low_pass(up: int, down: int) -> np.ndarray:
    from scipy.signal import firwin

    longest = max(up, down)
    return firwin(2 * _ZERO_CROSSINGS * longest + 1, 0.94 / longest, window=("kaiser", 9.0)).astype(np.float32)


@functools.lru_cache(maxsize=256)
def rate_ratio(source: int, target: int, speed: float = 1.0) -> Fraction:
    """How many samples come out for one that goes in, when played at `speed` (rounded to hundredths or so)."""
    ratio = Fraction(target, source) / Fraction(speed).limit_denominator(100) if source in _RATES else None
    if ratio is None or max(ratio.numerator, ratio.denominator) > _LONGEST_FILTER:
        raise BadAudio(f"a sample rate of {source} Hz, from which nothing can be resampled to {target}")
    return ratio


def resampled_length(frames: int, ratio: Fraction) -> int:
    return -(-frames * ratio.numerator // ratio.denominator)


def read_span(sound, ratio: Fraction, start: int = 0, length: int | None = None,
              out: np.ndarray | None = None) -> np.ndarray:
    """Samples `start` to `start + length` of the file resampled by `ratio`, reading little more than these.

    They equal the same samples of the whole file resampled: the filter gets its context, and the
    span read begins where the two sample grids meet.
    """
    length = resampled_length(sound.frames, ratio) - start if length is None else length
    if ratio == 1:
        return read_frames(sound, start, length, out)
    up, down = ratio.numerator, ratio.denominator
    context = math.ceil(_ZERO_CROSSINGS * max(up, down) / up) + 1  # in file samples
    block = max(0, start * down // up - context) // down
    end = min(sound.frames, math.ceil((start + length) * down / up) + context)
    wav = resample(read_frames(sound, block * down, end - block * down), ratio)
    offset = start - block * up
    return wav[offset:offset + length]


def fill(wav: np.ndarray, length: int) -> np.ndarray:
    """Repeat `wav` until it has `length` samples; a longer one stays as it is."""
    return wav if len(wav) >= length else np.resize(wav, length)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    rate: int
    channels: int
    frames: int
    silent: bool = False  # from beginning to end

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def probe(source) -> AudioInfo:
    """What the header of a path or a binary stream says, after a look at its end and, where that is silent, as far as
    silence goes; `BadAudio` when it cannot be used.

    Floating-point files, the only ones that can hold NaN, are read whole.
    """
    with open_audio(source) as sound:
        end = 0 if sound.subtype in ("FLOAT", "DOUBLE") else max(0, sound.frames - _END)
        silent = not _sounds(read_frames(sound, end)) and not any(
            _sounds(read_frames(sound, start, min(_LOOK, end - start))) for start in range(0, end, _LOOK))
        return AudioInfo(sound.samplerate, sound.channels, sound.frames, silent)


def _sounds(wav: np.ndarray) -> bool:
    return max(wav.max(), -wav.min()) >= SILENT
