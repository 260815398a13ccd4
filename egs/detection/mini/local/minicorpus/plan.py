"""Which utterances the corpus has: everything about them that can be known before a sound is made."""

from dataclasses import dataclass

import numpy as np

from wedefense.utils.random import generator

from .voice import RATE, Tracks, Voice, draw_tracks

SETS = ("train", "dev", "eval")
SPEAKERS = {"train": 14, "dev": 12, "eval": 14}
BONAFIDE = {"train": 140, "dev": 100, "eval": 150}
# How many utterances an attack has in a set: fake from end to end, and genuine with fake words in it.
KNOWN = ("A01", "A02", "A03", "A04", "A05")
UNKNOWN = ("A06", "A07", "A08")  # to training; dev has the first, or a calibration would not know what is to come
SPOOF = {
    "train": {attack: (22, 13) for attack in KNOWN},
    "dev": {attack: (8, 6) for attack in KNOWN} | {UNKNOWN[0]: (18, 12)},
    "eval": {attack: (6, 4) for attack in KNOWN} | {attack: (16, 10) for attack in UNKNOWN},
}


@dataclass(frozen=True)
class Item:
    """An utterance to make."""

    key: str
    set: str
    speaker: str
    attack: str = "-"      # "-" for bona fide
    partial: bool = False  # only some words are fake

    @property
    def label(self) -> str:
        return "bonafide" if self.attack == "-" else "spoof"

    @property
    def tag(self) -> str:
        """The attack column of the protocol: P03 is A03 on some of the words."""
        return self.attack.replace("A", "P") if self.partial else self.attack

    def random(self, seed: int, purpose: str) -> np.random.Generator:
        return generator(seed, 0, f"{self.key} {purpose}")

    def voice(self, seed: int) -> Voice:
        return Voice.draw(generator(seed, 0, f"voice of {self.speaker}"))

    def tracks(self, seed: int) -> Tracks:
        rng = self.random(seed, "words")
        return draw_tracks(self.voice(seed), rng.triangular(1.05, 1.4, 3.95), rng)

    def fake(self, tracks: Tracks, seed: int) -> list[tuple[int, int]]:
        """The samples (start, end) that the attack made."""
        if self.attack == "-":
            return []
        if not self.partial:
            return [(0, tracks.samples)]
        return _some_words(tracks.words, self.random(seed, "splice"))


def catalogue(seed: int, scale: float = 1.0) -> list[Item]:
    """All utterances; speakers are shared by the classes of a set and by no two sets."""
    items, first = [], 1
    for name in SETS:
        rng = generator(seed, 0, f"speakers of {name}")
        speakers = [f"LA_{first + i:04d}" for i in range(SPEAKERS[name])]
        first += len(speakers)
        kinds = [("-", False)] * _scaled(BONAFIDE[name], scale)
        for attack, (full, partial) in SPOOF[name].items():
            kinds += [(attack, False)] * _scaled(full, scale) + [(attack, True)] * _scaled(partial, scale)
        numbers = rng.choice(9_000_000, size=len(kinds), replace=False) + 1_000_000
        order = rng.permutation(len(speakers))
        fakes = 0
        for i, (attack, partial) in enumerate(kinds):
            letter = name[0].upper()
            key = f"LA_{letter}_{numbers[i]}" if attack == "-" else f"CON_{letter}_{fakes:07d}"
            fakes += attack != "-"
            items.append(Item(key, name, speakers[order[i % len(order)]], attack, partial))
    return items


def frame_labels(samples: int, fake: list[tuple[int, int]], resolution: float) -> np.ndarray:
    """'1' for a frame that is bona fide throughout, '0' for one that holds anything fake."""
    size = round(resolution * RATE)
    labels = np.full(-(-samples // size), "1")
    for start, end in fake:
        labels[start // size: -(-end // size)] = "0"
    return labels


def _scaled(count: int, scale: float) -> int:
    return max(1, round(count * scale))


def _some_words(words: list[tuple[int, int]], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Neighbouring words, in one or two runs, about half of the speech; never all of it where there are two words."""
    if len(words) == 1:
        start, end = words[0]
        middle = (start + end) // 2
        return [(start, middle) if rng.random() < 0.5 else (middle, end)]
    count = max(1, round(len(words) * rng.uniform(0.5, 0.9)))
    count = min(count, len(words) - 1)
    first = int(rng.integers(0, len(words) - count + 1))
    chosen = range(first, first + count)
    spans: list[tuple[int, int]] = []
    for i in chosen:
        if spans and spans[-1][1] == words[i][0]:
            spans[-1] = (spans[-1][0], words[i][1])
        else:
            spans.append(words[i])
    return spans
