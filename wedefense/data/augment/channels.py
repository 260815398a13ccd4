"""Channels that are filters: the telephone band, and a random low-pass. They have no delay."""

import numpy as np
from scipy.signal import firwin

from wedefense.config.augment import LowPassOptions, Setting, TelephoneOptions
from wedefense.data.augment.endings import Ending, EndsInFilter
from wedefense.data.augment.filters import filter_same
from wedefense.utils.errors import InputError

_SHARPNESS = 0.025  # seconds of filter: its edges are about 130 Hz wide


def _taps(sample_rate: int) -> int:
    return int(_SHARPNESS * sample_rate) | 1


def _check_below_half(name: str, frequency: float, sample_rate: int) -> None:
    if frequency >= sample_rate / 2:
        raise InputError(f"{name}: {frequency:g} Hz is not below half the sample rate "
                         f"({sample_rate / 2:g} Hz); lower it")


class Band(Ending):
    """A filter of odd length without its delay."""

    kind = "band"

    def __init__(self, taps: np.ndarray):
        self.filters = [taps]

    @property
    def advances(self) -> list[int]:
        return [len(self.filters[0]) // 2]

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        return filter_same(wav, self.filters[0])


class Telephone(EndsInFilter):
    def __init__(self, options: TelephoneOptions, setting: Setting):
        _check_below_half("telephone: high", options.high, setting.sample_rate)
        self._band = Band(firwin(_taps(setting.sample_rate), (options.low, options.high), pass_zero=False,
                                 fs=setting.sample_rate))

    def begin(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Band]:
        return wav, self._band


class LowPass(EndsInFilter):
    def __init__(self, options: LowPassOptions, setting: Setting):
        _check_below_half("low_pass: max_cutoff", options.max_cutoff, setting.sample_rate)
        self._options, self._rate = options, setting.sample_rate

    def begin(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Band]:
        cutoff = rng.uniform(self._options.min_cutoff, self._options.max_cutoff)
        return wav, Band(firwin(_taps(self._rate), cutoff, fs=self._rate))
