"""Who speaks and what is said: a voice, and an utterance as tracks of what its vocal tract does."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

RATE = 16000
STEP = 64            # samples from one point of a track to the next
STEP_MS = 1000 * STEP / RATE
FORMANTS = 7

# Formants in Hz of an adult male tract; a voice scales them.
VOWELS = {
    "i": (280, 2250, 2950), "I": (400, 1950, 2550), "e": (460, 2050, 2650), "E": (560, 1800, 2500),
    "a": (750, 1350, 2500), "A": (700, 1120, 2450), "O": (560, 880, 2450), "o": (450, 830, 2400),
    "u": (320, 900, 2250), "@": (500, 1450, 2450), "V": (620, 1200, 2500),
}
# Formants, then the strength of voicing, breath and hiss, the place and the width of the hiss, and the length in ms.
CONSONANTS = {
    "m": ((270, 1050, 2200), 0.45, 0.00, 0.00, 2500, 1500, 75),
    "n": ((270, 1500, 2500), 0.45, 0.00, 0.00, 2500, 1500, 65),
    "l": ((360, 1200, 2600), 0.65, 0.01, 0.00, 2500, 1500, 60),
    "r": ((340, 1150, 1650), 0.65, 0.01, 0.00, 2500, 1500, 60),
    "w": ((300, 700, 2200), 0.60, 0.01, 0.00, 2500, 1500, 65),
    "j": ((280, 2200, 2950), 0.60, 0.01, 0.00, 3000, 1500, 60),
    "s": ((350, 1600, 2550), 0.00, 0.02, 1.00, 6100, 1300, 105),
    "S": ((350, 1800, 2450), 0.00, 0.02, 0.90, 3400, 1000, 105),
    "f": ((350, 1100, 2300), 0.00, 0.02, 0.30, 6800, 4000, 90),
    "h": ((500, 1400, 2450), 0.00, 0.35, 0.05, 2500, 2500, 65),
    "z": ((300, 1600, 2550), 0.30, 0.02, 0.55, 6000, 1400, 80),
    "v": ((300, 1100, 2300), 0.40, 0.02, 0.15, 6500, 4000, 65),
}
# Formants at the closure, voiced or not, place and width of the burst.
STOPS = {
    "p": ((350, 900, 2200), False, 1000, 1400), "t": ((350, 1750, 2650), False, 4300, 1500),
    "k": ((350, 1950, 2300), False, 2000, 800), "b": ((280, 900, 2200), True, 1000, 1400),
    "d": ((280, 1750, 2650), True, 4000, 1500), "g": ((280, 1950, 2300), True, 1900, 800),
}


@dataclass(frozen=True)
class Voice:
    """What stays the same over the utterances of one speaker."""

    pitch: float        # Hz
    liveliness: float   # share by which accents raise the pitch
    tract: float        # factor on the formants
    bend: np.ndarray    # factor on each formant
    width: float        # factor on the bandwidths
    open: float         # open share of a glottal cycle
    closing: float      # time constant of the closing, in cycles
    breath: float       # strength of aspiration beside voicing
    jitter: float       # share by which neighbouring cycles differ in length
    shimmer: float      # ... and in strength
    creak: float        # how much rougher phrases end
    pace: float         # factor on the number of syllables in a second
    hiss: float         # strength of fricatives

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Voice":
        high = rng.random() < 0.5
        return cls(pitch=rng.uniform(160, 235) if high else rng.uniform(85, 145), liveliness=rng.uniform(0.08, 0.3),
                   tract=rng.uniform(1.08, 1.22) if high else rng.uniform(0.94, 1.08),
                   bend=rng.normal(1, 0.03, FORMANTS), width=rng.uniform(0.8, 1.4), open=rng.uniform(0.45, 0.75),
                   closing=rng.uniform(0.012, 0.05), breath=rng.uniform(0.02, 0.12), jitter=rng.uniform(0.006, 0.016),
                   shimmer=rng.uniform(0.04, 0.10), creak=rng.uniform(0, 3), pace=rng.uniform(0.8, 1.2),
                   hiss=rng.uniform(0.5, 1.3))


@dataclass
class Tracks:
    """An utterance, a value each STEP samples; `words` are (start, end) in samples."""

    pitch: np.ndarray        # (points,) Hz
    voicing: np.ndarray      # (points,)
    breath: np.ndarray       # (points,)
    hiss: np.ndarray         # (points,)
    roughness: np.ndarray    # (points,) factor on jitter and shimmer
    formants: np.ndarray     # (points, FORMANTS) Hz
    widths: np.ndarray       # (points, FORMANTS) Hz
    hiss_place: np.ndarray   # (points,) Hz
    hiss_width: np.ndarray   # (points,) Hz
    words: list[tuple[int, int]]

    @property
    def samples(self) -> int:
        return len(self.pitch) * STEP


def smooth(track: np.ndarray, milliseconds: float) -> np.ndarray:
    """A Hann-weighted moving average over the points of a track, along its first axis."""
    half = max(1, round(milliseconds / STEP_MS / 2))  # points on either side
    window = np.hanning(2 * half + 3)[1:-1]
    return convolve1d(track, window / window.sum(), axis=0, mode="nearest")


@dataclass
class _Piece:
    """A stretch of constant targets."""

    milliseconds: float
    formants: tuple[float, ...]
    voicing: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    place: float = 2500.0
    width: float = 1500.0


def _syllable(rng: np.random.Generator) -> list[_Piece]:
    vowel = VOWELS[rng.choice(list(VOWELS))]
    pieces = []
    if rng.random() < 0.85:
        pieces += _consonant(rng, vowel)
    stress = rng.uniform(0.75, 1.1)
    length = rng.uniform(80, 190)
    pieces.append(_Piece(length, vowel, voicing=stress))
    if rng.random() < 0.25:  # a diphthong glides on to another vowel
        pieces.append(_Piece(length * 0.6, VOWELS[rng.choice(list(VOWELS))], voicing=stress * 0.9))
    if rng.random() < 0.35:
        pieces += _consonant(rng, vowel)
    return pieces


def _consonant(rng: np.random.Generator, vowel: tuple[float, ...]) -> list[_Piece]:
    if rng.random() < 0.4:
        formants, voiced, place, width = STOPS[rng.choice(list(STOPS))]
        pieces = [_Piece(rng.uniform(40, 75), formants, voicing=0.12 if voiced else 0.0),
                  _Piece(rng.uniform(6, 14), formants, hiss=rng.uniform(0.6, 1.2), place=place, width=width)]
        if not voiced:
            pieces.append(_Piece(rng.uniform(15, 50), vowel, breath=0.3, hiss=0.08, place=place, width=width))
        return pieces
    formants, voicing, breath, hiss, place, width, length = CONSONANTS[rng.choice(list(CONSONANTS))]
    return [_Piece(length * rng.uniform(0.75, 1.3), formants, voicing, breath, hiss,
                   place * rng.uniform(0.9, 1.1), width)]


def _pause(rng: np.random.Generator, low: float, high: float) -> list[_Piece]:
    """Silence, sometimes with a breath in it."""
    length = rng.uniform(low, high)
    if length < 150 or rng.random() < 0.5:
        return [_Piece(length, VOWELS["@"])]
    quiet, loud = _Piece(length * 0.2, VOWELS["@"]), _Piece(length * 0.6, VOWELS["@"], breath=rng.uniform(0.05, 0.15))
    return [quiet, loud, quiet]


def draw_tracks(voice: Voice, seconds: float, rng: np.random.Generator) -> Tracks:
    """Words of random syllables with pauses, about as long as asked."""
    pieces, words = _pause(rng, 80, 300), []
    target = seconds * 1000
    while sum(p.milliseconds for p in pieces) < (target - 250) * voice.pace:
        begin = len(pieces)
        for _ in range(rng.integers(1, 4)):
            pieces += _syllable(rng)
        words.append((begin, len(pieces)))
        if rng.random() < 0.35:
            pieces += _pause(rng, 50, 350)
    pieces += _pause(rng, 80, 300)

    stretch = target / sum(p.milliseconds for p in pieces)
    points = np.maximum(1, np.round([p.milliseconds * stretch / STEP_MS for p in pieces])).astype(int)
    edges = np.concatenate([[0], np.cumsum(points)])
    spans = [(int(edges[b]), int(edges[e])) for b, e in words]

    def track(values):
        return np.repeat(np.asarray(values, float), points, axis=0)

    lower = track([p.formants for p in pieces]) * voice.tract
    upper = np.array([3450, 4400, 5350, 6350]) * voice.tract
    formants = np.concatenate([lower, np.broadcast_to(upper, (len(lower), 4))], axis=1) * voice.bend
    formants = smooth(formants, 50) * (1 + 0.012 * _wander(rng, len(lower), FORMANTS, 60))
    widths = voice.width * (45 + 0.035 * formants) * (1 + 0.10 * _wander(rng, len(lower), FORMANTS, 60))
    widths = widths + 3 * np.maximum(formants - 6500, 0)  # a short tract has no resonance up there
    pitch, roughness = _melody(voice, spans, edges[-1], rng)
    loudness = 1 + 0.12 * _wander(rng, len(lower), 1, 200)[:, 0]
    voicing = smooth(track([p.voicing for p in pieces]), 16) * loudness
    return Tracks(pitch=pitch, voicing=voicing, roughness=roughness,
                  breath=smooth(track([p.breath for p in pieces]), 16) + voice.breath * voicing,
                  hiss=smooth(track([p.hiss for p in pieces]), 8) * voice.hiss,
                  formants=np.minimum(formants, 7700), widths=widths,
                  hiss_place=np.clip(smooth(track([p.place for p in pieces]), 20) * voice.tract, 300, 7500),
                  hiss_width=smooth(track([p.width for p in pieces]), 20),
                  words=[(b * STEP, e * STEP) for b, e in spans])


def _wander(rng: np.random.Generator, points: int, width: int, milliseconds: float) -> np.ndarray:
    """Slow random movement of unit size, (points, width)."""
    noise = smooth(rng.normal(size=(points, width)), milliseconds)
    return noise / (noise.std(axis=0, keepdims=True) + 1e-9)


def _melody(voice: Voice, spans, points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz and how rough the voice is: declination, an accent on most words, a fall at the end."""
    time = np.arange(points) / points
    melody = 0.08 - 0.18 * time * rng.uniform(0.4, 1.4)
    for begin, end in spans:
        centre, spread = rng.uniform(begin, end), (end - begin) * rng.uniform(0.3, 0.6)
        height = voice.liveliness * rng.uniform(-0.2, 1)
        melody = melody + height * np.exp(-0.5 * ((np.arange(points) - centre) / spread) ** 2)
    last = np.clip((np.arange(points) - (spans[-1][1] - 60)) / 60, 0, 1)
    melody = melody - 0.15 * last + 0.012 * _wander(rng, points, 1, 40)[:, 0]
    return voice.pitch * rng.uniform(0.93, 1.07) * np.exp(melody), 1 + voice.creak * last
