"""Spans held to the audio: every moment has one known class, and where not, it is named and counted."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wedefense.data.manifest import Manifest, Problem, read_data_dir
from wedefense.data.spans import Span, Spans, read_spans
from wedefense.metrics.segments import Range
from wedefense.utils.bonafide import BONAFIDE_NAMES, SPOOF_NAMES
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, plural

CLASSES = ("bonafide", "spoof")
_ROUNDING = 0.002   # seconds; times of three decimals, added, are off by as much
_SHORTEST = 0.0001  # seconds; what is shorter is left out


@dataclass(frozen=True)
class SpanRules:
    """What is mended in silence, and what labels are called."""

    labels: Mapping[str, str] = field(default_factory=dict)  # from those of the file to ours
    fill: str | None = None   # the class of what no span covers; None: a gap is a problem
    tolerance: float = 0.05   # seconds by which the last span may miss the end of the recording

    def __post_init__(self):
        if self.fill is not None and self.class_of(self.fill) != self.fill:
            raise InputError(f"--fill {self.fill}: not a class (known: {', '.join(CLASSES)})")

    def class_of(self, label: str) -> str | None:
        """Our name of a label, None where there is none."""
        lowered = label.lower()
        usual = "bonafide" if lowered in BONAFIDE_NAMES else "spoof" if lowered in SPOOF_NAMES else None
        return self.labels.get(label, label if label in self.labels.values() else usual)


@dataclass
class CheckedSpans:
    """The spans of sound utterances, one after another without gaps, and what is wrong with the others."""

    name: str
    spans: dict[str, list[Span]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def report(self) -> str:
        """Counts and hours per class, utterances of each kind, problems, in a few lines."""
        seconds: dict[str, list[float]] = defaultdict(list)
        mixed = Counter("+".join(sorted({span.label for span in found})) for found in self.spans.values())
        for found in self.spans.values():
            for span in found:
                seconds[span.label].append(span.end - span.start)
        total = sum(map(sum, seconds.values())) or 1.0
        lines = [f"{self.name}: {plural(len(self.spans), 'utterance')} "
                 f"({', '.join(f'{kind}: {count}' for kind, count in sorted(mixed.items()))})"]
        lines += [f"  {label}: {plural(len(s), 'span')}, {sum(s) / 3600:.4g} h ({sum(s) / total:.1%}), "
                  f"{min(s):.3f} to {max(s):.3f} s" for label, s in sorted(seconds.items())]
        kinds = Counter(problem.kind for problem in self.problems)
        lines += [f"  problem: {count} {kind} ({first_few(_of_kind(self.problems, kind))})"
                  for kind, count in kinds.items()] or ["  problems: none"]
        return "\n".join(lines)

    def require_sound(self, allow_problems: bool, problems_path: Path) -> None:
        """List the problems in a file and stop, unless they are allowed; with nothing left it stops too."""
        if not self.problems:
            problems_path.unlink(missing_ok=True)
        else:
            with atomic_write(problems_path, "w") as stream:
                stream.writelines(f"{p.kind}\t{p.key}\t{p.detail}\n" for p in self.problems)
        left_out = len({problem.key for problem in self.problems})
        if not self.spans or (self.problems and not allow_problems):
            raise InputError(f"{self.name}: {plural(left_out, 'utterance')} with problems, listed in {problems_path}; "
                             "mend the labels, say with --fill or --labels what they mean, or pass --allow_problems "
                             "to leave these utterances out" + ("" if self.spans else " (none is left)"))


def _of_kind(problems: Sequence[Problem], kind: str) -> list[str]:
    return [f"{p.key}: {p.detail}" for p in problems if p.kind == kind]


def check_spans(name: str, spans: Spans, durations: Mapping[str, float] | None, rules: SpanRules) -> CheckedSpans:
    """Sort out which utterances have a class at every moment. `durations` in seconds, where they are known."""
    checked = CheckedSpans(name)
    for key in spans if durations is None else durations.keys() | spans.keys():
        if key not in spans:
            checked.problems.append(Problem("without spans", key, "a recording that the labels do not name"))
        elif durations is not None and key not in durations:
            checked.problems.append(Problem("without audio", key, "labels of no recording"))
        else:
            laid, problems = _laid_out(key, spans[key], None if durations is None else durations[key], rules)
            checked.problems += problems
            if not problems:
                checked.spans[key] = laid
    checked.problems.sort(key=lambda problem: (problem.kind, problem.key))
    checked.spans = dict(sorted(checked.spans.items()))
    return checked


def read_with_spans(folder: str | os.PathLike, num_workers: int = 1) -> tuple[Manifest, str]:
    """The recordings of a data folder with the spans of its `segments`, where it has that file, and the report of both;
    what is wrong with spans, and an utterance label that they contradict, are problems like others."""
    manifest, path = read_data_dir(folder, num_workers), Path(folder) / "segments"
    if not path.exists():
        return manifest, manifest.report()
    bad = {problem.key for problem in manifest.problems}
    durations = {recording.key: recording.info.seconds for recording in manifest.recordings}
    spans = {key: found for key, found in read_spans(path, "segments").items() if key in durations or key not in bad}
    checked = check_spans(str(path), spans, durations, SpanRules())
    whole = Manifest(manifest.name, [], manifest.problems + checked.problems)
    for recording in manifest.recordings:
        found = checked.spans.get(recording.key, [])
        label = "spoof" if any(span.label == "spoof" for span in found) else "bonafide"
        if found and recording.label in CLASSES and recording.label != label:
            whole.problems.append(Problem("label against spans", recording.key,
                                          f"{recording.label} in utt2lab, {label} by segments"))
        elif found:
            whole.recordings.append(replace(recording, spans=tuple(found)))
    return whole, f"{whole.report()}\n{checked.report()}"


def known_ranges(path: str | os.PathLike, skip_bad: bool = False) -> dict[str, list[Range]]:
    """The spans of a label file as metrics take them; a problem in it is an error, or the utterance is left out."""
    checked = check_spans(str(path), read_spans(path), None, SpanRules())
    if checked.problems:
        first, count = checked.problems[0], len({problem.key for problem in checked.problems})
        told = (f"{path}: {plural(count, 'utterance')} with problems, such as {first.kind} in {first.key}: "
                f"{first.detail}")
        if not skip_bad or not checked.spans:
            raise InputError(f"{told}; mend them by `wedefense segments` (--fill, --labels)")
        get_logger().warning("%s; left out", told)
    return {name: [Range(start, end, label == "bonafide") for start, end, label in spans]
            for name, spans in checked.spans.items()}


def _laid_out(key: str, spans: Sequence[Span], duration: float | None,
              rules: SpanRules) -> tuple[list[Span], list[Problem]]:
    """The spans without gaps, neighbours of one class as one, ending with the recording; and what forbids it."""
    laid: list[Span] = []
    problems: list[Problem] = []

    def add(end: float, label: str) -> None:
        start = laid[-1].end if laid else 0.0
        if laid and laid[-1].label == label:
            start = laid.pop().start
        laid.append(Span(start, end, label))

    for start, end, label in sorted(spans):
        reached, known = laid[-1].end if laid else 0.0, rules.class_of(label)
        told = f"{start:.3f} to {end:.3f} s {label}"
        if known is None:
            problems.append(Problem("unknown label", key, f"{told} (known: {', '.join(CLASSES)})"))
        if start < 0 or end < start:
            problems.append(Problem("impossible times", key, told))
        elif end - start < _SHORTEST:
            continue
        elif start < reached - _ROUNDING:
            problems.append(Problem("overlap", key, f"{told}, where a span ends at {reached:.3f} s"))
        elif start > reached + _ROUNDING:
            problems += _fill(key, reached, start, add, rules)
        if duration is not None and end > duration + rules.tolerance:
            problems.append(Problem("beyond the end", key, f"{told}, of {duration:.3f} s"))
        cut = end if duration is None else min(end, duration)
        if cut > (laid[-1].end if laid else 0.0):
            add(cut, known or label)
    reached = laid[-1].end if laid else 0.0
    if duration is not None and not problems and reached < duration:
        if laid and duration - reached <= rules.tolerance:
            add(duration, laid[-1].label)
        else:
            problems += _fill(key, reached, duration, add, rules)
    return laid, problems


def _fill(key: str, start: float, end: float, add, rules: SpanRules) -> list[Problem]:
    if rules.fill is None:
        return [Problem("gap", key, f"no span from {start:.3f} to {end:.3f} s")]
    add(end, rules.fill)
    return []
