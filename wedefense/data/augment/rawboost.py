"""RawBoost: convolutive, impulsive and stationary noise made from the waveform alone.

Tak, Kamble, Patino, Todisco, Evans: RawBoost, ICASSP 2022. The formulas are those of the published
program, their cost is not: all notch filters of an utterance are designed at once, and the powers
of the signal are filtered in one overlap-save pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft

from wedefense.config.augment import RawBoostOptions, Setting
from wedefense.data.augment.endings import Ending, EndsInFilter
from wedefense.data.augment.filters import filter_sum, limit_peak

_GRID = 512      # frequencies at which the largest gain of a filter is looked for, as published
_EDGE = 1e-3     # Hz that a band edge keeps from 0 and from half the sample rate


@dataclass(frozen=True)
class Notches:
    """The numbers drawn for some filters; (filters, bands) each but the gains, which are (filters,)."""

    centres: np.ndarray  # Hz
    widths: np.ndarray   # Hz
    taps: np.ndarray     # odd
    gains: np.ndarray    # dB


def draw_notches(options: RawBoostOptions, sample_rate: int, gains: list[tuple[float, float]],
                 rng: np.random.Generator) -> Notches:
    """For each (lowest, highest) gain the bands of one filter. Centres stay below half the sample rate."""
    shape = len(gains), options.nBands
    low, high = np.array(gains).T
    top = min(options.maxF, sample_rate / 2)
    taps = _between(options.minCoeff, options.maxCoeff, rng.random(shape)).astype(int)
    return Notches(centres=_between(min(options.minF, top), top, rng.random(shape)),
                   widths=_between(options.minBW, options.maxBW, rng.random(shape)),
                   taps=taps + (taps % 2 == 0),
                   gains=_between(low, high, rng.random(len(gains))))


def _between(low, high, unit: np.ndarray) -> np.ndarray:
    return low + (high - low) * unit


def notch_filters(notches: Notches, sample_rate: int) -> list[np.ndarray]:
    """Each filter: its band stops (windowed sinc, Hamming) in a row, largest gain as drawn."""
    half = sample_rate / 2
    lower = np.maximum(notches.centres - notches.widths / 2, _EDGE)[..., None] / half  # (filters, bands, 1)
    upper = np.minimum(notches.centres + notches.widths / 2, half - _EDGE)[..., None] / half
    taps = notches.taps[..., None]
    n = np.arange(taps.max())
    m = n - (taps - 1) // 2  # (filters, bands, longest)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / np.maximum(taps - 1, 1))
    stops = (lower * np.sinc(lower * m) + (m == 0) - upper * np.sinc(upper * m)) * window * (n < taps)
    stops /= stops.sum(-1, keepdims=True)
    lengths = notches.taps.sum(1) - notches.taps.shape[1] + 1
    size = 2 * _GRID * -(-int(lengths.max()) // (2 * _GRID))
    response = fft.rfft(stops, size).prod(1)  # (filters, size / 2 + 1)
    largest = np.abs(response[:, :-1:size // (2 * _GRID)]).max(1)
    filters = fft.irfft(response, size) * (10 ** (notches.gains / 20) / largest)[:, None]
    return [row[:length] for row, length in zip(filters, lengths)]


def _filtered(signals: list[np.ndarray], filters: list[np.ndarray]) -> np.ndarray:
    """Sum of the filtered signals, which start where `advances` says."""
    return filter_sum(signals, filters, advances(filters))


def advances(filters: list[np.ndarray]) -> list[int]:
    """The published program starts one sample after the filter's delay, so do we."""
    return [(len(taps) + 1) // 2 for taps in filters]


def convolutive(wav: np.ndarray, filters: list[np.ndarray]) -> np.ndarray:
    """Sum of powers 1, 2, ... of the signal, each through its filter; mean removed, peak at most 1."""
    powers = [wav]
    for _ in filters[1:]:
        powers.append(powers[-1] * wav)
    y = _filtered(powers, filters)
    return limit_peak(y - y.mean())


def impulsive(wav: np.ndarray, places: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The samples at `places` times 1 + factor; peak at most 1."""
    y = wav.copy()
    y[places] *= 1 + factors
    return limit_peak(y)


def stationary(wav: np.ndarray, white: np.ndarray, taps: np.ndarray, snr: float) -> np.ndarray:
    """Filtered white noise added at `snr` dB."""
    noise = _filtered([white], [taps])
    scale = np.linalg.norm(wav) / max(np.linalg.norm(noise), np.finfo(np.float32).tiny)
    return wav + noise * np.float32(scale * 10 ** (-snr / 20))


class Impulses:
    """`impulsive` with all its numbers drawn."""

    def __init__(self, places: np.ndarray, factors: np.ndarray):
        self._places, self._factors = places, factors

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        return impulsive(wav, self._places, self._factors)

    def gains(self, samples: int) -> np.ndarray:
        """(samples,) by which the utterance is multiplied."""
        gains = np.ones(samples, np.float32)
        gains[self._places] += self._factors
        return gains


class Convolutive(Ending):
    """`convolutive`, and the impulses where they come right after it."""

    kind = "convolutive"

    def __init__(self, filters: list[np.ndarray], impulses: Impulses | None = None):
        self.filters, self._impulses = filters, impulses

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        y = convolutive(wav, self.filters)
        return y if self._impulses is None else self._impulses(y)

    def then(self, impulses: Impulses) -> "Convolutive":
        return Convolutive(self.filters, impulses)

    @property
    def advances(self) -> list[int]:
        return advances(self.filters)

    @property
    def has_signal(self) -> bool:
        return self._impulses is not None

    def signal(self, samples: int) -> np.ndarray:
        assert self._impulses is not None
        return self._impulses.gains(samples)


class Stationary(Ending):
    """`stationary`; the white noise is its signal."""

    kind = "stationary"

    def __init__(self, white: np.ndarray, taps: np.ndarray, snr: float):
        self.filters, self.level = [taps], 10 ** (-snr / 20)
        self._white, self._snr = white, snr

    @property
    def advances(self) -> list[int]:
        return advances(self.filters)

    @property
    def has_signal(self) -> bool:
        return True

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        return stationary(wav, self._white, self.filters[0], self._snr)

    def signal(self, samples: int) -> np.ndarray:
        return self._white


class RawBoost(EndsInFilter):
    def __init__(self, options: RawBoostOptions, setting: Setting):
        self._options, self._rate = options, setting.sample_rate

    def begin(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Ending | None]:
        one, two, three = self._convolutive, self._impulsive, self._stationary
        if self._options.algo == 8:
            return limit_peak(one(wav, rng)(wav) + two(wav, rng)(wav)), None
        if self._options.algo == 5:
            return wav, one(wav, rng).then(two(wav, rng))
        series: list[tuple[Callable[..., Ending | Impulses], ...]] = [
            (), (one,), (two,), (three,), (one, two, three), (), (one, three), (two, three)]
        parts = [draw(wav, rng) for draw in series[self._options.algo]]
        for part in parts[:-1]:
            wav = part(wav)
        if not parts:
            return wav, None
        last = parts[-1]
        return (wav, last) if isinstance(last, Ending) else (last(wav), None)

    def _notches(self, gains, rng) -> list[np.ndarray]:
        return notch_filters(draw_notches(self._options, self._rate, gains, rng), self._rate)

    def _convolutive(self, wav, rng) -> Convolutive:
        o = self._options
        linear = o.minG, o.maxG
        nonlinear = o.minG - o.minBiasLinNonLin, o.maxG - o.maxBiasLinNonLin
        return Convolutive(self._notches([linear] + [nonlinear] * (o.N_f - 1), rng))

    def _impulsive(self, wav, rng) -> Impulses:
        share = rng.random() * self._options.P / 100
        places = rng.choice(len(wav), int(len(wav) * share), replace=False, shuffle=False)
        unit = rng.random((2, len(places)), dtype=np.float32) * 2 - 1
        return Impulses(places, np.float32(self._options.g_sd) * unit[0] * unit[1])

    def _stationary(self, wav, rng) -> Stationary:
        o = self._options
        white = rng.standard_normal(len(wav), dtype=np.float32)
        (taps,) = self._notches([(o.minG, o.maxG)], rng)
        return Stationary(white, taps, _between(o.SNRmin, o.SNRmax, rng.random()))
