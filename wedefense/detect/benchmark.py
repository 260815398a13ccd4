"""Many sets, scored once by many systems: what was scored before is read again, what was interrupted goes on."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from wedefense.data.audio import BadAudio
from wedefense.detect.conditions import Condition, parse_condition
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector
from wedefense.experiment import lineage
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.keys import LABELS
from wedefense.scoring.benchmark import Fixed, Scored, difference, evaluate, fix, fixable
from wedefense.utils.distributed import start
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.fingerprint import of_files, of_parts, of_sources, of_weights
from wedefense.utils.json_file import read_json
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, read_table

log = get_logger()
_CHUNK = 512     # recordings between two marks on disk
_READERS = 4


@dataclass(frozen=True)
class BenchmarkSet:
    name: str
    wavs: Mapping[str, str]
    is_bonafide: np.ndarray  # (utterances,) bool, in the order of `wavs`
    digest: str              # of its tables and of the recordings that they name

    @property
    def keys(self) -> list[str]:
        return list(self.wavs)


def read_set(name: str, folder: Path) -> BenchmarkSet:
    """A data folder: `wav.scp` and `utt2lab`; one class alone is fine."""
    wavs, labels = read_table(folder / "wav.scp"), read_table(folder / "utt2lab")
    lost = wavs.keys() ^ labels.keys()
    if lost:
        raise InputError(f"{folder}: {len(lost)} utterances are in one of wav.scp and utt2lab only: "
                         f"{first_few(sorted(lost))}")
    unknown = sorted({label for label in labels.values() if label.lower() not in LABELS})
    if unknown:
        raise InputError(f"{folder / 'utt2lab'}: the labels {first_few(unknown)} are neither bona fide nor spoof")
    prints = of_files(wavs.values())
    digest = of_parts(f"{key} {wav} {labels[key]} {content}" for (key, wav), content in zip(wavs.items(), prints))
    return BenchmarkSet(name, wavs, np.array([bool(LABELS[labels[key].lower()]) for key in wavs]), digest)


@dataclass(frozen=True)
class System:
    """A detector as it is heard: how many samples of a recording, and what they went through before."""

    name: str
    model: LoadedDetector
    window: int | None = None      # samples; None: whole recordings
    condition: Condition | None = None

    @property
    def title(self) -> str:
        window = f"first {self.window}" if self.window else ""
        return ", ".join(part for part in (self.name, window, self.condition and self.condition.name) if part)

    @property
    def slug(self) -> str:
        return re.sub(r"[^\w.+@-]+", "_", self.title).strip("_")

    def stamp(self, a_set: BenchmarkSet) -> dict:
        """All that the scores of a set depend on."""
        model = self.model
        config, calibration = model.config, model.calibration
        return {"system": self.title, "weights": of_weights(model.weights), "list": a_set.digest,
                "settings": config and lineage.of_settings(config), "labels": str(model.labels),
                "heard": str(model.input_policy), "condition": self.condition.name if self.condition else None,
                "precision": str(model.arithmetic), "calibration": calibration.formula() if calibration else None,
                "code": of_parts([of_sources("detect", "scoring/llr.py"),
                                  lineage.of_code(config) if config else of_sources(*lineage.COMPUTING)])}


def systems(models: Mapping[str, LoadedDetector], windows: Sequence[int], conditions: Sequence[str]) -> list[System]:
    """Each model on whole recordings and on each window, as they are and under each condition."""
    made = []
    for name, model in models.items():
        for window in (None, *windows):
            policy = model.input_policy if window is None else replace(model.input_policy, fixed=window)
            heard = replace(model, input_policy=policy)
            made += [System(name, heard, window, None if condition is None else parse_condition(condition, policy.rate))
                     for condition in (None, *conditions)]
    folders: dict[str, str] = {}
    for system in made:
        if not system.slug or system.slug.startswith("."):
            raise InputError(f"--model: '{system.name}' cannot be the name of a folder, which systems are called by: "
                             "--model NAME=MODEL")
        other = folders.setdefault(system.slug, system.title)
        if other != system.title:
            raise InputError(f"--model: '{other}' and '{system.title}' would be written to the same files; call one "
                             "otherwise: --model NAME=MODEL")
    return list({system.title: system for system in made}.values())  # one, where a condition was given twice


def scores_of(system: System, a_set: BenchmarkSet, out: Path, skip_bad: bool = False) -> Scored:
    """LLRs, from `out` if they are there; a recording that cannot be read is an error, or left out."""
    folder = out / "systems" / system.slug
    path, part, stamp = folder / f"{a_set.name}.json", folder / f"{a_set.name}.part", system.stamp(a_set)
    known = _read(path, stamp)
    if known is None:
        known = _read(part, stamp) or {}
        if known:
            log.info("%s on %s: goes on after %d of %d", system.title, a_set.name, len(known), len(a_set.wavs))
        left = {key: wav for key, wav in a_set.wavs.items() if key not in known}
        for found in _scored(system, left):
            known.update(found)
            _write(part, stamp, known)
            log.info("%s on %s: %d of %d", system.title, a_set.name, len(known), len(a_set.wavs))
        _write(path, stamp, known)
        part.unlink(missing_ok=True)
    bad = {key: value for key, value in known.items() if isinstance(value, str)}
    if bad and not skip_bad:
        key, reason = next(iter(bad.items()))
        raise InputError(f"{a_set.name}: {len(bad)} of {len(known)} recordings cannot be scored, {key}: {reason}; "
                         f"--skip_bad leaves them out, and says so")
    return Scored(a_set.keys, np.array([np.nan if key in bad else known[key] for key in a_set.wavs]), a_set.is_bonafide)


def _scored(system: System, wavs: Mapping[str, str]) -> Iterator[dict[str, float | str]]:
    items = iter(wavs.items())
    while chunk := dict(islice(items, _CHUNK)):
        sources: Mapping[str, object] = chunk
        failures: dict[str, str] = {}
        if system.condition is not None:
            sources, failures = _degraded(system.condition, chunk)
        scores, unread = system.model.score_files(sources, quiet=True)
        yield {**{score.name: score.llr for score in scores}, **unread, **failures}


def _degraded(condition: Condition, chunk: Mapping[str, str]) -> tuple[dict[str, bytes], dict[str, str]]:
    with ThreadPoolExecutor(_READERS) as pool:
        made = dict(zip(chunk, pool.map(partial(_or_reason, condition), chunk.items())))
    return ({key: value for key, value in made.items() if isinstance(value, bytes)},
            {key: value for key, value in made.items() if isinstance(value, str)})


def _or_reason(condition: Condition, item: tuple[str, str]) -> bytes | str:
    try:
        return condition(*item)
    except BadAudio as error:
        return str(error)


def _read(path: Path, stamp: dict) -> dict | None:
    """Scores of this very stamp, as they were written; None where there are none, or others."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except InputError:
        return None
    scores = content.get("scores")
    return scores if content.get("of") == stamp and content.get("digest") == _digest(scores) else None


def _write(path: Path, stamp: dict, scores: dict) -> None:
    with atomic_write(path, "w") as stream:
        json.dump({"of": stamp, "digest": _digest(scores), "scores": scores}, stream)


def _digest(scores) -> str:
    return of_parts([json.dumps(scores)])


def load_models(named: Sequence[tuple[str, str]], device: str, calibrated: bool) -> dict[str, LoadedDetector]:
    """Ready detectors by name; without their own calibration where a set of the benchmark gives one."""
    place = start(device=device).device
    models: dict[str, LoadedDetector] = {}
    for name, path in named:
        if name in models:
            raise InputError(f"two models are called '{name}'; call one otherwise: "
                             f"--model {shlex.quote(f'{name}_2={path}')}")
        model = load_detector(path).to(place)
        model.require_bonafide()
        models[name] = model if calibrated else replace(model, calibration=None)
    return models


def read_sets(named: Sequence[tuple[str, str]]) -> list[BenchmarkSet]:
    names = [name for name, _ in named]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"several sets are called '{min(repeated)}'; give them names: --sets a=DIR b=DIR")
    if odd := [name for name in names if not name or "/" in name or name.startswith(".")]:
        raise InputError(f"--sets: '{odd[0]}' cannot be the name of a set, which files are called by: --sets NAME=DIR")
    return [read_set(name, Path(folder)) for name, folder in named]


def run(made: Sequence[System], sets: Sequence[BenchmarkSet], out: Path, fix_on: str | None, resamples: int | None,
        skip_bad: bool) -> tuple[dict[str, dict[str, Scored]], dict[str, dict]]:
    """(scores by system and set, results by system), with differences to the recordings as they are."""
    fixable({a_set.name: a_set.is_bonafide for a_set in sets}, fix_on)
    scored: dict[str, dict[str, Scored]] = {}
    results: dict[str, dict] = {}
    fixed: dict[str, Fixed] = {}
    for system in made:
        plain = replace(system, condition=None).title  # comes before its conditions, and fixes their threshold too
        scored[system.title] = {a_set.name: scores_of(system, a_set, out, skip_bad) for a_set in sets}
        fixed.setdefault(plain, fix(scored[system.title], fix_on))
        results[system.title] = result = evaluate(scored[system.title], fixed[plain], resamples=resamples)
        if fix_on is None and (own := system.model.calibration):
            result["calibration"] = f"the detector's own, {own.told()}"
        if system.condition is not None and resamples:
            found = {name: difference(scored[plain][name], one, DetectionCosts(), resamples)
                     for name, one in scored[system.title].items()}
            result["differences"] = {name: values for name, values in found.items() if values}
    return scored, results
