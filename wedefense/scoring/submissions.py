"""Scores in the forms that leaderboards take."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from wedefense.scoring.arena import submission as arena
from wedefense.scoring.benchmark import Scored
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write


def write_submissions(out: Path, kinds: tuple[str, ...], system: str, sets: Mapping[str, Scored]) -> list[Path]:
    """Files of each kind in a folder of the system, by set; scores above 0 speak for bona fide."""
    return [path for kind in kinds for path in FORMS[kind](out / kind / system, system, sets)]


def _write(path: Path, lines) -> Path:
    with atomic_write(path, "w") as stream:
        stream.writelines(lines)
    return path


def _all(scored: Scored, kind: str, name: str) -> list[tuple[str, float]]:
    if not scored.heard.all():
        key = scored.keys[int((~scored.heard).argmax())]
        raise InputError(f"--export {kind}: {name}: '{key}' has no score, and a submission needs one for every trial")
    return list(zip(scored.keys, scored.scores.tolist()))


def asvspoof5(folder: Path, system: str, sets: Mapping[str, Scored]) -> list[Path]:
    """ASVspoof 5, track 1: tab separated, under the header `filename cm-score`."""
    return [_write(folder / name / "score.tsv", ["filename\tcm-score\n", *(
        f"{key}\t{score!r}\n" for key, score in _all(scored, "asvspoof5", name))]) for name, scored in sets.items()]


def asvspoof2021(folder: Path, system: str, sets: Mapping[str, Scored]) -> list[Path]:
    """ASVspoof 2021 on Codabench: `score.txt` of lines `<utterance> <score>`, in a ZIP file."""
    made = []
    for name, scored in sets.items():
        lines = (f"{key} {score!r}\n" for key, score in _all(scored, "asvspoof2021", name))
        made.append(_write(folder / name / "score.txt", lines))
        made.append(folder / name / "submission.zip")
        with atomic_write(made[-1]) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(made[-2], "score.txt")
    return made


FORMS = {"arena": arena, "asvspoof5": asvspoof5, "asvspoof2021": asvspoof2021}
