"""Scores as a table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from wedefense.data.shards import AUDIO_SUFFIXES
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.score import Score, likelihood, percent
from wedefense.experiment.folder import NAMES
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.table import text_table
from wedefense.utils.tables import first_few
from wedefense.utils.visible import cell, visible

_COLUMNS = ("name", "llr", "posterior", "decision", "meaning", "prior", "threshold", "calibrated", "raw", "seconds",
            "heard")


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
    rows = [[score.name, f"{score.llr:.3f}", percent(score.posterior), score.decision, likelihood(score.llr)]
            for score in scores]
    if not rows:
        return "no recording has a score"
    text = text_table(["recording", "LLR", "P(spoof)", "decision", "such audio is"], rows)
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
    return "\n".join([text, "", *notes, *[""] * bool(notes), *legend(model, costs)])


def legend(model: LoadedDetector, costs: DetectionCosts) -> list[str]:
    """What the numbers mean, and what they rest on."""
    lines = ["LLR: natural log of how much likelier such audio is if bona fide than if spoofed",
             f"P(spoof): probability of a spoof where {100 * costs.p_spoof:g} % of all recordings are spoofs (--prior)",
             f"decision: spoof where the LLR is below {costs.bayes_threshold:.3f}, which costs least at that prior if "
             f"a rejected bona fide costs",
             f"          {costs.c_miss:g} (--cost_miss) and an accepted spoof {costs.c_fa:g} (--cost_fa)"]
    if model.calibration is not None:
        lines.append(f"calibrated: {model.calibration.formula()}")
    else:
        lines.append("not calibrated: trust the order of the scores more than their size; stage 7 on a dev and an eval "
                     f"set writes {NAMES.calibration} into the experiment")
    return lines + ([model.remark] if model.remark else [])


def failure_lines(failures: dict[str, str]) -> list[str]:
    """A line for each recording without a score."""
    lines = [f"not scored: {visible(name)}: {visible(reason)}" for name, reason in failures.items()]
    if any(reason.startswith("not readable") for reason in failures.values()):
        lines.append(f"({', '.join(AUDIO_SUFFIXES)} can be read; convert others first, as in: ffmpeg -i a.m4a a.wav)")
    return lines


def about(model: LoadedDetector, costs: DetectionCosts) -> dict:
    return {"weights": str(model.weights), "precision": str(model.arithmetic), "prior_spoof": costs.p_spoof,
            "cost_miss": costs.c_miss, "cost_false_accept": costs.c_fa, "threshold": costs.bayes_threshold,
            "calibration": model.calibration.formula() if model.calibration else None, "remark": model.remark or None}
