"""Speech codecs, there and back: by soundfile where its libsndfile can, else by ffmpeg where that is installed."""

import functools
import io
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import soundfile

from wedefense.config.augment import CodecOptions, Setting
from wedefense.data.audio import resample
from wedefense.utils.errors import InputError

_MP3_DELAY = 1105  # samples of encoder and decoder, where libsndfile finds no tag that tells it to take them off
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True)
class Soundfile:
    """A codec of libsndfile; `rates`: those it takes, () for any."""

    format: str
    subtype: str
    rates: tuple[int, ...] = ()
    quality: str = ""  # the option with its range of rates, where it has one

    kbps: ClassVar[tuple[float, ...]] = ()

    def missing(self) -> str | None:
        """What this machine lacks for it, in words; None when it is here."""
        if soundfile.check_format(self.format, self.subtype):
            return None
        return (f"libsndfile {soundfile.__libsndfile_version__} has no {self.format}/{self.subtype}; "
                f"install a newer soundfile")

    def there_and_back(self, wav: np.ndarray, rate: int, quality: float | None) -> np.ndarray:
        level: dict[str, Any] = {} if quality is None else {"compression_level": self._compression(quality, rate)}
        if self.format == "MP3":
            level["bitrate_mode"] = "CONSTANT"
        coded = io.BytesIO()
        with soundfile.SoundFile(coded, "w", rate, 1, self.subtype, format=self.format, **level) as sound:
            sound.write(wav)
        coded.seek(0)
        decoded = soundfile.read(coded, dtype="float32")[0]
        return decoded[_MP3_DELAY:] if self.format == "MP3" and len(decoded) > len(wav) else decoded

    def _compression(self, quality: float, rate: int) -> float:
        """The level, 0 to 1, that libsndfile turns into this many kbit/s (into this quality for vorbis)."""
        if self.subtype == "VORBIS":
            return 1 - quality
        if self.format == "MP3":
            least, most = (32, 320) if rate >= 32000 else (8, 160) if rate >= 16000 else (8, 64)
        else:
            least, most = 6, 256
        return float(np.clip((most - quality) / (most - least), 0, 0.999))  # mp3 refuses a full 1


@dataclass(frozen=True)
class Ffmpeg:
    """A codec of ffmpeg; `delay`: samples by which it comes back late; `kbps`: the bit rates that it has."""

    encoder: str
    container: str  # as ffmpeg names it when it writes
    rates: tuple[int, ...]
    delay: int = 0
    reader: str = ""  # and when it reads, where that differs
    quality: str = ""
    kbps: tuple[float, ...] = ()

    _QUIET: ClassVar[tuple[str, ...]] = ("-hide_banner", "-loglevel", "error", "-threads", "1")

    def missing(self) -> str | None:
        if shutil.which("ffmpeg") is None:
            return "it needs the program ffmpeg, which is not installed"
        if self.encoder not in _ffmpeg_encoders():
            return f"the ffmpeg that is installed has no encoder {self.encoder}"
        return None

    def there_and_back(self, wav: np.ndarray, rate: int, quality: float | None) -> np.ndarray:
        raw = ("-f", "f32le", "-ar", str(rate), "-ac", "1")
        bits = () if quality is None else ("-b:a", str(round(1000 * quality)))
        late = np.concatenate([wav, np.zeros(self.delay, np.float32)])
        coded = self._run(late.tobytes(), *raw, "-i", "pipe:0", "-c:a", self.encoder, *bits, "-flags", "+bitexact",
                          "-f", self.container, "pipe:1")
        decoded = self._run(coded, "-f", self.reader or self.container, "-i", "pipe:0", *raw, "pipe:1")
        return np.frombuffer(decoded, np.float32)[self.delay:]

    def _run(self, data: bytes, *arguments: str) -> bytes:
        done = subprocess.run(["ffmpeg", *self._QUIET, *arguments], input=data, capture_output=True)
        if done.returncode or not done.stdout:
            message = done.stderr.decode(errors="replace").strip().splitlines()[:1] or [f"exit code {done.returncode}"]
            raise InputError(f"codec augmentation: ffmpeg failed with {self.encoder}: {message[0]}")
        return done.stdout


@functools.cache
def _ffmpeg_encoders() -> frozenset[str]:
    done = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return frozenset(row[1] for row in rows if len(row) > 1 and row[0].startswith("A"))


CODECS: dict[str, Soundfile | Ffmpeg] = {
    "mp3": Soundfile("MP3", "MPEG_LAYER_III", _MP3_RATES, "mp3_kbps"),
    "vorbis": Soundfile("OGG", "VORBIS", (), "vorbis_quality"),
    "opus": Soundfile("OGG", "OPUS", _OPUS_RATES, "opus_kbps"),
    "alaw": Soundfile("WAV", "ALAW", (8000,)),
    "ulaw": Soundfile("WAV", "ULAW", (8000,)),
    "gsm": Soundfile("WAV", "GSM610", (8000,)),
    "aac": Ffmpeg("aac", "adts", _MP3_RATES, 1024, "aac", "aac_kbps"),
    "g722": Ffmpeg("g722", "g722", (16000,), 22),
    "amr_nb": Ffmpeg("libopencore_amrnb", "amr", (8000,), 40,
                     kbps=(4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)),
    "amr_wb": Ffmpeg("libvo_amrwbenc", "amr", (16000,),
                     kbps=(6.6, 8.85, 12.65, 14.25, 15.85, 18.25, 19.85, 23.05, 23.85)),
}


def available() -> dict[str, str | None]:
    """name -> None, or what this machine lacks for it."""
    return {name: codec.missing() for name, codec in CODECS.items()}


def through(name: str, wav: np.ndarray, sample_rate: int, quality: float | None = None) -> np.ndarray:
    """(samples,) -> (samples,) through one codec, resampled to a rate that it takes; clipped at full scale."""
    codec = CODECS[name]
    rate = sample_rate
    if codec.rates and rate not in codec.rates:
        rate = min((r for r in codec.rates if r > rate), default=codec.rates[-1])
    sent = np.clip(resample(wav, Fraction(rate, sample_rate)), -1, 1)
    decoded = resample(codec.there_and_back(sent, rate, quality), Fraction(sample_rate, rate))[:len(wav)]
    return np.pad(decoded, (0, len(wav) - len(decoded)))


class Codec:
    def __init__(self, options: CodecOptions, setting: Setting):
        self._names = self.usable(options)
        self._options, self._rate = options, setting.sample_rate
        self.drawn = ""  # the last one, for who wants to tell of it

    @staticmethod
    def usable(options: CodecOptions) -> tuple[str, ...]:
        """The codecs that it draws from; one that is named but not here is an error."""
        lacks = available()
        names = options.codecs or tuple(name for name, codec in CODECS.items()
                                        if isinstance(codec, Soundfile) and lacks[name] is None)
        missing = [f"{name}: {lacks[name]}" for name in names if lacks[name]]
        if missing:
            here = ", ".join(name for name in CODECS if lacks[name] is None)
            raise InputError(f"codec augmentation cannot do {'; '.join(missing)}; take them out of `codecs` "
                             f"(usable here: {here}) or install what is missing")
        if not names:
            raise InputError("codec augmentation: this libsndfile has none of the codecs; install a newer soundfile")
        return names

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) -> (samples,)"""
        self.drawn = name = self._names[int(rng.integers(len(self._names)))]
        return through(name, wav, self._rate, self._quality(CODECS[name], rng))

    def _quality(self, codec: Soundfile | Ffmpeg, rng: np.random.Generator) -> float | None:
        if codec.quality:
            return float(rng.uniform(*getattr(self._options, codec.quality)))
        return float(rng.choice(codec.kbps)) if codec.kbps else None
