"""Ways to fake an utterance; each leaves its own artefact and keeps words, timing and length."""

from dataclasses import replace

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, istft, sosfiltfilt, stft

from .synth import Speech, speak, to_samples
from .voice import RATE, Voice, smooth

HOP = 80  # samples from one frame of an analysis to the next


def regular(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Parametric synthesis: cycles all alike, a stylised melody, an articulation that moves in steps."""
    tracks = speech.tracks
    points = np.arange(len(tracks.pitch))
    knots = points[:: rng.integers(25, 45)]
    held = (points // 7) * 7  # parameters come every 28 ms
    breath = np.where(tracks.voicing > 0.1, 0, tracks.breath)
    flat = replace(tracks, pitch=np.interp(points, knots, smooth(tracks.pitch, 60)[knots])[held],
                   formants=smooth(tracks.formants, 60)[held], widths=smooth(tracks.widths, 120)[held],
                   voicing=tracks.voicing[held], breath=breath[held], hiss=tracks.hiss[held])
    return speak(voice, flat, rng, natural=False).wav


def pulses(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Source-filter vocoder: the measured envelope, given minimum phase, excited by pulses and by noise."""
    size = 512
    envelope = _held(_envelope(speech.wav, size, quefrency=44), 5)       # (frames, bins), new every 25 ms
    voiced = speech.voiced[np.minimum(np.arange(len(envelope)) * HOP, len(speech.wav) - 1)] > 0.08
    phase = np.cumsum(to_samples(smooth(speech.tracks.pitch, 40))) / RATE
    marks = np.flatnonzero(np.diff(np.floor(phase)) > 0) + 1
    marks = marks[voiced[np.minimum(marks // HOP, len(voiced) - 1)]]
    responses = _minimum_phase(envelope)                                 # (frames, size)
    period = np.diff(marks, append=marks[-1:] + 100)
    shots = responses[marks // HOP] * np.sqrt(np.clip(period, 20, 200))[:, None]
    out = _scatter(shots, marks, len(speech.wav))
    return out + _shaped_noise(envelope * np.where(voiced, 0.1, 1.0)[:, None], len(speech.wav), rng)


def griffin_lim(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """A spectrogram of few frames without phase, made audible by a few rounds of guessing it."""
    grid = {"nperseg": 1024, "noverlap": 512}
    target = np.abs(stft(speech.wav, RATE, **grid)[2])
    target = uniform_filter1d(target, 3, axis=0)
    guess = np.exp(2j * np.pi * rng.random(target.shape))
    for _ in range(3):
        wav = istft(target * guess, RATE, **grid)[1]
        spectrum = stft(wav, RATE, **grid)[2][:, : target.shape[1]]
        guess = spectrum / (np.abs(spectrum) + 1e-9)
    return _fit(istft(target * guess, RATE, **grid)[1], len(speech.wav))


def images(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """A generator that upsamples badly: the lower band mirrored in the upper, and a ripple at its hop."""
    wav = speech.wav
    lower = sosfiltfilt(butter(8, 3600, fs=RATE, output="sos"), wav)
    mirror = np.where(np.arange(len(wav)) % 2, -1.0, 1.0)               # moves f to 8 kHz - f
    upper = wav - sosfiltfilt(butter(6, 4300, fs=RATE, output="sos"), wav)
    return _rippled(_dispersed(lower + 0.35 * upper + lower * mirror * rng.uniform(0.12, 0.25), rng), 400, 0.4)


def starved(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """A coder out of bits: few levels, any of four phases over 300 Hz; what is weak in a frame nearly vanishes."""
    grid = {"nperseg": 768, "noverlap": 384}
    frequency, _, spectrum = stft(speech.wav, RATE, **grid)
    level = 20 * np.log10(np.abs(spectrum) + 1e-6)
    near = uniform_filter1d(level, 25, axis=0)
    step = rng.uniform(5, 8)
    coarse = np.where(level > near + rng.uniform(0, 3), np.round(level / step) * step, near - 12)
    phase = np.angle(spectrum) + np.where(frequency > 300, 1.57, 0)[:, None] * rng.integers(4, size=spectrum.shape)
    return _fit(istft(10 ** (coarse / 20) * np.exp(1j * phase), RATE, **grid)[1], len(speech.wav))


def harmonics(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Additive synthesis: harmonics that all start in phase where there is voice, shaped noise elsewhere."""
    size = 512
    envelope = _held(_envelope(speech.wav, size, quefrency=44), 4)
    pitch = to_samples(smooth(speech.tracks.pitch, 40))
    phase = np.cumsum(pitch) / RATE
    i = np.minimum(np.arange(len(pitch)) // HOP, len(envelope) - 1)
    voiced = np.clip(speech.voiced * 4, 0, 1)
    out = np.zeros(len(pitch))
    for number in range(1, int(7600 / pitch.min())):
        bins = np.minimum(number * pitch * size / RATE, size / 2 - 1.001)
        j = bins.astype(int)
        value = envelope[i, j] * (1 - (bins - j)) + envelope[i, j + 1] * (bins - j)
        out += value * np.cos(2 * np.pi * number * phase) * (number * pitch < 7600)
    out *= voiced * np.sqrt(pitch / RATE) * 1.4
    return out + _shaped_noise(envelope, len(pitch), rng) * (1 - voiced)


def repeats(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Stretched units: of the glottal cycles in 25 to 35 ms only the first is real, the others are its copies.

    As in a diphone base, all cycles have been given one phase: they are symmetric about a peak.
    """
    every = max(3, int(rng.uniform(0.025, 0.035) * speech.tracks.pitch.mean()))
    cycle = np.floor(speech.phase)
    real = np.floor(cycle / every) * every
    time = np.arange(len(speech.phase))
    away = speech.phase - cycle - voice.open  # cycles from the closing of the glottis
    sides = [np.interp(real + voice.open + way * away, speech.phase, time) for way in (1, -1)]
    copied = rng.choice([-1, 1]) * sum(np.interp(source, time, speech.wav) for source in sides) / np.sqrt(2)
    weight = np.clip((speech.voiced - 0.1) * 10, 0, 1)
    return weight * copied + (1 - weight) * speech.wav


def folded(voice: Voice, speech: Speech, rng: np.random.Generator) -> np.ndarray:
    """Telephone speech made wide in frames: the band over 4 kHz is the one below it, moved up and tilted down."""
    lower = sosfiltfilt(butter(10, 3800, fs=RATE, output="sos"), speech.wav)
    moved = lower * np.cos(2 * np.pi * 4000 / RATE * np.arange(len(lower)))
    moved = moved - sosfiltfilt(butter(10, 4000, fs=RATE, output="sos"), moved)
    return _rippled(lower + moved * rng.uniform(0.12, 0.3), 320, 0.3)


ATTACKS = {"A01": regular, "A02": pulses, "A03": griffin_lim, "A04": images, "A05": starved,
           "A06": repeats, "A07": harmonics, "A08": folded}


def _held(frames: np.ndarray, count: int) -> np.ndarray:
    """Every so many frames the first of them, to the next."""
    return frames[(np.arange(len(frames)) // count) * count]


def _rippled(wav: np.ndarray, hop: int, depth: float) -> np.ndarray:
    """A gain that sags over each hop and jumps back at the next."""
    return wav * (1 + depth * (1 - 2 * (np.arange(len(wav)) % hop) / hop))


def _dispersed(wav: np.ndarray, rng: np.random.Generator, milliseconds: float = 12) -> np.ndarray:
    """Magnitudes as they were, but every 150 Hz with a delay of its own."""
    spectrum = np.fft.rfft(wav)
    frequency = np.arange(len(spectrum)) * RATE / len(wav)
    delay = np.interp(frequency, np.arange(0, 8150, 150), rng.uniform(0, milliseconds / 1000, 55))
    phase = -2 * np.pi * np.cumsum(delay) * RATE / len(wav)
    return np.fft.irfft(spectrum * np.exp(1j * phase), len(wav))


def _shaped_noise(envelope: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with these magnitudes (frames, bins)."""
    size = 2 * envelope.shape[1] - 2
    noise = _frames(rng.normal(size=samples + size), size, HOP, len(envelope))
    noise = np.fft.irfft(np.fft.rfft(noise) * envelope) * np.hanning(size) * 0.25
    return _scatter(noise, np.arange(len(envelope)) * HOP - size // 2, samples)


def _envelope(wav: np.ndarray, size: int, quefrency: int) -> np.ndarray:
    """Smoothed magnitude of the spectrum around every HOP-th sample, (frames, bins)."""
    frames = _frames(np.pad(wav, size // 2), size, HOP, len(wav) // HOP + 1)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(size))) / np.sqrt(size * 0.375)
    cepstrum = np.fft.irfft(np.log(spectrum + 1e-5))
    lifter = np.zeros(size)
    lifter[:quefrency], lifter[-quefrency + 1:] = 1, 1
    return np.exp(np.fft.rfft(cepstrum * lifter).real)


def _minimum_phase(envelope: np.ndarray) -> np.ndarray:
    """Impulse responses (frames, size) of these magnitudes."""
    cepstrum = np.fft.irfft(np.log(envelope))
    size = cepstrum.shape[1]
    cepstrum[:, 1: size // 2] *= 2
    cepstrum[:, size // 2 + 1:] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))


def _frames(wav: np.ndarray, size: int, hop: int, count: int) -> np.ndarray:
    wav = np.pad(wav, (0, max(0, (count - 1) * hop + size - len(wav))))
    return np.lib.stride_tricks.sliding_window_view(wav, size)[: (count - 1) * hop + 1: hop]


def _scatter(pieces: np.ndarray, starts: np.ndarray, samples: int) -> np.ndarray:
    """The sum of pieces (count, size) laid down at these samples."""
    size = pieces.shape[1]
    places = (starts[:, None] + np.arange(size)) + size
    return np.bincount(places.ravel(), pieces.ravel(), samples + 2 * size)[size: size + samples]


def _fit(wav: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(wav, (0, max(0, samples - len(wav))))[:samples]
