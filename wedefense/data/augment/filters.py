"""Filtering a whole crop: several short filters at once, one long one, and the peak kept within full scale."""

import numpy as np

PEAK_FLOOR = np.float32(1e-4)  # WeSpeaker's
_BLOCK = 8  # the blocks of an FFT are about so many filters long


def limit_peak(wav: np.ndarray) -> np.ndarray:
    """Scaled down to a peak of 1 where it exceeds that, else untouched."""
    peak = max(wav.max(initial=0), -wav.min(initial=0))
    return wav / peak if peak > 1 else wav


def scale_peak(wav: np.ndarray) -> np.ndarray:
    """Scaled to a peak of 1, up or down, as WeSpeaker scales what it has augmented (silence stays silence)."""
    return wav / (np.abs(wav).max(initial=0) + PEAK_FLOOR)


def power(wav: np.ndarray) -> float:
    """Mean square."""
    return float(np.dot(wav, wav)) / max(1, len(wav))


def filter_sum(signals: list[np.ndarray], filters: list[np.ndarray], advances: list[int]) -> np.ndarray:
    """Sum over i of `signals[i]`, each (samples,), convolved with `filters[i]` and moved `advances[i]` samples ahead.

    Overlap-save: one inverse transform serves all signals, and blocks that fit the cache serve any length.
    """
    from scipy import fft  # by whoever filters: a detector that scores does not wait for it

    samples = len(signals[0])
    ahead = max(advances)                                                   # samples after t that y[t] needs
    behind = max(0, *(len(b) - 1 - a for b, a in zip(filters, advances)))   # and before it
    size = 1 << int(np.ceil(np.log2(_BLOCK * (ahead + behind + 1))))
    step = size - ahead - behind
    blocks = -(-samples // step)
    padded = np.zeros(blocks * step + ahead + behind, np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]  # (blocks, size)
    kernels = np.zeros((len(filters), size), np.float32)
    for row, taps, advance in zip(kernels, filters, advances):
        row[:len(taps)] = taps
        row[:] = np.roll(row, -advance)
    total = 0
    for signal, response in zip(signals, fft.rfft(kernels)):
        padded[behind:behind + samples] = signal
        total = total + fft.rfft(windows) * response  # (blocks, size / 2 + 1)
    return fft.irfft(total, size)[:, behind:size - ahead].reshape(-1)[:samples]


def filter_same(wav: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Convolved with a filter of odd length without its delay."""
    return filter_sum([wav], [taps], [len(taps) // 2])


def filter_long(wav: np.ndarray, response: np.ndarray, advance: int) -> np.ndarray:
    """Convolved with one long response, `advance` samples ahead, as long as `wav`."""
    from scipy import fft

    response = response[:len(wav) + advance]  # what lies behind falls outside
    size = fft.next_fast_len(len(wav) + len(response) - 1, real=True)
    spectrum = fft.rfft(wav, size) * fft.rfft(response.astype(np.float32, copy=False), size)
    return fft.irfft(spectrum, size)[advance:advance + len(wav)]
