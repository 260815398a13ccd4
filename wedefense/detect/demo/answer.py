"""What the page of `wedefense demo` says of a recording; it needs no gradio."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from wedefense.data.audio import BadAudio
from wedefense.detect.attention import attention
from wedefense.detect.frames import FrameScores, resolutions
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.located import Located
from wedefense.detect.output import READABLE, calibration_state
from wedefense.detect.recordings import Recording, open_recording
from wedefense.detect.score import Score, percent
from wedefense.metrics.detection import DetectionCosts
from wedefense.report.attention_plot import attention_figure
from wedefense.report.html import Figure, Row, figures, folded, paragraph, table
from wedefense.report.llr_plots import means_at
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.tables import plural

LONGEST = 300.0                 # seconds of a recording, where nothing else is asked for
_RATE = 16000
_SIZE = (4.8, 4.4)              # inches; small, so that the letters stay legible on a phone
_WINDOW, _GRID = 2.0, 0.25      # seconds: what is heard at once where the back-end has no scores of frames
_WORDS = {"bonafide": "bona fide: accept", "spoof": "spoof: reject"}
_KINDS = {"bonafide": "bona fide", "spoof": "fake"}
_MOST_SPANS = 50                # rows of a table


@dataclass(frozen=True)
class Answers:
    """`models`: by the names that the page shows."""

    models: Mapping[str, LoadedDetector]
    longest: float = LONGEST  # seconds; of a longer recording nothing is computed

    def __call__(self, audio: str | None, prior: float, smooth: float = 0.0) -> list[str]:
        """HTML: what goes for all models, then a part for each. `prior`: of a spoof; `smooth`: seconds, of `locate`.

        What is wrong with a recording is told in the first; the parts are then empty.
        """
        reason = self._reason(audio)
        if audio is None or reason:
            return [paragraph(reason, "doubt"), *[""] * len(self.models)]
        scores: list[Score] = []
        parts = []
        for number, (name, model) in enumerate(self.models.items()):
            make = functools.partial(_part, model, name, number, audio, prior, smooth, scores)
            parts.append(_or_told(make, name))
        return [_together(Path(audio).name, scores, len(self.models)), *parts]

    def _reason(self, audio: str | None) -> str:
        """Why nothing is computed, in one line; empty where all is well."""
        if audio is None:
            return "Choose a file or record something first."
        try:
            recording = open_recording("", audio, _RATE)
            recording.read(0, min(recording.samples, _RATE))
        except BadAudio as error:
            return f"{Path(audio).name}: {error}" + (f" ({READABLE})" if f"{error}".startswith("not readable") else "")
        seconds = recording.samples / _RATE
        if seconds > self.longest:
            return (f"{Path(audio).name}: lasts {_clock(seconds)}, and this page takes up to {_clock(self.longest)} "
                    "(--longest); wedefense score and wedefense locate take any length")
        return ""


def _part(model: LoadedDetector, name: str, number: int, audio: str, prior: float, smooth: float,
          scores: list[Score]) -> str:
    score = _score(model, audio, prior)
    recording = model.open(score.name, audio)
    located, what = _located(model, recording, audio, score, smooth)
    content = [f"<h3>{escape(name)}</h3>", paragraph(_WORDS[score.decision], f"verdict {score.decision}"),
               paragraph(f"{score.meaning[0].upper()}{score.meaning[1:]}."),
               *(paragraph(doubt, "doubt") for doubt in score.doubts), _numbers(model, score)]
    over_time = _timeline(located, what, number) + _spans(located) + _windows(score)
    looks = _attention(model, recording, score, number)
    scores.append(score)
    return (f"<div class='answer'>{''.join(content)}"
            f"<div class='beside'><div>{over_time}</div><div>{looks}</div></div></div>")


def _score(model: LoadedDetector, audio: str, prior: float, window: float | None = None) -> Score:
    name = Path(audio).name  # a visitor is not told of the server's folders
    scores, failures = model.score_files({name: audio}, costs=DetectionCosts(prior), window=window, quiet=True)
    if failures:
        raise BadAudio(failures[name])
    return scores[0]


def _or_told(make: Callable[[], str], name: str) -> str:
    """A visitor sees one line, whatever happens; the server's log has the rest."""
    try:
        return make()
    except (BadAudio, InputError) as error:
        return paragraph(f"{name}: {error}", "doubt")
    except Exception as error:
        get_logger().exception("%s: no answer", name)
        return paragraph(f"{name}: no answer, {type(error).__name__}; the server's log says why", "doubt")


def _together(name: str, scores: list[Score], models: int) -> str:
    if models < 2 or len(scores) < models:
        return paragraph(name)
    decisions = {_WORDS[score.decision] for score in scores}
    return paragraph(f"{name}: both say {decisions.pop()}." if len(decisions) == 1 else f"{name}: they disagree.")


def _numbers(model: LoadedDetector, score: Score) -> str:
    heard = f"{score.heard:.2f} of {score.seconds:.2f} s" if score.heard < score.seconds - 0.01 else \
        f"all of {score.seconds:.2f} s"
    raw = f" (uncalibrated: {score.raw:.3f})" if score.calibrated else ""
    rows = [("score", f"LLR {score.llr:.3f}{raw}"),
            ("P(spoof)", f"{percent(score.posterior)} where {100 * score.prior:g} % are spoofs"),
            ("decision", f"spoof where the LLR is below {score.threshold:.3f}"),
            ("calibration", calibration_state(model)),
            ("heard", heard + (f", in {len(score.windows)} windows" if len(score.windows) > 1 else ""))]
    return table(["", ""], [Row(cells) for cells in [*rows, *[("remark", model.remark)] * bool(model.remark)]], "text")


def _located(model: LoadedDetector, recording: Recording, audio: str, score: Score,
             smooth: float) -> tuple[Located, str]:
    """Spans by the scores of frames where the model has them, else by those of short windows, and which these are."""
    if resolutions(model.detector) and not model.input_policy.trimmed:
        (_, found), = model.locate_files({score.name: audio}, smooth=smooth)
        if isinstance(found, str):
            raise BadAudio(found)
        return found, f"Scores of frames of {1000 * found.shift:g} ms, not calibrated, threshold {found.threshold:.3g}"
    frames, rate = on_grid(_score(model, audio, score.prior, _WINDOW)), model.input_policy.rate
    return (Located.of(recording, frames, rate, score.threshold, smooth, False),
            f"Scores of windows of {_WINDOW:g} s that overlap by half, threshold {score.threshold:.3g}")


def _timeline(located: Located, what: str, number: int) -> str:
    at, lowest = located.fakest
    caption = (f"{what}: {located.fake_seconds:.2f} of {located.seconds:.2f} s called fake in "
               f"{plural(len(located.fakes), 'span')}, lowest score {lowest:.3f} at {at:.2f} s.")
    return figures([Figure(f"timeline{number}", caption, located.figure(_SIZE))])


def _spans(located: Located) -> str:
    if len(located.spans) < 2:
        return ""
    rows = [Row((f"{span.start:.2f} to {span.end:.2f} s", f"{span.score:.3f}", _KINDS[span.label]))
            for span in located.spans[:_MOST_SPANS]]
    left = len(located.spans) - len(rows)
    rows += [Row((f"and {left} more; smooth the scores for fewer", "", ""))] * bool(left)
    return folded(f"The {len(located.spans)} spans", table(["span", "mean score", "called"], rows))


def on_grid(score: Score, shift: float = _GRID) -> FrameScores:
    """Windows as frames: the mean of those that the middle of each lies in."""
    starts, ends, llrs = zip(*((window.start, window.end, window.llr) for window in score.windows))
    times = shift * np.arange(math.ceil(round(max(ends) / shift, 6)))
    middles = np.minimum(times + shift / 2, max(ends) - 1e-9)
    return FrameScores(times, means_at(middles, starts, ends, llrs), shift)


def _windows(score: Score) -> str:
    if len(score.windows) < 2:
        return ""
    rows = [Row((f"{window.start:.1f} to {window.end:.1f} s", f"{window.llr:.3f}",
                 _KINDS["spoof" if window.llr < score.threshold else "bonafide"])) for window in score.windows]
    return folded(f"The {len(rows)} windows, whose mean is the score", table(["window", "LLR", "called"], rows))


def _attention(model: LoadedDetector, recording: Recording, score: Score, number: int) -> str:
    window = score.lowest
    found = attention(model, recording, window.start, window.end)
    if found is None:
        return paragraph(f"{type(model.detector.backend).__name__} has no attention to show.", "note")
    where = "" if len(score.windows) < 2 else f"; of the window with the lowest score, from {window.start:.1f} s"
    over_time = "" if found.frames is None else (
        f"; over time the mean of all {found.head}s, 1 where every frame counts the same, and each {found.head} alone")
    drawn = Figure(f"attention{number}", f"What it takes from each layer{over_time}{where}.",
                   attention_figure(found.layers, found.frames, found.begin, found.shift, found.head))
    return folded("Attention", figures([drawn]), shown=True)


def _clock(seconds: float) -> str:
    """>>> _clock(300), _clock(10800.4)
    ('5:00 min', '3:00:00 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"
