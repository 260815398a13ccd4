"""Frame scores against the true spans, as `wedefense evaluate --segments` and its page show them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wedefense.data.span_checks import known_ranges
from wedefense.data.spans import kind_of
from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics import segments
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.metrics.keys import named_as_keys
from wedefense.metrics.localization import SHIFTS, TIME, UTTERANCE, FrameScores, localization_metrics
from wedefense.metrics.table import text_table
from wedefense.report.evaluate import Evaluated, ScoreFiles, of_trials
from wedefense.report.html import Row, paragraph, section, table
from wedefense.report.timelines import timelines
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, read_table

_RATES = {"eer": "EER %", "precision": "precision %", "recall": "recall %", "f1": "F1 %"}
_BOUNDARIES = {"boundary_error": "boundary error", "true_to_predicted": "from true to predicted",
               "predicted_to_true": "from predicted to true"}


def segment(files: ScoreFiles, frame_shift: float, label_shift: float | None, dev: tuple[str, str] | None,
            audio: str | None, costs: DetectionCosts, resamples: int | None = None, rocch: bool = False) -> Evaluated:
    """Segments of `label_shift` seconds (None: of the labels, or of the frames where labels are spans) as trials, then
    every resolution, time, utterances and boundaries; `dev` (scores, keys) gives the thresholds for decisions. `audio`:
    a table of recordings, which the page then shows over time."""
    found, labels, label_shift = _read(files, frame_shift, label_shift)
    trials = segments.segment_trials(found.scores, labels, frame_shift, label_shift)
    coarse = kind_of(Path(files.keys)) == "seglab"
    shifts = [shift for shift in SHIFTS if segments.commensurable(shift, frame_shift) and (
        not coarse or shift > label_shift - 1e-9 and segments.commensurable(shift, label_shift))]
    held = None
    if dev:
        held = _read(replace(files, scores=dev[0], keys=dev[1]), frame_shift, label_shift if coarse else None)[0]
    bootstrap = None if resamples is None else BootstrapOptions(resamples, by="utterance")
    by_time = segments.range_eer(found.scores, found.ranges, frame_shift)
    where = localization_metrics(found, shifts, held, bootstrap)
    more = {"range_eer": by_time.value, "range_eer_threshold": by_time.threshold, "frame_shift": frame_shift,
            "label_shift": label_shift, "n_utterances": len(labels), "localization": where}
    threshold = where["rows"][TIME].get("dev_threshold", by_time.threshold)
    heard = read_table(audio) if audio else {}
    trial = of_trials(files, trials, costs, resamples, "utterance", trials.names, rocch, more,
                      lambda: [where_section(where), *([timelines(found, threshold, heard)] if audio else [])])
    return replace(trial, text=f"{trial.text}\n\n{where_text(where)}")


def _read(files: ScoreFiles, frame_shift: float, label_shift: float | None) -> tuple[FrameScores, dict, float]:
    """The set, its labels by segment, and how long a segment is."""
    coarse = kind_of(Path(files.keys)) == "seglab"
    if label_shift is None:
        label_shift = segments.label_shift_of(files.keys) if coarse else frame_shift
    for name, seconds in (("--segments", frame_shift), ("--label_shift", label_shift)):
        if not seconds > 0:
            raise InputError(f"{name} is in seconds and must be above 0, got {seconds:g}")
    scores, labels, ranges = segments.read_frame_scores(files.scores), {}, {}
    if coarse:
        labels = segments.read_seglab(files.keys)
    else:
        ranges = known_ranges(files.keys, files.common)
        labels = {name: segments.labels_from_ranges(spans, label_shift) for name, spans in ranges.items()}
    if scores.keys().isdisjoint(labels):
        scores = dict(zip(named_as_keys(files.scores, list(scores), list(labels)), scores.values()))
    if files.common:
        scores, labels = _in_common(files, scores, labels, frame_shift, label_shift)
    try:
        lengths = {name: (len(scores[name]) * frame_shift, len(labels[name]) * label_shift)
                   for name in segments.common_names(scores, labels)}
        segments.require_alike(lengths, max(frame_shift, label_shift))
        if coarse:
            ranges = {name: segments.ranges_from_labels(values, label_shift, lengths[name][0])
                      for name, values in labels.items()}
        segments.require_both_classes(ranges[name] for name in labels)
    except InputError as error:
        raise InputError(f"{files.scores} against {files.keys}: {error}") from None
    return FrameScores(scores, {name: ranges[name] for name in labels}, frame_shift), labels, label_shift


def _in_common(files: ScoreFiles, scores: Mapping, labels: Mapping, frame_shift: float,
               label_shift: float) -> tuple[dict, dict]:
    """What both files have, but for utterances of which they have other lengths; none of any length is an error."""
    both = [name for name in labels if name in scores]
    lost = sorted(scores.keys() ^ labels.keys())
    if lost:
        get_logger().warning("%d utterances are in one of %s and %s only: %s; evaluating the %d in common", len(lost),
                             files.scores, files.keys, first_few(lost), len(both))
    alike = [name for name in both if segments.last_alike(
        len(scores[name]) * frame_shift, len(labels[name]) * label_shift, max(frame_shift, label_shift))]
    if alike and len(alike) < len(both):
        get_logger().warning("%d of %d utterances last otherwise in %s than in %s and are left out: %s",
                             len(both) - len(alike), len(both), files.scores, files.keys,
                             first_few([name for name in both if name not in alike]))
        both = alike
    return {name: scores[name] for name in both}, {name: labels[name] for name in both}


def _rows(where: Mapping, dash: str) -> list[list[str]]:
    """A row for each resolution, time and utterances; under a number its interval, after a line break."""
    intervals = where.get("confidence", {})
    rows = []
    for name, values in where["rows"].items():
        title = {TIME: "time (range EER)", UTTERANCE: "utterance"}.get(name, f"segments of {name} s")
        cells = [title]
        for metric in _RATES:
            between = intervals.get(name, {}).get(metric)
            cells.append(f"{100 * values[metric]:.2f}" + (f"\n{dash.join(f'{100 * end:.2f}' for end in between)}"
                                                          if between else "") if metric in values else "")
        rows.append(cells)
    return rows


def _boundaries(where: Mapping) -> list[str]:
    intervals = where.get("confidence", {}).get("boundaries", {})
    return [f"{title} {1000 * where['boundaries'][name]:.0f} ms"
            + (f" ({'-'.join(f'{1000 * end:.0f}' for end in intervals[name])})" if name in intervals else "")
            for name, title in _BOUNDARIES.items() if where.get("boundaries", {}).get(name) is not None]


def _notes(where: Mapping) -> list[str]:
    notes = [", ".join(_boundaries(where))] if _boundaries(where) else []
    if UTTERANCE not in where["rows"]:
        notes.append("utterances are all of one class and have no EER; they would be scored by their fakest frame")
    decided = "dev_threshold" in where["rows"][TIME]
    if where.get("decides"):
        notes.append("by the thresholds of these EERs the other sets are decided")
    else:
        notes.append("precision, recall and F1 are of fake, at the EER threshold of dev in the same row" if decided else
                     "precision, recall, F1 and boundaries need a threshold of another set: --dev SCORES KEYS")
    return notes


def where_text(where: Mapping) -> str:
    header, rows = _shown(where, "-")
    rows = [[cell.replace("\n", " [") + "]" * ("\n" in cell) for cell in row] for row in rows]
    return "\n".join([text_table(header, rows), "", *_notes(where)])


def _shown(where: Mapping, dash: str) -> tuple[list[str], list[list[str]]]:
    """(header, rows) without the columns that nothing stands in."""
    rows, header = _rows(where, dash), ["where", *_RATES.values()]
    shown = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return [header[i] for i in shown], [[row[i] for i in shown] for row in rows]


def where_section(where: Mapping, title: str = "Where it is fake") -> str:
    header, rows = _shown(where, "–")
    return section(title, table(header, [Row(row) for row in rows]),
                   *(paragraph(f"{note[:1].upper()}{note[1:]}.", "note") for note in _notes(where)))


def of_heads(results: Mapping) -> list[tuple[str, Mapping]]:
    """(set and head, `localization_metrics`) of each set of an experiment that localises."""
    return [(f"{name}, head of {ms} ms", where) for name, result in results["sets"].items()
            for ms, where in result.get("localization", {}).items()]


def heads_text(results: Mapping) -> str:
    return "\n\n".join(f"{title}\n{where_text(where)}" for title, where in of_heads(results))


def save_heads(folder: ExperimentFolder, results: Mapping) -> str:
    """The text of these results, which is written; where no segments were judged, an earlier one is taken away."""
    text = heads_text(results)
    if not text:
        folder.where.unlink(missing_ok=True)
        return ""
    with atomic_write(folder.where, "w") as stream:
        stream.write(f"{text}\n")
    return text
