"""Data folders of Kaldi tables (`wav.scp`, `utt2lab`, ...): reading, checking, reporting."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wedefense.data.audio import AudioInfo, BadAudio, probe
from wedefense.data.spans import Span
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, kind_of, needs_ffmpeg
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.parallel_map import parallel_map
from wedefense.utils.tables import first_few, plural, read_lines, read_seconds

OPTIONAL_TABLES = ("utt2spk", "utt2attack", "utt2codec")
_FRAME = 0.025  # seconds, of encoders
_TELEPHONE = 8000  # Hz
_FEW_CLASSES, _FEW_RECORDINGS = 20, 20  # of so many classes, with so many recordings each, something may be said


@dataclass(frozen=True, slots=True)
class Recording:
    key: str
    label: str
    wav: str
    file: AudioInfo | None = None  # once the file has been looked at
    spans: tuple[Span, ...] = ()   # where the folder has `segments`

    @property
    def info(self) -> AudioInfo:
        """Of a recording of a `Manifest`, whose file has been looked at."""
        assert self.file is not None
        return self.file


@dataclass(frozen=True)
class Problem:
    kind: str    # "missing file", "duplicate key", ...
    key: str
    detail: str


@dataclass
class Manifest:
    """The usable recordings of a set, and what is wrong with the others."""

    name: str
    recordings: list[Recording]
    problems: list[Problem] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(recording.info.seconds for recording in self.recordings)

    def report(self) -> str:
        """Counts and hours per class, durations, sample rates and problems, in a few lines."""
        seconds: dict[str, list[float]] = defaultdict(list)
        for recording in self.recordings:
            seconds[recording.label].append(recording.info.seconds)
        every = sorted(s for of_class in seconds.values() for s in of_class)
        classes = [f"{label} {len(seconds[label])} ({_hours(seconds[label])})" for label in sorted(seconds)]
        lines = [f"{self.name}: {len(every)} utterances, {_hours(every)}",
                 f"  {plural(len(classes), 'class')}: {first_few(classes, 12)}"]
        if every:
            lines.append(f"  durations: {every[0]:.2f} to {every[-1]:.2f} s, median {every[len(every) // 2]:.2f} s")
        lines.append(f"  sample rates: {_counted(r.info.rate for r in self.recordings)} (Hz: files); "
                     f"channels: {_counted(r.info.channels for r in self.recordings)}")
        lines += [f"  doubt: {line}" for line in [*_given_away(self.recordings), *_little_to_hear(self.recordings)]]
        lines += [f"  problem: {line}" for line in _by_kind(self.problems)] or ["  problems: none"]
        return "\n".join(lines)

    def require_sound(self, allow_problems: bool, problems_path: str | os.PathLike) -> None:
        """List the problems in a file and stop, unless they are allowed; a set with nothing left stops too."""
        if self.problems:
            with atomic_write(problems_path, "w") as stream:
                stream.writelines(f"{p.kind}\t{p.key}\t{p.detail}\n" for p in self.problems)
        else:
            Path(problems_path).unlink(missing_ok=True)
        if self.problems and not allow_problems:
            raise InputError(f"{self.name}: {'; '.join(_by_kind(self.problems))}. All are listed in {problems_path}: "
                             f"mend them, or pass --allow_problems to leave these utterances out")
        if not self.recordings:
            raise InputError(f"{self.name}: no usable utterance; {'; '.join(_by_kind(self.problems))}")


def _hours(seconds: Iterable[float]) -> str:
    return f"{sum(seconds) / 3600:.2f} h"


def _counted(values: Iterable) -> str:
    return _counted_of(Counter(values))


def _counted_of(counts: Counter) -> str:
    return ", ".join(f"{value}: {count}" for value, count in sorted(counts.items()))


def _given_away(recordings: Iterable[Recording]) -> list[str]:
    """By what, besides the sound, the classes may be told apart; not asked of many classes, nor of a few recordings."""
    found = []
    alike = Counter((r.label, r.info.rate, r.info.channels, _suffix(r.wav)) for r in recordings)
    counts: dict[str, dict[str, Counter]] = {
        what: defaultdict(Counter) for what in ("sample rate", "number of channels", "suffix")}
    for (label, *values), count in alike.items():
        for by_label, value in zip(counts.values(), values):
            by_label[label][value] += count
    for what, by_label in counts.items():
        if not 2 <= len(by_label) <= _FEW_CLASSES or min(each.total() for each in by_label.values()) < _FEW_RECORDINGS:
            continue
        shares = [{value: count / each.total() for value, count in each.items()} for each in by_label.values()]
        every = {value for share in shares for value in share}
        right = sum(max(share.get(value, 0) for share in shares) for value in every) / len(shares)
        if right > (1 + 1 / len(shares)) / 2:  # half way from chance to all
            said = "; ".join(f"{label} {_counted_of(by_label[label])}" for label in sorted(by_label))
            found.append(f"the {what} alone gives away {100 * right:.0f} % of the classes ({said}), and a detector "
                         "learns that instead: give all recordings one")
    return found


def _little_to_hear(recordings: Iterable[Recording]) -> list[str]:
    """What is trained and scored, but has nothing to judge by."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for recording in recordings:
        if recording.info.silent:
            kinds["silence, of which nothing can be learnt"].append(f"{recording.key} ({recording.label})")
        if recording.info.seconds < _FRAME:
            kinds[f"shorter than a frame ({_FRAME:g} s), repeated up to one"].append(
                f"{recording.key} ({recording.label})")
        if recording.info.rate < _TELEPHONE:
            kinds[f"sampled at less than a telephone's {_TELEPHONE} Hz, which leaves little of a voice"].append(
                f"{recording.key} ({recording.info.rate} Hz, {recording.label})")
    return [f"{len(found)} x {kind}: {first_few(found)}" for kind, found in kinds.items()]


def _suffix(path: str) -> str:
    """Of audio; what else follows a dot belongs to the name."""
    suffix = path.rpartition(".")[2].lower()
    return suffix if suffix in AUDIO_SUFFIXES else "none"


def _by_kind(problems: Iterable[Problem]) -> list[str]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(f"{problem.key} ({problem.detail})" if problem.detail else problem.key)
    return [f"{len(found)} x {kind}: {first_few(found)}" for kind, found in sorted(kinds.items())]


def check_recordings(name: str, recordings: list[Recording], num_workers: int) -> Manifest:
    """Look at every file that was not; recordings come back with their `info`, the others as problems."""
    unseen = [recording.wav for recording in recordings if recording.file is None]
    found = iter(parallel_map(_look, unseen, num_workers, f"checking {name}", "file"))
    manifest = Manifest(name, [])
    for recording in recordings:
        if recording.file is not None:
            manifest.recordings.append(recording)
            continue
        info = next(found)
        if isinstance(info, AudioInfo):
            manifest.recordings.append(Recording(recording.key, recording.label, recording.wav, info))
        elif info.startswith("no such file"):
            start = "" if os.path.isabs(recording.wav) else f", from {os.getcwd()}"
            manifest.problems.append(Problem("missing file", recording.key, f"{recording.wav}{start}"))
        else:
            manifest.problems.append(Problem("unusable audio", recording.key, f"{recording.wav}: {info}"))
    return manifest


def _look(path: str) -> AudioInfo | str:
    try:
        return probe(path)
    except BadAudio as error:
        if needs_ffmpeg(path) and os.path.isfile(path):
            return f"lists hold no .{kind_of(path)} files; convert it, as in: ffmpeg -i a.{kind_of(path)} a.flac"
        return str(error)


def read_data_dir(folder: str | os.PathLike, num_workers: int = 1) -> Manifest:
    """Read and check `wav.scp` and `utt2lab` of a folder, and the coverage of the other tables that lie there."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such data folder; prepare the data first (stage 1)")
    problems: list[Problem] = []
    wavs = _table(folder / "wav.scp", problems)
    labels = _table(folder / "utt2lab", problems)
    pipes = [key for key, wav in wavs.items() if wav.endswith("|")]
    if pipes:
        raise InputError(f"{folder / 'wav.scp'}: {len(pipes)} values are commands ({first_few(pipes)}), which are not "
                         f"run; write their output to files and give plain paths")
    _compare("audio without label", wavs, labels, "not in utt2lab", problems)
    _compare("label without audio", labels, wavs, "not in wav.scp", problems)
    for name in OPTIONAL_TABLES:
        if (folder / name).exists():
            _compare(f"not in {name}", wavs, _table(folder / name, problems), "", problems)
    bad = {problem.key for problem in problems if problem.kind != "duplicate key"}
    recordings = [Recording(key, labels[key], wav) for key, wav in wavs.items() if key not in bad]
    manifest = check_recordings(str(folder), recordings, num_workers)
    manifest.problems = problems + manifest.problems
    return manifest


def durations_of(folder: str | os.PathLike) -> dict[str, float]:
    """Seconds of every recording of a data folder, by `utt2dur`, or by their headers where there is none."""
    if (Path(folder) / "utt2dur").exists():
        return read_seconds(Path(folder) / "utt2dur")
    return {recording.key: recording.info.seconds for recording in read_data_dir(folder).recordings}


def _table(path: Path, problems: list[Problem]) -> dict[str, str]:
    """Like `read_table`, but repeated keys become problems: harmless where the lines agree."""
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.strip().split(maxsplit=1)
        if not fields:
            continue
        if len(fields) < 2:
            raise InputError(f"{path}:{number}: '{fields[0]}' has no value (expected: KEY VALUE)")
        key, value = fields
        if key in table:
            kind = "duplicate key" if table[key] == value else "conflicting duplicates"
            problems.append(Problem(kind, key, f"{path.name}:{number}"))
        table.setdefault(key, value)
    if not table:
        raise InputError(f"{path}: the table is empty")
    return table


def _compare(kind: str, ours: Mapping, others: Mapping, detail: str, problems: list[Problem]) -> None:
    problems += [Problem(kind, key, detail) for key in ours if key not in others]
