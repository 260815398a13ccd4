"""Scores as a table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from wedefense.detect.loaded import LoadedDetector
from wedefense.detect.score import Score
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.table import text_table

FORMATS = ("table", "json", "csv")
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
        writer.writerow((*_COLUMNS, "windows", "lowest_llr", "lowest_start"))
        for score in scores:
            lowest = score.lowest
            writer.writerow((*(getattr(score, name) for name in _COLUMNS), len(score.windows), lowest.llr, lowest.start))
        return stream.getvalue().rstrip("\n")
    return _table(scores, model, costs)


def _table(scores: Sequence[Score], model: LoadedDetector, costs: DetectionCosts) -> str:
    rows = [[score.name, f"{score.llr:.3f}", f"{100 * score.posterior:.3g} %", score.decision, score.meaning]
            for score in scores]
    width = max((len(row[-1]) for row in rows), default=0)
    rows = [[*row[:-1], row[-1].ljust(width)] for row in rows]
    text = text_table(["recording", "LLR", "spoof odds", "decision", "meaning".ljust(width)], rows) if rows else ""
    notes = [f"{score.name}: {len(score.windows)} windows, mean of their LLRs; the lowest, {score.lowest.llr:.3f}, from "
             f"{score.lowest.start:.0f} to {score.lowest.end:.0f} s" for score in scores if len(score.windows) > 1]
    cut = [score.name for score in scores if score.heard < score.seconds - 0.01]
    if cut:
        notes.append(f"heard the beginning alone, as the model was published ({len(cut)} recordings, first: {cut[0]}); "
                     "--window hears all of them")
    return "\n".join([text, "", *notes, *legend(model, costs)]).strip()


def legend(model: LoadedDetector, costs: DetectionCosts) -> list[str]:
    """What the numbers mean, and what they rest on."""
    lines = [f"LLR: natural log of how much likelier the recording is if bona fide than if spoofed; 'spoof' below "
             f"{costs.bayes_threshold:.3f} (prior of a spoof {costs.p_spoof:g}, cost of a miss {costs.c_miss:g}, of an "
             f"accepted spoof {costs.c_fa:g})"]
    if model.calibration is not None:
        lines.append(f"calibrated: {model.calibration.formula()}")
    else:
        lines.append("not calibrated: trust the order of the scores more than their size; stage 7 on a dev and an eval "
                     "set writes calibration.json into the experiment")
    return lines + ([model.remark] if model.remark else [])


def about(model: LoadedDetector, costs: DetectionCosts) -> dict:
    return {"weights": str(model.weights), "prior_spoof": costs.p_spoof, "cost_miss": costs.c_miss,
            "cost_false_accept": costs.c_fa, "threshold": costs.bayes_threshold,
            "calibration": model.calibration.formula() if model.calibration else None, "remark": model.remark or None}
