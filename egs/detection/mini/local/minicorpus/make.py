"""One utterance of the plan, from words to samples."""

import numpy as np

from .attacks import ATTACKS
from .channel import record
from .plan import Item
from .synth import speak

FADE = 64  # samples over which a splice fades (4 ms)


def utterance(item: Item, seed: int) -> np.ndarray:
    """(samples,) between -1 and 1."""
    voice, tracks = item.voice(seed), item.tracks(seed)
    speech = speak(voice, tracks, item.random(seed, "speech"))
    wav = speech.wav
    fake = item.fake(tracks, seed)
    if fake:
        faked = ATTACKS[item.attack](voice, speech, item.random(seed, "attack"))
        faked = faked * np.sqrt(np.mean(wav**2) / np.mean(faked**2))
        wav = splice(wav, faked, fake)
    return record(wav, item.random(seed, "channel"))


def splice(wav: np.ndarray, other: np.ndarray, spans: list[tuple[int, int]]) -> np.ndarray:
    """`other` inside the spans, `wav` outside, with short fades inside the spans."""
    share = np.zeros(len(wav))
    for start, end in spans:
        ramp = np.minimum(np.arange(end - start), np.arange(end - start)[::-1]) + 1
        share[start:end] = 1 if end - start == len(wav) else np.minimum(ramp / FADE, 1)
    return wav + share * (other - wav)
