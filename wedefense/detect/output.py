"""Scores as a table, JSON or CSV."""

import csv
import io
import json
import os
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.score import Score, percent, times
from wedefense.experiment.folder import NAMES
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.table import text_table
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, FORMATS
from wedefense.utils.tables import first_few
from wedefense.utils.visible import cell, visible

_COLUMNS = ("name", "llr", "posterior", "decision", "meaning", "prior", "threshold", "calibrated", "raw", "seconds",
            "heard")

_HEADER = ["recording", "LLR", "P(spoof)", "decision", "likelier"]
_WIDTH = 80  # of a terminal
READABLE = f"{', '.join(AUDIO_SUFFIXES)} can be read, and where ffmpeg is installed {', '.join(FORMATS)}"


def rendered(scores: Sequence[Score], failures: dict[str, str], model: LoadedDetector, costs: DetectionCosts,
             style: str) -> str:
    if style == "json":
        return json.dumps({"model": about(model, costs), "scores": [asdict(score) for score in scores],
                           "failures": failures}, indent=1)
    if style == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*_COLUMNS, "windows", "lowest_llr", "lowest_start", "doubts"))
        for score in scores:
            lowest = score.lowest
            cells = (*(getattr(score, name) for name in _COLUMNS), len(score.windows), lowest.llr, lowest.start,
                     "; ".join(score.doubts))
            writer.writerow(cell(text) if isinstance(text, str) else text for text in cells)
        return stream.getvalue().rstrip("\n")
    if style == "scores":
        return "\n".join(["filename\tcm-score", *(f"{visible(score.name)}\t{score.llr:.6f}" for score in scores)])
    return _table(scores, model, costs)


def _table(scores: Sequence[Score], model: LoadedDetector, costs: DetectionCosts) -> str:
    if not scores:
        return "no recording has a score"
    rows = [[f"{score.llr:.3f}", percent(score.posterior), score.decision,
             f"{times(score.llr)} x if {'bona fide' if score.llr >= 0 else 'spoofed'}"] for score in scores]
    room = _WIDTH - sum(2 + max(map(len, column)) for column in zip(_HEADER[1:], *rows, strict=True))
    folder, names = short_names([visible(score.name) for score in scores], room)
    text = text_table(_HEADER, [[name, *row] for name, row in zip(names, rows, strict=True)])
    text = f"in {folder}\n{text}" if folder else text
    notes = [f"{visible(score.name)}: {len(score.windows)} windows, mean of their LLRs; the lowest, "
             f"{score.lowest.llr:.3f}, from {score.lowest.start:.3g} to {score.lowest.end:.3g} s"
             for score in scores if len(score.windows) > 1]
    cut = [visible(score.name) for score in scores if score.heard < score.seconds - 0.01]
    if cut:
        notes.append(f"heard the beginning alone, as the model was published ({len(cut)} recordings, first: {cut[0]}); "
                     "--window hears all of them")
    for doubt in dict.fromkeys(doubt for score in scores for doubt in score.doubts):
        notes.append(f"{doubt} ({first_few([score.name for score in scores if doubt in score.doubts], 3)})")
    if len(scores) > 1:
        spoofs = sum(score.decision == "spoof" for score in scores)
        notes.append(f"{len(scores)} recordings: {len(scores) - spoofs} taken for bona fide, {spoofs} for spoofs")
    return "\n".join([text, "", *_wrapped(notes), *[""] * bool(notes), *legend(model, costs)])


def short_names(names: Sequence[str], room: int) -> tuple[str, list[str]]:
    """(folder of all, names in it) where the names have no room, their ends alone where that does not do.

    >>> short_names(["calls/june/a.wav", "calls/june/b.wav"], 12)
    ('calls/june/', ['a.wav', 'b.wav'])
    >>> short_names(["a_very_long_name.wav"], 12)
    ('', ['..._name.wav'])
    """
    folder = ""
    if len(names) > 1 and max(map(len, names)) > room:
        folder = os.path.commonprefix(names).rpartition("/")[0]
        folder = f"{folder}/" if folder else ""
    ends = [name.removeprefix(folder) for name in names]
    shown = [f"...{end[3 - room:]}" if len(end) > room else end for end in ends]
    return folder, shown if len(set(shown)) == len(set(ends)) else ends  # two must not look as one


def legend(model: LoadedDetector, costs: DetectionCosts) -> list[str]:
    """What the numbers mean, and what they rest on."""
    lines = ["LLR: natural log of how much likelier such audio is if bona fide than if spoofed",
             f"P(spoof): of a spoof where {100 * costs.p_spoof:g} % of all recordings are spoofs (--prior)",
             f"decision: spoof where the LLR is below {costs.bayes_threshold:.3f}, which costs least at that prior if "
             f"a rejected bona fide costs {costs.c_miss:g} (--cost_miss) and an accepted spoof {costs.c_fa:g} "
             "(--cost_fa)"]
    return _wrapped([*lines, calibration_state(model), *[model.remark] * bool(model.remark)])


def calibration_state(model: LoadedDetector) -> str:
    """Whether the size of a score means something, in words."""
    if model.calibration is not None:
        return f"calibrated: {model.calibration.told()}"
    return ("not calibrated: trust the order of the scores more than their size; stage 7 on a dev and an eval "
            f"set writes {NAMES.calibration} into the experiment")


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent="  ",
                                                             break_long_words=False, break_on_hyphens=False)]


def failure_lines(failures: dict[str, str]) -> list[str]:
    """A line for each recording without a score."""
    lines = [f"not scored: {visible(name)}: {visible(reason)}" for name, reason in failures.items()]
    if any(reason.startswith("not readable") for reason in failures.values()):
        lines.append(f"({READABLE})")
    return lines


def about(model: LoadedDetector, costs: DetectionCosts) -> dict:
    return {"weights": str(model.weights), "precision": str(model.arithmetic), "prior_spoof": costs.p_spoof,
            "cost_miss": costs.c_miss, "cost_false_accept": costs.c_fa, "threshold": costs.bayes_threshold,
            "calibration": model.calibration.formula() if model.calibration else None,
            "calibration_doubts": list(model.calibration.doubts) if model.calibration else [],
            "remark": model.remark or None}
