"""RawBoost written straight from its formulas with numpy and scipy: what ours is timed and tested against."""

from dataclasses import dataclass

import numpy as np
from scipy import signal


@dataclass
class Filter:
    """The numbers of one notch filter: bands as (centre, width, taps), and the gain in dB."""

    bands: list[tuple[float, float, int]]
    gain: float


def normalise(wav):
    peak = np.max(np.abs(wav))
    return wav / peak if peak > 1 else wav


def coefficients(numbers: Filter, rate: int):
    b = np.ones(1)
    for centre, width, taps in numbers.bands:
        edges = [max(centre - width / 2, 1e-3), min(centre + width / 2, rate / 2 - 1e-3)]
        b = np.convolve(b, signal.firwin(taps, edges, window="hamming", fs=rate))
    _, response = signal.freqz(b, 1, fs=rate)
    return 10 ** (numbers.gain / 20) * b / np.max(np.abs(response))


def apply(wav, b):
    extra = len(b) + 1
    y = signal.lfilter(b, 1, np.concatenate([wav, np.zeros(extra)]))
    return y[extra // 2:len(y) - extra // 2]


def convolutive(wav, filters: list[Filter], rate: int):
    y = np.zeros(len(wav))
    for order, numbers in enumerate(filters, 1):
        y = y + apply(wav ** order, coefficients(numbers, rate))
    return normalise(y - np.mean(y))


def impulsive(wav, places, first, second, gain: float):
    y = wav.copy()
    y[places] = wav[places] + gain * wav[places] * (2 * first - 1) * (2 * second - 1)
    return normalise(y)


def stationary(wav, white, numbers: Filter, snr: float, rate: int):
    noise = apply(white, coefficients(numbers, rate))
    noise = noise / np.max(np.abs(noise))
    return wav + noise / np.linalg.norm(noise) * np.linalg.norm(wav) / 10 ** (snr / 20)


def rawboost(wav, options, rate: int, rng):
    """The algorithm that `options` names, its numbers drawn one after another."""
    def draw_filter(low, high):
        bands = []
        for _ in range(options.nBands):
            taps = int(rng.uniform(options.minCoeff, options.maxCoeff))
            bands.append((rng.uniform(options.minF, options.maxF), rng.uniform(options.minBW, options.maxBW),
                          taps if taps % 2 else taps + 1))
        return Filter(bands, rng.uniform(min(low, high), max(low, high)))

    def one(x):
        bent = options.minG - options.minBiasLinNonLin, options.maxG - options.maxBiasLinNonLin
        filters = [draw_filter(options.minG, options.maxG)] + [draw_filter(*bent) for _ in range(options.N_f - 1)]
        return convolutive(x, filters, rate)

    def two(x):
        places = rng.permutation(len(x))[:int(len(x) * rng.uniform(0, options.P) / 100)]
        return impulsive(x, places, rng.random(len(places)), rng.random(len(places)), options.g_sd)

    def three(x):
        white = rng.normal(0, 1, len(x))
        numbers = draw_filter(options.minG, options.maxG)
        return stationary(x, white, numbers, rng.uniform(options.SNRmin, options.SNRmax), rate)

    if options.algo == 8:
        return normalise(one(wav) + two(wav))
    for algorithm in [(), (one,), (two,), (three,), (one, two, three), (one, two), (one, three),
                      (two, three)][options.algo]:
        wav = algorithm(wav)
    return wav
