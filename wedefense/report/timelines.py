"""The timelines of a page: the utterances that are localised best, at the median and worst, to be seen and heard."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from wedefense.data.audio import BadAudio, open_audio, rate_ratio, read_span, resampled_length
from wedefense.data.spans import Span
from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.localization import TIME, FrameScores
from wedefense.metrics.segments import Range, ranges_from_labels, scored_pieces, whole_frames
from wedefense.report.html import Figure, paragraph, section
from wedefense.report.player import player
from wedefense.report.timeline import Timeline, sketch, timeline_figure, window_of
from wedefense.scoring.results import ScoredSet
from wedefense.scoring.segments import read_set
from wedefense.utils.tables import plural, read_table

_RATE, _SECONDS = 16000, 20.0   # of what is heard; of a long utterance the part with most mistakes
_SIZE, _COLUMNS = (4.8, 4.4), 400


def of_sets(folder: ExperimentFolder, results: Mapping, sets: Sequence[ScoredSet]) -> Iterator[str]:
    """A section for each set whose finest segments are judged and whose recordings are known; for dev only where there
    is no other."""
    for scored in sets:
        where = results["sets"][scored.name].get("localization")
        if not where or scored.audio is None or (scored.name == results["dev_set"] and len(sets) > 1):
            continue
        ms = min(map(int, where))
        row = where[str(ms)]["rows"][TIME]
        found = read_set(folder.embeddings(scored.name), scored.audio.parent, ms, quiet=True)
        if found is not None:
            yield timelines(found, row.get("dev_threshold", row["eer_threshold"]), read_table(scored.audio),
                            f"Timelines: {scored.name}")


class _Judged(NamedTuple):
    name: str
    wrong: float  # the share of its time that is called wrongly


def timelines(found: FrameScores, threshold: float, audio: Mapping[str, str], title: str = "Timelines") -> str:
    """A section with three utterances at most; `audio`: utterance -> path. What cannot be read is passed over."""
    ranked = _ranked(found, threshold, audio)
    if not ranked:
        return section(title, paragraph("Left out: no utterance has a recording in the table given.", "note"))
    places = {"best": range(len(ranked)), "median": _from_the_middle(len(ranked)),
              "worst": range(len(ranked) - 1, -1, -1)}
    shown: dict[str, str] = {}
    for place, order in places.items():
        for i in order:
            if ranked[i].name not in shown and (drawn := _one(found, threshold, audio, ranked[i], place)):
                shown[ranked[i].name] = drawn
                break
    note = (f"Of {plural(len(ranked), 'utterance')}{' of both classes' if _mixed(found) else ''}: the one with the "
            f"least time called wrongly, the median and the one with the most. Fake is called what scores at or below "
            f"{threshold:.3g}.")
    return section(title, paragraph(note, "note"), paragraph("A click into a picture plays from there.", "note screen"),
                   f"<div class='figures'>\n{''.join(shown.values())}\n</div>")


def _mixed(found: FrameScores) -> list[str]:
    return [name for name, ranges in found.ranges.items() if len({span.is_bonafide for span in ranges}) > 1]


def _ranked(found: FrameScores, threshold: float, audio: Mapping[str, str]) -> list[_Judged]:
    """From best to worst; those of both classes where there are any, for nowhere else is there a place to find."""
    judged = []
    for name in _mixed(found) or found.ranges:
        if name in audio:
            scores = np.asarray(found.scores[name])
            scores, seconds, is_bonafide = scored_pieces(scores, found.ranges[name], found.shift)
            judged.append(_Judged(name, float(seconds[(scores <= threshold) == is_bonafide].sum() / seconds.sum())))
    return sorted(judged, key=lambda one: (one.wrong, one.name))


def _from_the_middle(count: int) -> Iterator[int]:
    yield from sorted(range(count), key=lambda place: (abs(place - (count - 1) / 2), place))


def _one(found: FrameScores, threshold: float, audio: Mapping[str, str], judged: _Judged, place: str) -> str:
    """A figure with its player; empty where the recording cannot be read."""
    name, shift, ranges = judged.name, found.shift, found.ranges[judged.name]
    scores = whole_frames(np.asarray(found.scores[name], dtype=float), ranges[-1].end, shift)
    begin, end = _part(scores <= threshold, ranges, shift)
    try:
        wav = _heard(audio[name], begin, end)
    except BadAudio:
        return ""
    end = begin + len(wav) / _RATE
    called = _spans(ranges_from_labels((scores > threshold).astype(int), shift))
    called[-1] = called[-1]._replace(end=ranges[-1].end)
    shown = Timeline(sketch(lambda start, length: wav[start:start + length], len(wav), _RATE, _COLUMNS),
                     scores[round(begin / shift):], shift, threshold, window_of(called, begin, end),
                     window_of(_spans(ranges), begin, end), begin)
    drawn = timeline_figure(shown, _SIZE)
    figure = Figure(f"timeline_{place}", f"The {place}: {name}, {100 * judged.wrong:.1f} % of its time called wrongly"
                    + (f"; {begin:.0f} to {end:.0f} of {ranges[-1].end:.0f} s" if begin or end < ranges[-1].end - 1
                       else ""), drawn)
    picture = figure.inline
    box = drawn.axes[0].get_position()
    return (f"<figure class='timeline' data-left='{box.x0:.4f}' data-right='{box.x1:.4f}' "
            f"data-seconds='{len(wav) / _RATE:.3f}'><div>{picture}<i hidden></i></div>{player(wav, _RATE)}"
            f"<figcaption>{escape(figure.caption)}</figcaption></figure>\n")


def _part(fake: np.ndarray, ranges: Sequence[Range], shift: float) -> tuple[float, float]:
    """(begin, end) of what is shown, on the grid of frames."""
    if ranges[-1].end <= _SECONDS:
        return 0.0, ranges[-1].end
    middles = (np.arange(len(fake)) + 0.5) * shift
    truth = np.array([span.is_bonafide for span in ranges])[np.searchsorted([span.end for span in ranges], middles)
                                                            .clip(max=len(ranges) - 1)]
    wrong, size = np.cumsum(np.concatenate([[0], fake == truth])), round(_SECONDS / shift)
    begin = int(np.argmax(wrong[size:] - wrong[:-size])) * shift
    return begin, begin + _SECONDS


def _heard(path: str, begin: float, end: float) -> np.ndarray:
    with open_audio(path) as sound:
        ratio = rate_ratio(sound.samplerate, _RATE)
        samples = resampled_length(sound.frames, ratio)
        first, last = round(begin * _RATE), min(round(end * _RATE), samples)
        if last - first < 8:
            raise BadAudio("shorter than its labels")
        return read_span(sound, ratio, first, last - first)


def _spans(ranges: Sequence[Range]) -> list[Span]:
    return [Span(start, end, "bonafide" if is_bonafide else "spoof") for start, end, is_bonafide in ranges]
