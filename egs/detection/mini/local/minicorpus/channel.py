"""What both classes share: a room, a microphone, noise and a level, so that none of these tells them apart."""

import numpy as np
from scipy.signal import fftconvolve, sosfilt

from .voice import RATE


def record(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The utterance as a random recorder in a random room would have it, as long as before."""
    wav = wav / (np.sqrt(np.mean(wav**2)) + 1e-9)
    wav = fftconvolve(wav, room(rng))[: len(wav)]
    wav = equalise(wav, rng)
    wav = wav / (np.sqrt(np.mean(wav**2)) + 1e-9)
    wav = wav + noise(len(wav), rng) * 10 ** (-rng.uniform(28, 48) / 20)
    wav = wav * 10 ** (rng.uniform(-32, -20) / 20)
    return wav * min(1.0, 0.95 / np.abs(wav).max())


def room(rng: np.random.Generator) -> np.ndarray:
    """A direct sound, a few early reflections and a decaying tail."""
    decay = rng.uniform(0.08, 0.35)  # seconds to fall by 60 dB
    samples = int(decay * RATE)
    tail = rng.normal(size=samples) * 10 ** (-3 * np.arange(samples) / samples)
    tail[: int(0.004 * RATE)] = 0
    tail *= 10 ** (-rng.uniform(14, 30) / 20) / np.sqrt(np.sum(tail**2))
    for _ in range(rng.integers(1, 5)):
        tail[rng.integers(int(0.001 * RATE), int(0.02 * RATE))] += rng.uniform(-0.15, 0.15)
    tail[0] = 1
    return tail


def equalise(wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bells and a shelf at each end."""
    sections = [_bell(60 * 110 ** rng.random(), rng.uniform(-8, 8), rng.uniform(0.4, 1.5)) for _ in range(4)]
    sections += [_shelf(rng.uniform(100, 400), rng.uniform(-8, 4), -1),
                 _shelf(rng.uniform(2500, 6500), rng.uniform(-12, 6), 1)]
    return sosfilt(np.array(sections), wav)


def noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a random colour and unit power."""
    spectrum = np.fft.rfft(rng.normal(size=samples))
    frequency = np.maximum(np.arange(len(spectrum)) * RATE / samples, 40)
    spectrum *= frequency ** (-rng.uniform(0, 1))
    wav = np.fft.irfft(spectrum, samples)
    return wav / (np.sqrt(np.mean(wav**2)) + 1e-9)


def _bell(frequency: float, decibel: float, quality: float) -> np.ndarray:
    """A peaking section (the formulas of the audio equaliser cookbook)."""
    gain, omega = 10 ** (decibel / 40), 2 * np.pi * frequency / RATE
    alpha = np.sin(omega) / (2 * quality)
    b = np.array([1 + alpha * gain, -2 * np.cos(omega), 1 - alpha * gain])
    a = np.array([1 + alpha / gain, -2 * np.cos(omega), 1 - alpha / gain])
    return np.concatenate([b, a]) / a[0]


def _shelf(frequency: float, decibel: float, side: int) -> np.ndarray:
    """A first-order shelf on the low (-1) or the high (+1) side of a frequency."""
    t, gain = np.tan(np.pi * frequency / RATE), 10 ** (decibel / 20)
    b = (t + gain, t - gain) if side > 0 else (1 + gain * t, gain * t - 1)
    a = (t + 1, t - 1) if side > 0 else (1 + t, t - 1)
    return np.array([b[0], b[1], 0, a[0], a[1], 0]) / a[0]
