"""Scores in the forms that leaderboards take."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from wedefense.scoring.benchmark import Scored
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write


def write_submissions(out: Path, kinds: tuple[str, ...], system: str, sets: Mapping[str, Scored],
                      results: Mapping[str, Mapping]) -> list[Path]:
    """Files of each kind in a folder of the system; scores above 0 speak for bona fide."""
    made = []
    for name, scored in sets.items():
        for kind in kinds:
            made += FORMS[kind](out / kind / system / name, name, system, scored, results[name])
    return made


def _write(path: Path, lines) -> Path:
    with atomic_write(path, "w") as stream:
        stream.writelines(lines)
    return path


def _all(scored: Scored, kind: str, name: str) -> list[tuple[str, float]]:
    if not scored.heard.all():
        key = scored.keys[int((~scored.heard).argmax())]
        raise InputError(f"--export {kind}: {name}: '{key}' has no score, and a submission needs one for every trial")
    return list(zip(scored.keys, scored.scores.tolist()))


def arena(folder: Path, name: str, system: str, scored: Scored, result: Mapping) -> list[Path]:
    """Speech Anti-Spoofing Arena: `scores.txt` of lines `<utterance_id> <score>`, and what its result file says."""
    heard = [(key, score) for key, score, ok in zip(scored.keys, scored.scores.tolist(), scored.heard) if ok]
    slug = re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-")
    content = {"schema_version": 1, "system": {"name": system, "slug": slug},
               "dataset": {"id": f"SpeechAntiSpoofingBenchmarks/{name}", "split": "test"},
               "scores": {"eer_percent": 100 * result["eer"] if "eer" in result else None,
                          "n_trials": len(heard), "n_skipped": len(scored.keys) - len(heard)}}
    return [_write(folder / "scores.txt", (f"{key} {score!r}\n" for key, score in heard)),
            _write(folder / "result.yaml", [yaml.safe_dump(content, sort_keys=False)])]


def asvspoof5(folder: Path, name: str, system: str, scored: Scored, result: Mapping) -> list[Path]:
    """ASVspoof 5, track 1: tab separated, under the header `filename cm-score`."""
    lines = [f"{key}\t{score!r}\n" for key, score in _all(scored, "asvspoof5", name)]
    return [_write(folder / "score.tsv", ["filename\tcm-score\n", *lines])]


def asvspoof2021(folder: Path, name: str, system: str, scored: Scored, result: Mapping) -> list[Path]:
    """ASVspoof 2021 on Codabench: `score.txt` of lines `<utterance> <score>`, in a ZIP file."""
    path = _write(folder / "score.txt", (f"{key} {score!r}\n" for key, score in _all(scored, "asvspoof2021", name)))
    packed = folder / "submission.zip"
    with atomic_write(packed) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "score.txt")
    return [path, packed]


FORMS = {"arena": arena, "asvspoof5": asvspoof5, "asvspoof2021": asvspoof2021}
