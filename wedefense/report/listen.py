"""The utterances that a detector judges worst, with the recordings to listen to, inside the page."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wedefense.data.audio import BadAudio, open_audio, read_frames
from wedefense.report import html
from wedefense.report.html import Markup, Row
from wedefense.report.player import player
from wedefense.scoring.results import DURATION, ScoredSet
from wedefense.utils.checks import at_least
from wedefense.utils.tables import read_table

_SECONDS = 6.0


@dataclass
class Players:
    """Takes recordings into a page, as lossless copies of their first seconds, until it would hold too much."""

    listen: int = 3              # utterances of each class and set; 0: no table, no recording
    bytes_left: int = 4_000_000   # of a page

    def __post_init__(self):
        at_least(self, 0, "listen")

    def cell(self, path: str) -> Markup | str:
        """An empty cell where the file is not there or cannot be read, or the page is full. Nothing is lost: what is to
        be heard may be what a codec leaves."""
        try:
            with open_audio(path) as sound:
                rate = sound.samplerate
                wav = read_frames(sound, 0, min(sound.frames, round(_SECONDS * rate)))
        except BadAudio:
            return ""
        heard = player(wav, rate, exact=True)
        if len(heard) > self.bytes_left:
            return ""
        self.bytes_left -= len(heard)
        return Markup(heard)


def worst(scored: ScoredSet, classes: tuple[str, str], players: Players) -> str:
    """The lowest scores of the first class and the highest of the second; empty where none is asked for, or where
    trials are parts of utterances, which share a name."""
    trials = scored.trials
    if not players.listen or len(set(trials.names)) < len(trials.names):
        return ""
    rows_of = {name: np.flatnonzero(mask) for name, mask in zip(classes, (trials.is_bonafide, ~trials.is_bonafide))}
    ranked = {name: rows[np.argsort(sign * trials.scores[rows], kind="stable")][:players.listen]
              for (name, rows), sign in zip(rows_of.items(), (1, -1))}
    files: Mapping[str, str] = read_table(scored.audio) if scored.audio else {}
    titles = [title for title in scored.meta if title != DURATION]
    rows: list[list[str | Markup]] = []
    for name, chosen in ranked.items():
        for i in chosen.tolist():
            utterance = trials.names[i]
            heard = players.cell(files[utterance]) if utterance in files else ""
            rows.append([utterance, name, f"{trials.scores[i]:.3f}", *(scored.meta[title][i] for title in titles),
                         "" if scored.seconds is None else f"{scored.seconds[i]:.2f}", heard])
    header = ["utterance", "is", "score", *titles, "seconds", "the first 6 s"]
    shown = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return html.table([header[i] for i in shown], [Row([row[i] for i in shown]) for row in rows])

