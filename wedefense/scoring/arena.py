"""The Speech Anti-Spoofing Arena: its sets, its figures by its own rules, and the files that it takes."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from wedefense.metrics.detection import Point
from wedefense.scoring.benchmark import Scored
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few

log = get_logger()
EER, SRR = "eer_percent", "srr_complement"
_ORGANISATION = "SpeechAntiSpoofingBenchmarks"
_CALIBRATED_ON = "DeepVoice"  # its threshold judges sets of spoofs alone
_MAY_MISS = 0.05              # of a set's recordings


@dataclass(frozen=True)
class ArenaSet:
    name: str
    trials: int | None = None    # None: no source says
    sets: tuple[str, ...] = ()   # of tools/layouts.yaml, as tools/benchmark.sh calls them
    metric: str = EER
    id: str = ""                 # the repository, where another organisation has it
    differs: str = ""            # how its recordings are not those of `sets`

    @property
    def repository(self) -> str:
        return self.id or f"{_ORGANISATION}/{self.name}"


@cache
def arena_sets() -> dict[str, ArenaSet]:
    rows = yaml.safe_load((files("wedefense.scoring") / "arena_sets.yaml").read_text(encoding="utf-8"))
    return {name: ArenaSet(name, **{**row, "sets": tuple(row.get("sets", ()))}) for name, row in rows.items()}


def arena_set(name: str) -> ArenaSet | None:
    """The set that is called so, or that a set of tools/layouts.yaml is by itself."""
    return next((a_set for a_set in arena_sets().values()
                 if name.lower() == a_set.name.lower() or a_set.sets == (name,)), None)


def joined(sets: Mapping[str, Scored]) -> dict[str, Scored]:
    """`sets`, and each set of the Arena whose recordings several of them hold."""
    made = dict(sets)
    for a_set in arena_sets().values():
        if len(a_set.sets) > 1 and a_set.name not in sets and all(part in sets for part in a_set.sets):
            parts = [sets[part] for part in a_set.sets]
            made[a_set.name] = Scored([key for part in parts for key in part.keys],
                                      np.concatenate([part.scores for part in parts]),
                                      np.concatenate([part.is_bonafide for part in parts]))
    return made


def eer(bonafide: np.ndarray, spoof: np.ndarray) -> Point:
    """Where the error rates cross, on the line between two neighbouring scores; the threshold itself is accepted.

    >>> eer(np.array([0.0, 2.0, 4.0]), np.array([1.0, 3.0, -1.0, -2.0]))
    Point(value=0.3333333333333333, threshold=1.6666666666666665)
    """
    thresholds = np.unique(np.concatenate([bonafide, spoof]))
    accepted = (len(spoof) - np.searchsorted(np.sort(spoof), thresholds)) / len(spoof)
    missed = np.searchsorted(np.sort(bonafide), thresholds) / len(bonafide)
    gap = accepted - missed
    crossings = np.flatnonzero(np.diff(np.sign(gap)))
    if not len(crossings):
        nearest = int(np.argmin(np.abs(gap)))
        return Point(float((accepted[nearest] + missed[nearest]) / 2), float(thresholds[nearest]))
    two = slice(crossings[0], crossings[0] + 2)
    share = gap[two][0] / (gap[two][0] - gap[two][1])

    def between(values: np.ndarray) -> float:
        return float(values[two][0] + share * (values[two][1] - values[two][0]))

    return Point((between(accepted) + between(missed)) / 2, between(thresholds))


def warn_of_others(names: Iterable[str]) -> None:
    """Names that the Arena's sets do not have, before hours go into scores under them."""
    parts = {part for a_set in arena_sets().values() for part in a_set.sets}
    others = [name for name in names if arena_set(name) is None and name not in parts]
    if others:
        log.warning("--export arena: no sets of the Arena are called %s; where they are, call them so: NAME=DIR",
                    first_few(others))


def submission(folder: Path, system: str, sets: Mapping[str, Scored]) -> list[Path]:
    """`scores.txt` of each set and `result.yaml` as the Arena's toolkit writes it, what only its author knows empty."""
    sets = joined(sets)
    threshold = next((eer(*scored.classes).threshold for name, scored in sets.items()
                      if (a_set := arena_set(name)) and a_set.name == _CALIBRATED_ON and all(map(len, scored.classes))),
                     None)
    return [path for name, scored in sets.items() for path in _files(folder, name, system, scored, threshold)]


def _files(folder: Path, name: str, system: str, scored: Scored, threshold: float | None) -> Iterator[Path]:
    a_set = arena_set(name)
    heard = [(key, score) for key, score, ok in zip(scored.keys, scored.scores.tolist(), scored.heard) if ok]
    lines = "".join(f"{key} {score!r}\n" for key, score in heard)
    metric = EER if all(map(len, scored.classes)) else SRR
    figures = _figures(scored, metric, threshold)
    for doubt in _doubts(a_set, scored, figures) if a_set else ():
        log.warning("--export arena: %s: %s", name, doubt)
    content = {
        "schema_version": 5 if metric == SRR else 4,
        "system": {"name": system, "slug": re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-"), "description": None,
                   "code": None, "checkpoint": None, "paper": None},
        "dataset": {"id": a_set.repository if a_set else None, "revision": None, "split": "test"},
        "scores": {**figures, "n_trials": len(scored.keys), "n_skipped": len(scored.keys) - len(heard)},
        "artifact": {"scores_url": None, "scores_sha256": hashlib.sha256(lines.encode()).hexdigest(),
                     "bench_version": None},
        **({"calibration": {"source_dataset": f"{_ORGANISATION}/{_CALIBRATED_ON}", "threshold": threshold}}
           if figures and metric == SRR else {}),
        "reproduction": {}, "submitter": {}, "submitted_at": None, "notes": None}
    place = folder / (a_set.name if a_set else name)
    for file, text in (("scores.txt", lines), ("result.yaml", yaml.safe_dump(content, sort_keys=False))):
        with atomic_write(place / file, "w") as stream:
            stream.write(text)
        yield place / file


def _figures(scored: Scored, metric: str, threshold: float | None) -> dict[str, float]:
    bonafide, spoof = scored.classes
    if metric == EER:
        return {EER: 100 * eer(bonafide, spoof).value}
    if threshold is None or not len(spoof):
        return {}
    return {SRR: 100 * (1 - float((spoof < threshold).mean()))}


def _doubts(a_set: ArenaSet, scored: Scored, figures: Mapping) -> Iterator[str]:
    if a_set.trials not in (None, len(scored.keys)):
        why = f" ({a_set.differs})" if a_set.differs else ""
        yield f"{len(scored.keys):,} recordings, the Arena has {a_set.trials:,}{why}"
    if (~scored.heard).mean() > _MAY_MISS:
        yield f"{(~scored.heard).sum():,} of {len(scored.keys):,} have no score; the Arena takes no more than 5 %"
    if not figures:
        yield f"one class alone, where spoofs are judged at the threshold of {_CALIBRATED_ON}; score that set too"
