"""Recorded noise at a drawn signal-to-noise ratio, and reverberation by recorded or simulated rooms."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from wedefense.config.augment import NoiseOptions, ReverbOptions, Setting
from wedefense.data.audio import BadAudio, fill, read_frames, read_span, resample, resampled_length
from wedefense.data.augment.endings import Ending, EndsInFilter
from wedefense.data.augment.filters import filter_long, limit_peak, power, scale_peak
from wedefense.data.augment.recordings import Recordings, open_recordings
from wedefense.utils.errors import InputError

_SILENT_IN_A_ROW = 20


def mix(wav: np.ndarray, noise: np.ndarray, snr: float, scaled: Callable = limit_peak) -> np.ndarray:
    """`noise`, (samples,) of some power, added `snr` dB below `wav`, then `scaled`. Silence stays silence."""
    gain = np.sqrt(power(wav) / power(noise)) * 10 ** (-snr / 20)
    return scaled(wav + np.float32(gain) * noise)


def direct_sound(response: np.ndarray) -> int:
    """Where a room's response has it: at its largest sample."""
    return int(np.abs(response).argmax())


def reverberate(wav: np.ndarray, response: np.ndarray, realign: bool = True) -> np.ndarray:
    """Convolved with a room impulse response, at the power of `wav`, peak at most 1.

    `realign`: the direct sound undelayed.
    """
    wet = filter_long(wav, response, direct_sound(response) if realign else 0)
    scale = np.sqrt(power(wav) / max(power(wet), np.finfo(np.float32).tiny))
    return limit_peak(wet * np.float32(scale))


class Noise:
    def __init__(self, options: NoiseOptions, setting: Setting):
        self._options, self._rate = options, setting.sample_rate
        self._recordings = _recordings(options.data or setting.noise_data, "noise_data", "noise")
        self._indices, self._kinds = self._recordings.of_kinds(options.kinds)

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) -> (samples,)"""
        kind = str(rng.choice(self._kinds))  # as often as it has recordings
        noise = self._stretch(kind, len(wav), rng)
        if kind == "speech":
            for _ in range(int(rng.integers(*self._options.babble, endpoint=True)) - 1):
                noise = noise + self._stretch(kind, len(wav), rng)
        scaled = scale_peak if self._options.scale_peak else limit_peak
        return mix(wav, noise, rng.uniform(*self._options.snr(kind)), scaled)

    def _stretch(self, kind: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        """(samples,) of a recording from a random place; a silent one is drawn again."""
        for _ in range(_SILENT_IN_A_ROW):
            index = int(rng.choice(self._indices[self._kinds == kind]))
            noise = self._read(index, samples, rng)
            if power(noise) > 0:
                return noise
        raise self._recordings.error(index, f"silent, as were {_SILENT_IN_A_ROW - 1} stretches drawn before it")

    def _read(self, index: int, samples: int, rng: np.random.Generator) -> np.ndarray:
        try:
            with self._recordings.open(index) as sound:
                ratio = Fraction(self._rate, sound.samplerate)
                total = resampled_length(sound.frames, ratio)
                length = min(samples, total)
                return fill(read_span(sound, ratio, int(rng.integers(total - length + 1)), length), samples)
        except (BadAudio, OSError) as error:
            raise self._recordings.error(index, str(error)) from None


class Room(Ending):
    """`reverberate` by one response."""

    kind = "room"

    def __init__(self, response: np.ndarray, realign: bool = True):
        self.filters, self.realign = [response], realign

    @property
    def advances(self) -> list[int]:
        return [direct_sound(self.filters[0]) if self.realign else 0]

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        return reverberate(wav, self.filters[0], self.realign)


class RoomToPeak(Room):
    """The same at a peak of 1, by a response of energy 1, as in WeSpeaker."""

    kind = "room_to_peak"

    def __init__(self, response: np.ndarray, realign: bool = True):
        super().__init__(response / np.float32(np.sqrt(np.dot(response, response))), realign)

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        return scale_peak(filter_long(wav, self.filters[0], self.advances[0]))


class Reverb(EndsInFilter):
    def __init__(self, options: ReverbOptions, setting: Setting):
        self._rate, self._realign = setting.sample_rate, options.realign
        self._room = RoomToPeak if options.scale_peak else Room
        self._recordings = _recordings(options.data or setting.reverb_data, "reverb_data", "reverb")

    def begin(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Room]:
        index = int(rng.integers(len(self._recordings)))
        response = self._read(index)
        if not response.any():
            raise self._recordings.error(index, "an impulse response of zeros")
        return wav, self._room(response, self._realign)

    def _read(self, index: int) -> np.ndarray:
        """The first channel: a mean of several microphones would be a comb filter."""
        try:
            with self._recordings.open(index) as sound:
                if sound.channels == 1:
                    response = read_frames(sound)
                else:
                    response = sound.read(sound.frames, dtype="float32")[:, 0]
                return resample(response, Fraction(self._rate, sound.samplerate))
        except (BadAudio, OSError) as error:
            raise self._recordings.error(index, str(error)) from None


def _recordings(path: str | None, key: str, step: str) -> Recordings:
    if not path:
        raise InputError(f"the augmentation step '{step}' has nothing to draw from: name {key}, or `data` in the step")
    return open_recordings(path, key)
