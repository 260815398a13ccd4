"""What a recording may go through before it is scored: codecs, a telephone line, noise, a low-pass."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile

from wedefense.config.augment import CODEC_NAMES, LowPassOptions, Setting, TelephoneOptions
from wedefense.data.audio import open_audio, rate_ratio, read_span
from wedefense.data.augment.channels import LowPass, Telephone
from wedefense.data.augment.codecs import available, through
from wedefense.data.augment.mixing import mix
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.random import generator

KINDS = (*CODEC_NAMES, "noise", "telephone", "low_pass")
Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Condition:
    """`mp3@64` (kbit/s), `noise@10dB` (white, below the speech), `low_pass@4000` (Hz), `telephone`; `+` joins."""

    name: str
    steps: tuple[Step, ...]
    rate: int

    def __call__(self, key: str, path: str) -> bytes:
        """The recording of this key, after all that, as the bytes of a file; draws depend on the key alone."""
        with open_audio(path) as sound:
            wav = read_span(sound, rate_ratio(sound.samplerate, self.rate))
        rng = generator(0, 0, f"{self.name} {key}")
        for step in self.steps:
            wav = step(wav, rng).astype(np.float32)
        made = io.BytesIO()
        soundfile.write(made, wav, self.rate, format="WAV", subtype="FLOAT")
        return made.getvalue()


def parse_condition(name: str, rate: int) -> Condition:
    return Condition(name, tuple(_step(part, name, rate) for part in name.split("+")), rate)


def _step(part: str, name: str, rate: int) -> Step:
    kind, _, amount = part.partition("@")
    if kind not in KINDS:
        raise InputError(f"--with {name}: unknown condition '{kind}'{did_you_mean(kind, KINDS)}")
    try:
        value = float(amount.removesuffix("dB").removesuffix("Hz").removesuffix("k")) if amount else None
    except ValueError:
        raise InputError(f"--with {name}: '{amount}' is no number, as in mp3@64, noise@10dB or low_pass@4000") from None
    if kind == "telephone":
        return Telephone(TelephoneOptions(), Setting(rate))
    if kind in ("noise", "low_pass"):
        if value is None:
            raise InputError(f"--with {name}: how much? noise@10dB, low_pass@4000")
        if kind == "low_pass":
            return LowPass(LowPassOptions(min_cutoff=value, max_cutoff=value), Setting(rate))
        snr = value
        return lambda wav, rng: mix(wav, rng.standard_normal(len(wav)).astype(np.float32), snr)
    missing = available()[kind]
    if missing:
        raise InputError(f"--with {name}: {missing}")
    return lambda wav, rng: through(kind, wav, rate, value)
