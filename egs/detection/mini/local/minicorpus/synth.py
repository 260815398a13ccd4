"""From tracks to sound: glottal cycles and noise through a tract that moves."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import sosfilt

from .voice import RATE, STEP, Tracks, Voice


@dataclass
class Speech:
    """A clean utterance and what an attack may know of it."""

    wav: np.ndarray      # (samples,)
    tracks: Tracks
    phase: np.ndarray    # (samples,) glottal cycles since the start
    voiced: np.ndarray   # (samples,) strength of voicing


def to_samples(track: np.ndarray) -> np.ndarray:
    """A track (points,) at each sample."""
    at = np.arange(len(track)) * STEP + STEP / 2
    return np.interp(np.arange(len(track) * STEP), at, track)


def speak(voice: Voice, tracks: Tracks, rng: np.random.Generator, natural: bool = True) -> Speech:
    """The utterance; where it is not natural, cycles do not differ and a decaying pulse stands for the glottis."""
    voiced = to_samples(tracks.voicing)
    phase, strength = _cycles(voice, tracks, rng, natural)
    within = phase - np.floor(phase)
    pulse = _pulse(within, voice.open, voice.closing) if natural else _buzz(within, voice.closing)
    glottis = pulse * strength * voiced

    # Aspiration passes while the glottis is open, hiss arises at a narrowing and skips most of the tract.
    flow = 0.35 + np.where(within < voice.open, np.sin(np.pi * np.minimum(within / voice.open, 1)), 0) ** 2
    gate = 1 + (flow - 1) * np.minimum(voiced, 1)
    source = glottis + 0.9 * to_samples(tracks.breath) * gate * rng.normal(size=tracks.samples)
    mouth = through_tract(source, tracks.formants, tracks.widths)
    mouth /= np.sqrt(np.mean(mouth**2))
    hiss = to_samples(tracks.hiss) * rng.normal(size=tracks.samples)
    hiss = band_pass(hiss, tracks.hiss_place, tracks.hiss_width)
    return Speech(mouth + hiss, tracks, phase, voiced)


def _cycles(voice: Voice, tracks: Tracks, rng: np.random.Generator, natural: bool) -> tuple[np.ndarray, np.ndarray]:
    """(phase, strength) at each sample, every cycle a little longer or stronger than the one before."""
    step = to_samples(tracks.pitch) / RATE
    number = np.cumsum(step).astype(int)
    rough = natural * to_samples(tracks.roughness)
    longer, stronger = rng.normal(size=number[-1] + 1), rng.normal(size=number[-1] + 1)
    phase = np.cumsum(step * (1 + voice.jitter * rough * longer[number]))
    cycle = np.minimum(phase.astype(int), number[-1])
    return phase, 1 + np.clip(voice.shimmer * rough * stronger[cycle], -0.6, 0.6)


def _pulse(within: np.ndarray, opening: float, closing: float) -> np.ndarray:
    """Derivative of the glottal flow: a cubic opening phase, then an exponential return."""
    x = within / opening
    rising = 2 * x - 3 * x * x  # ends at -1
    after = np.clip((within - opening) / closing, 0, 30)
    return np.where(x < 1, rising, -np.exp(-after))


def _buzz(within: np.ndarray, closing: float) -> np.ndarray:
    """A step and a decay, without the mean."""
    pulse = np.exp(-within / (3 * closing))
    return pulse - pulse.mean()


def resonators(places: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Second-order sections of unit gain at 0 Hz, (..., 6), for poles at these frequencies."""
    radius = np.exp(-np.pi * widths / RATE)
    middle = -2 * radius * np.cos(2 * np.pi * places / RATE)
    last = radius * radius
    zero, one = np.zeros_like(last), np.ones_like(last)
    return np.stack([1 + middle + last, zero, zero, one, middle, last], axis=-1)


def through_tract(source: np.ndarray, places: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Filter (samples,) with a cascade that changes at every point of (points, formants)."""
    return _moving_filter(source, resonators(places, widths))


def band_pass(source: np.ndarray, place: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Noise round a moving frequency, as strong wherever it is."""
    section = resonators(place, width)
    section[:, 0] = 1 - np.exp(-np.pi * width / RATE)
    section[:, 2] = -section[:, 0]  # zeros at 0 Hz and at half the rate
    return _moving_filter(source, section[:, None, :])


def _moving_filter(source: np.ndarray, sections: np.ndarray) -> np.ndarray:
    out = np.zeros_like(source)
    state = np.zeros((sections.shape[1], 2))
    for i, section in enumerate(sections):
        block = slice(i * STEP, (i + 1) * STEP)
        if source[block].any() or state.any():
            out[block], state = sosfilt(section, source[block], zi=state)
    return out
