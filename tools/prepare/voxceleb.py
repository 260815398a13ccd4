"""VoxCeleb 1 and 2, as released: `<speaker>/<video>/<utterance>.wav` (or flac), and the trials files.

The corpus folder holds `vox1_dev_wav, vox1_test_wav` and `vox2_dev, vox2_test` (or `vox1/dev, vox1/test, vox2/dev,
vox2/test`; a `wav` or `aac` folder inside is fine) and the trials files. Labels are the speakers. The m4a files of
VoxCeleb2 have to be converted first: `tools/prepare/m4a_to_flac.sh`.
"""

import random
from collections import defaultdict
from pathlib import Path

from wedefense.data.prepare import Entry, run
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, kind_of
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write, files_under
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, read_lines

OFFICIAL = {"vox1": 153_516, "vox1_dev": 148_642, "vox2_dev": 1_092_009, "vox2_test": 36_237}
FOLDERS = {"vox1_dev": ("vox1_dev_wav", "vox1/dev", "vox1_dev"),
           "vox1_test": ("vox1_test_wav", "vox1/test", "vox1_test"),
           "vox2_dev": ("vox2_dev", "vox2/dev", "vox2_dev_aac", "vox2_dev_wav"),
           "vox2_test": ("vox2_test", "vox2/test", "vox2_test_aac", "vox2_test_wav")}
# The cleaned lists; vox1_o_original is the one before it was cleaned, of 37,720 trials, which SUPERB is tested on.
TRIALS = {"vox1_o": ("veri_test2.txt",), "vox1_e": ("list_test_all2.txt",), "vox1_h": ("list_test_hard2.txt",),
          "vox1_o_original": ("voxceleb1_test_v2.txt", "veri_test.txt")}
QUALITY_TRIALS = 30_000  # of VoxCeleb2's test speakers, who are in no trials file and no training set


def read(corpus: Path) -> dict[str, list[Entry]]:
    """Sets `vox1` (all that the trials ask for), `vox1_dev`, `vox2_dev` and `vox2_test`, as far as they are there."""
    parts = {name: _read_part(corpus, name) for name in FOLDERS}
    if not parts["vox1_test"]:
        raise InputError(f"{corpus}: none of {', '.join(FOLDERS['vox1_test'])} is there; VoxCeleb1 test is needed")
    sets = {"vox1": parts["vox1_dev"] + parts.pop("vox1_test"), **parts}
    return {name: entries for name, entries in sets.items() if entries}


def _read_part(corpus: Path, name: str) -> list[Entry]:
    root = next((corpus / folder for folder in FOLDERS[name] if (corpus / folder).is_dir()), None)
    if root is None:
        return []
    files = sorted(path for path in files_under(root) if kind_of(path) in AUDIO_SUFFIXES)
    if not files:
        raise InputError(f"{root}: no audio below it (looked for {', '.join(AUDIO_SUFFIXES)}); m4a files have to be "
                         f"converted: bash tools/prepare/m4a_to_flac.sh {root}")
    strange = [str(path) for path in files if not path.parts[-3].startswith("id")]
    if strange:
        raise InputError(f"{root}: {len(strange)} files do not lie in idNNNNN/VIDEO/: {first_few(strange)}")
    return [Entry(_key(path), path.parts[-3], path, {"utt2spk": path.parts[-3]}) for path in files]


def _key(path: Path) -> str:
    return "/".join((*path.parts[-3:-1], path.stem))


def write_trials(corpus: Path, out: Path, sets: dict[str, list[Entry]]) -> None:
    """`out/trials/<name>.txt` with the keys of the sets, and `quality.txt` where VoxCeleb2 test is there."""
    for name, files in TRIALS.items():
        places = [folder / file for file in files for folder in (corpus, corpus / "vox1")]
        path = next((place for place in places if place.exists()), None)
        if path is None:
            get_logger().warning("%s: not there, so no trials %s", corpus / " or ".join(files), name)
            continue
        trials = [_trial(path, number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
        _write(out / "trials" / f"{name}.txt", trials)
    if "vox2_test" in sets:
        _write(out / "trials" / "quality.txt", quality_trials(sets["vox2_test"]))


def _trial(path: Path, number: int, line: str) -> tuple[str, str, str]:
    fields = line.split()
    if len(fields) != 3 or fields[0] not in ("0", "1"):
        raise InputError(f"{path}:{number}: expected `1|0 ENROL TEST`, got {line!r}")
    return (fields[0], *(_key(Path(name)) for name in fields[1:]))


def quality_trials(entries: list[Entry], count: int = QUALITY_TRIALS) -> list[tuple[str, str, str]]:
    """As many target as nontarget trials, the same in every run; quality measures are fitted on them."""
    draw = random.Random(0)
    speakers = defaultdict(list)
    for entry in entries:
        speakers[entry.label].append(entry.key)
    several = sorted(name for name, keys in speakers.items() if len(keys) > 1)
    if not several or len(speakers) < 2:
        return []
    trials = set()
    for _ in range(count // 2):
        trials.add(("1", *draw.sample(speakers[draw.choice(several)], 2)))
        trials.add(("0", *(draw.choice(speakers[name]) for name in draw.sample(sorted(speakers), 2))))
    return sorted(trials)


def _write(path: Path, trials: list[tuple[str, str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as stream:
        stream.writelines(f"{' '.join(trial)}\n" for trial in trials)
    print(f"wrote {path}: {len(trials)} trials")


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv, write_trials)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
