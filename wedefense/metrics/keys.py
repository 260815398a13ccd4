"""Scores and keys of detection trials: read, joined, and every doubt about them spoken out."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wedefense.metrics.columns import Columns, check_unique, choices, numbers, positions, read_columns
from wedefense.metrics.confidence import eer_interval
from wedefense.metrics.detection import CLASSES, DetectionResult
from wedefense.utils.audio_kinds import is_audio
from wedefense.utils.bonafide import BONAFIDE_NAMES, SPOOF_NAMES
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, plural

LABELS = {**dict.fromkeys(BONAFIDE_NAMES, 1), **dict.fromkeys(SPOOF_NAMES, 0)}
_META_LINE = "NAME VALUE"


@dataclass(frozen=True)
class Trials:
    names: list[str]
    scores: np.ndarray       # (trials,) float64, higher = more bona fide
    is_bonafide: np.ndarray  # (trials,) bool

    @property
    def bonafide(self) -> np.ndarray:
        return self.scores[self.is_bonafide]

    @property
    def spoof(self) -> np.ndarray:
        return self.scores[~self.is_bonafide]

    def restricted_to(self, other: "Trials") -> "Trials":
        """The trials that the other set has too; both sets come from the same keys."""
        if self.names == other.names:
            return self
        known = set(other.names)
        rows = [i for i, name in enumerate(self.names) if name in known]
        return Trials([self.names[i] for i in rows], self.scores[rows], self.is_bonafide[rows])


def named_column(columns: Columns, *names: str) -> list[str]:
    """The column with one of these header names, or the second of two columns."""
    found = columns.column(*names)
    if found is not None:
        return found
    if len(columns.cells) == 2:
        return columns.cells[1]
    raise InputError(f"{columns.path}:1: the header names no column {' or '.join(names)} "
                     f"(it has: {', '.join(columns.header or ())})")


def utterances(columns: Columns) -> list[str]:
    names = columns.column("filename", "utt", "utterance") or columns.cells[0]
    check_unique(columns, names)
    return names


def read_scores(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Utterance names and finite scores of a file `NAME SCORE`, header optional."""
    columns = read_columns(path, 2, "NAME SCORE")
    cells = named_column(columns, "cm-score", "score", "llr")
    if cells[0].lower() in LABELS:
        raise InputError(f"{columns.where(0)}: '{cells[0]}' is a label and no score; were scores and keys exchanged?")
    scores = numbers(columns, cells, "the score")
    return utterances(columns), scores


def read_keys(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Utterance names and whether each is bona fide, of a file `NAME bonafide|spoof` (utt2lab), header optional."""
    columns = read_columns(path, 2, "NAME bonafide|spoof")
    labels = choices(columns, named_column(columns, "cm-label", "label", "lab"), LABELS, "label").astype(bool)
    names = utterances(columns)
    for label, there in (("bonafide", labels.any()), ("spoof", not labels.all())):
        if not there:
            cure = "; a set of spoofs alone `wedefense benchmark` judges, beside others" if label == "bonafide" else ""
            raise InputError(f"{path}: none of its {len(names)} utterances is labelled '{label}'; "
                             f"detection metrics need both classes{cure}")
    return names, labels


def load_trials(scores: str | os.PathLike, keys: str | os.PathLike, common: bool | None = None) -> Trials:
    """Join a score file with its keys, in the order of the keys.

    An utterance in one file only is an error, because the result would be that of another test set;
    `common` accepts it with a warning and keeps the utterances that both files have (None: nobody can choose).
    """
    score_names, values = read_scores(scores)
    names, labels = read_keys(keys)
    at = positions(score_names, names)
    if (at < 0).all():
        score_names = named_as_keys(scores, score_names, names)
        at = positions(score_names, names)
    kept = at >= 0
    report_strays(scores, score_names, keys, names, at, common)
    if not kept.all():
        names = [name for name, keep in zip(names, kept) if keep]
        at, labels = at[kept], labels[kept]
        if labels.all() or not labels.any():
            raise InputError(f"{scores}, {keys}: the utterances that both files have are of one class only")
    return Trials(names, values[at], labels)


def named_as_keys(path, given: list[str], names: list[str]) -> list[str]:
    """Paths, as `wedefense score` writes them of a folder, by the key that each ends in; or stems by the key that ends
    in each. Of both the suffix may be left out, and blanks be written as stage 1 does."""
    plain = [_plain(key) for key in names]
    counts = Counter(plain)
    known = {short: key for short, key in zip(plain, names) if counts[short] == 1} | {key: key for key in names}
    longer = defaultdict(list)  # keys that have folders, by what they end in
    for short, key in zip(plain, names):
        for end in list(_ends(short))[1:]:
            longer[end].append(key)
    taken: dict[str, str] = {}
    found = []
    for name in given:
        ends = (end for whole in (name, _plain(name), _plain(name, of_any_kind=True)) for end in _ends(whole))
        keys = next(([known[end]] for end in ends if end in known), longer.get(_plain(name), []))
        if len(keys) > 1:
            raise InputError(f"{path}: '{name}' may be {first_few(keys, 2)} of the keys; name both files' alike")
        if keys and taken.setdefault(keys[0], name) != name:
            raise InputError(f"{path}: '{keys[0]}' of the keys may be {taken[keys[0]]} or {name}; name both "
                             "files' alike")
        found += keys or [name]
    if taken:
        get_logger().info("%s: names and keys differ in folders; %d are known by what both end in, such as %s", path,
                          len(taken), next(iter(taken)))
    return found


def rows_of(path, given: list[str], names: Sequence[str]) -> np.ndarray:
    """(names,) the row of each in a table that calls them by these `given` names, or by paths or stems; -1: in none."""
    at = positions(given, names)
    return positions(named_as_keys(path, given, list(names)), names) if (at < 0).all() else at


def _ends(path: str) -> Iterator[str]:
    """The whole, and the same with less and less folders before it."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _plain(name: str, of_any_kind: bool = False) -> str:
    """Without the suffix (of audio), with `_` for blanks, and with `/` between folders."""
    name = name.replace("\\", "/")
    stem = os.path.splitext(name)[0]
    return "_".join((stem if of_any_kind or is_audio(name) else name).split())


def report_strays(scores, score_names, keys, names, at: np.ndarray, common: bool | None,
                  what: str = "utterance") -> None:
    """Name what stands in one of the files only: an error, or a warning with `common`."""
    found = np.count_nonzero(at >= 0)
    if found == len(names) == len(score_names):
        return
    missing = [f"{name} (line {row})" for row, name in _numbered(keys, names, at < 0)]
    extra_mask = np.ones(len(score_names), bool)
    extra_mask[at[at >= 0]] = False
    extra = [f"{name} (line {row})" for row, name in _numbered(scores, score_names, extra_mask)]
    parts = []
    if missing:
        parts.append(f"{plural(len(missing), what)} of {keys} without a score in {scores}: {first_few(missing)}")
    if extra:
        parts.append(f"{plural(len(extra), what)} of {scores} without a label in {keys}: {first_few(extra)}")
    if not found:
        raise InputError("; ".join(parts) + "; the files have nothing in common")
    if not common:
        cure = "" if common is None else f"; --common evaluates the {found} that both files have"
        raise InputError("; ".join(parts) + cure)
    get_logger().warning("%s; evaluating the %d in common", "; ".join(parts), found)


def _numbered(path, names, mask: np.ndarray) -> list[tuple[int, str]]:
    """(line, name) of the rows in the mask; the file is read again, since this only serves messages."""
    rows = np.flatnonzero(mask)
    if not rows.size:
        return []
    with open(path, encoding="utf-8-sig") as stream:
        full = [number for number, line in enumerate(stream, 1) if line.strip()]
    shift = len(full) - len(names)  # 1 with a header line
    return [(full[row + shift], names[row]) for row in rows]


def read_meta(path: str | os.PathLike, names: list[str]) -> dict[str, list[str]]:
    """Columns of a table `NAME VALUE` for these trials, by title; `utt2attack` gives the title `attack`.

    With a header line the table may have several columns.
    """
    columns = read_columns(path, 2, _META_LINE)
    keys = utterances(columns)
    at = rows_of(path, keys, names)
    if (at < 0).any():
        lost = [name for name, i in zip(names, at) if i < 0]
        raise InputError(f"{path}: {len(lost)} of {len(names)} trials are not in this table: {first_few(lost)}")
    if columns.header:
        titled = {title: cells for title, cells in zip(columns.header, columns.cells) if cells is not keys}
    else:
        title = os.path.basename(path).removeprefix("utt2").split(".")[0]
        titled = {title: columns.cells[1]}
    rows = at.tolist()
    return {title: [cells[i] for i in rows] for title, cells in titled.items()}


def doubts(trials: Trials, result: DetectionResult, classes: tuple[str, str] = CLASSES) -> list[str]:
    """What a careful colleague would say on seeing these numbers."""
    found = []
    if np.all(trials.scores == trials.scores[0]):
        return [f"all {trials.scores.size} scores are {trials.scores[0]:g}: the detector says nothing"]
    distinct = np.unique(trials.scores).size
    if distinct < 10 and trials.scores.size > 100:
        found.append(f"only {distinct} distinct scores: these look like decisions, metrics need soft scores")
    if result.eer > 0.5 >= (low := eer_interval(trials.bonafide, trials.spoof, result.eer_threshold).low):
        found.append(f"EER {100 * result.eer:.2f} % of {trials.bonafide.size} {classes[0]} and {trials.spoof.size} "
                     f"{classes[1]} trials may be chance (95 % interval from {100 * low:.1f} %): there is nothing in "
                     "these scores yet")
    elif result.eer > 0.5:
        found.append(f"EER {100 * result.eer:.2f} % is above 50 %: polarity looks swapped "
                     f"(a higher score must mean {classes[0]})")
    elif result.act_dcf >= 1.0 > result.min_dcf:
        found.append(f"actDCF {result.act_dcf:.4f} is no better than a fixed decision (1.0) where {result.min_dcf:.4f} "
                     "is possible: scores look uncalibrated for this set, fit them on a development set like it "
                     "(`wedefense calibrate`; for speakers `score_trials --qmf`)")
    return found
