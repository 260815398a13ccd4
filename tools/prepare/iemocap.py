"""IEMOCAP, as released: `Session{1..5}/sentences/wav` and `Session*/dialog/EmoEvaluation/*.txt`.

Four classes: ang, hap (with exc merged into it), neu and sad. Five folds, `fold<n>/{train,dev,eval}`: fold n is tested
on session n and trained on the others, of which a fixed fifth of each class is its dev set.
"""

import random
import re
from collections import defaultdict
from pathlib import Path

from wedefense.data.prepare import Entry, run
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_lines

SESSIONS = range(1, 6)
CLASSES = {"ang": "ang", "hap": "hap", "exc": "hap", "neu": "neu", "sad": "sad"}
OFFICIAL = {f"fold{session}/eval": count for session, count in zip(SESSIONS, (1085, 1023, 1151, 1031, 1241))}
LINE = re.compile(r"\[\d+\.\d+ - \d+\.\d+\]\t(?P<key>\S+)\t(?P<label>\w+)\t\[")
DEV_SHARE = 5  # one in so many


def read(corpus: Path) -> dict[str, list[Entry]]:
    sessions = {session: _read_session(corpus / f"Session{session}") for session in SESSIONS}
    sets = {}
    for held_out in SESSIONS:
        others = [entry for session in SESSIONS if session != held_out for entry in sessions[session]]
        dev = _dev_keys(others)
        sets[f"fold{held_out}/train"] = [entry for entry in others if entry.key not in dev]
        sets[f"fold{held_out}/dev"] = [entry for entry in others if entry.key in dev]
        sets[f"fold{held_out}/eval"] = sessions[held_out]
    return sets


def _read_session(root: Path) -> list[Entry]:
    paths = sorted((root / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
    if not paths:
        raise InputError(f"{root / 'dialog' / 'EmoEvaluation'}: no Ses*.txt there; IEMOCAP has five sessions with them")
    entries = []
    for path in paths:
        found = [match for match in map(LINE.match, read_lines(path)) if match]
        if not found:
            raise InputError(f"{path}: no line `[START - END]<tab>UTTERANCE<tab>EMOTION<tab>[V, A, D]`")
        entries += [_entry(root, match["key"], match["label"]) for match in found if match["label"] in CLASSES]
    return entries


def _entry(root: Path, key: str, label: str) -> Entry:
    dialog, turn = key.rsplit("_", 1)  # Ses01F_impro01_F000: session 1, dialog Ses01F_impro01, the woman speaks
    return Entry(key, CLASSES[label], root / "sentences" / "wav" / dialog / f"{key}.wav",
                 {"utt2spk": f"{key[:5]}{turn[0]}"})


def _dev_keys(entries: list[Entry]) -> set[str]:
    """A fixed share of each class."""
    keys = defaultdict(list)
    for entry in entries:
        keys[entry.label].append(entry.key)
    draw = random.Random(0)
    return {key for label in sorted(keys) for key in draw.sample(sorted(keys[label]), len(keys[label]) // DEV_SHARE)}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
