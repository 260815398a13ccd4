"""Channels that are filters: the telephone band, and a random low-pass. They have no delay."""

import numpy as np
from scipy.signal import firwin

from wedefense.config.augment import LowPassOptions, Setting, TelephoneOptions
from wedefense.data.augment.filters import filter_same
from wedefense.utils.errors import InputError

_SHARPNESS = 0.025  # seconds of filter: its edges are about 130 Hz wide


def _taps(sample_rate: int) -> int:
    return int(_SHARPNESS * sample_rate) | 1


def _check_below_half(name: str, frequency: float, sample_rate: int) -> None:
    if frequency >= sample_rate / 2:
        raise InputError(f"{name}: {frequency:g} Hz is not below half the sample rate "
                         f"({sample_rate / 2:g} Hz); lower it")


class Telephone:
    def __init__(self, options: TelephoneOptions, setting: Setting):
        _check_below_half("telephone: high", options.high, setting.sample_rate)
        self._filter = firwin(_taps(setting.sample_rate), (options.low, options.high), pass_zero=False,
                              fs=setting.sample_rate)

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) -> (samples,)"""
        return filter_same(wav, self._filter)


class LowPass:
    def __init__(self, options: LowPassOptions, setting: Setting):
        _check_below_half("low_pass: max_cutoff", options.max_cutoff, setting.sample_rate)
        self._options, self._rate = options, setting.sample_rate

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) -> (samples,)"""
        cutoff = rng.uniform(self._options.min_cutoff, self._options.max_cutoff)
        return filter_same(wav, firwin(_taps(self._rate), cutoff, fs=self._rate))
