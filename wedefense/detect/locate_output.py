"""Where recordings are fake, as a table, CSV, JSON, label files and pictures."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wedefense.data.span_checks import SpanRules, check_spans
from wedefense.data.spans import Span, Spans, kind_of, read_spans, spans_text, write_spans
from wedefense.detect.frame_threshold import given_threshold
from wedefense.detect.inputs import require_words
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.located import Located
from wedefense.metrics.segments import label_shift_of
from wedefense.metrics.table import text_table
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger, progress
from wedefense.utils.tables import first_few, plural
from wedefense.utils.visible import cell, visible

LABEL_FILES = ("rttm", "textgrid", "audacity")
_COLUMNS = ("name", "start", "end", "label", "score")


@dataclass(frozen=True)
class Report:
    """All that was found, in the order asked for."""

    found: Mapping[str, Located]                     # by the name of the recording as it was given
    failures: dict[str, str]
    why: str                                         # the threshold is what it is
    utterances: Mapping[str, str]                    # what label files and pictures call each
    true: Spans = field(default_factory=dict)        # by the name of the recording

    def text(self, style: str) -> str:
        if style == "json":
            return json.dumps({"threshold_is": self.why, "recordings": [self._entry(name) for name in self.found],
                               "failures": self.failures}, indent=1)
        if style == "csv":
            stream = io.StringIO()
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows((cell(name), f"{span.start:.6f}", f"{span.end:.6f}", span.label, f"{span.score:.6g}")
                             for name, one in self.found.items() for span in one.spans)
            return stream.getvalue().rstrip("\n")
        if style in LABEL_FILES:
            return spans_text(self.labels(), style)
        if not self.found:
            return "no recording has a score"
        return "\n\n".join([*(self._block(name) for name in self.found), "\n".join(self._legend())])

    def labels(self) -> dict[str, list[Span]]:
        return {self.utterances[name]: one.called for name, one in self.found.items()}

    def write(self, path: str, style: str) -> list[Path]:
        if style in LABEL_FILES:
            return write_spans(path, self.labels(), style)
        with atomic_write(path, "w") as stream:
            stream.write(f"{self.text(style)}\n")
        return [Path(path)]

    def draw(self, folder: str) -> list[Path]:
        """A picture of each recording, by the name of its utterance."""
        return [one.plot(Path(folder) / f"{self.utterances[name].replace('/', '_')}.png", self.true.get(name, ()))
                for name, one in self.found.items()]

    def _entry(self, name: str) -> dict:
        one = self.found[name]
        at, score = one.fakest
        known = {"true_spans": [span._asdict() for span in self.true[name]],
                 "called_right": one.called_right(self.true[name])} if name in self.true else {}
        return {"name": name, "decision": one.decision, "seconds": one.seconds, "fake_seconds": one.fake_seconds,
                "least_score": score, "least_score_at": at, "threshold": one.threshold, "frame_shift": one.shift,
                "as_in_one_piece": one.exact, "doubts": [*one.doubts],
                "spans": [span._asdict() for span in one.spans], **known,
                "frame_scores": [float(f"{value:.5g}") for value in one.scores]}

    def _block(self, name: str) -> str:
        one = self.found[name]
        rows = [[f"{span.start:8.2f}", f"{span.end:.2f}", f"{span.end - span.start:.2f}", f"{span.score:.3f}",
                 span.label] for span in one.spans]
        lines = [visible(name), one.summary, *(f"doubt: {doubt}" for doubt in one.doubts)]
        if name in self.true:
            lines.append(f"called rightly: {100 * one.called_right(self.true[name]):.1f} % of the time; true fakes: "
                         f"{_short([span for span in self.true[name] if span.label == 'spoof'])}")
        return "\n".join([*lines, text_table(["  from s", "to s", "lasts s", "score", "decision"], rows)])

    def _legend(self) -> list[str]:
        lines = ["score: natural log of how much likelier such frames are if bona fide than if",
                 "       fake, the mean over the span; not calibrated"]
        threshold = next(iter(self.found.values())).threshold
        lines += [f"decision: spoof where the score of a frame is at or below {threshold:.3f},",
                  f"          {self.why}"]
        kinds = Counter(one.decision for one in self.found.values())
        if len(self.found) > 1:
            lines.append(f"{len(self.found)} recordings: {kinds['spoof']} with a fake span, "
                         f"{kinds['bonafide']} without")
        if any(len(one.fakes) > 4 * one.seconds for one in self.found.values()):
            lines.append("many short spans: --smooth 0.2 lets the median over so many seconds decide")
        parts = [name for name, one in self.found.items() if not one.exact]
        if parts:
            lines.append("heard in windows of half a minute, of which this model takes in the whole: scores\n"
                         f"differ a little from those of one piece ({plural(len(parts), 'recording')})")
        return lines


def located(model: LoadedDetector, sources: Mapping[str, object], threshold: str | None, smooth: float,
            resolution: int | None, labels: str | None) -> Report:
    """`threshold` and `labels` as the command line has them."""
    value, why = model.frame_threshold(resolution), "where the EER of dev in time lies, by the experiment's results"
    if threshold is not None:
        value, why = given_threshold(threshold), f"by --threshold {threshold}"
    elif value is None:
        value, why = 0.0, "for want of a threshold that a dev set told; --threshold gives one"
    found: dict[str, Located] = {}
    failures: dict[str, str] = {}
    with progress(total=len(sources), desc="locating", unit="file", delay=2, disable=len(sources) < 2) as bar:
        for name, one in model.locate_files(sources, threshold=value, smooth=smooth, resolution=resolution):
            if isinstance(one, Located):
                found[name] = one
            else:
                failures[name] = one
            bar.update()
    called = utterances(sources)
    return Report(found, failures, why, called, true_spans(labels, found, called) if labels and found else {})


def check_names(sources: Mapping[str, object], style: str) -> None:
    """Whether label files and pictures can be named by the recordings, before anything is computed."""
    called = utterances(sources)
    twice = [name for name, count in Counter(called.values()).items() if count > 1]
    if twice:
        raise InputError(f"{plural(len(twice), 'name')} of two recordings or more ({first_few(twice)}); label files "
                         "and pictures are named by a file's stem: give the recordings keys by a table NAME.scp")
    if style == "rttm":
        require_words(called.values(), "an RTTM file")


def _short(spans: Sequence[Span]) -> str:
    return ", ".join(f"{span.start:.2f}-{span.end:.2f} s" for span in spans[:3]) + (
        f" and {len(spans) - 3} more" if len(spans) > 3 else "" if spans else "none")


def utterances(sources: Mapping[str, object]) -> dict[str, str]:
    """What label files and pictures call each recording: the stem of a file that was given, or its key in a table."""
    return {name: source.stem if isinstance(source, Path) else name for name, source in sources.items()}


def true_spans(path: str, found: Mapping[str, Located], called: Mapping[str, str]) -> dict[str, list[Span]]:
    """The labels of the recordings; those that do not fit are named, counted and left out."""
    kind = kind_of(Path(path))
    labels, names = read_spans(path, kind), {name: called[name] for name in found}
    tolerance = max(0.05, label_shift_of(path) if kind == "seglab" else 0.0)
    durations = {names[name]: one.seconds for name, one in found.items()}
    wanted = {key: spans for key, spans in labels.items() if key in durations}
    checked = check_spans(path, wanted, durations, SpanRules(tolerance=tolerance))
    if not checked.spans and found:
        raise InputError(f"{path}: has sound labels of none of these recordings ({first_few(sorted(durations))}): "
                         f"{checked.problems[0].kind}, {checked.problems[0].detail}; it names {first_few(labels)}")
    if checked.problems:
        get_logger().warning("%s: %s without true spans: %s", path,
                             plural(len({problem.key for problem in checked.problems}), "recording"),
                             first_few(f"{p.key} ({p.kind}: {p.detail})" for p in checked.problems))
    return {name: checked.spans[key] for name, key in names.items() if key in checked.spans}


def kind_for(style: str | None, out: str | None) -> str:
    """The format: what was asked for, or what the name of --out says."""
    if style is None and out is not None:
        suffix = Path(out).suffix.lower().lstrip(".")
        style = suffix if suffix in ("csv", "json", *LABEL_FILES) else None
    return style or "table"
