"""PartialSpoof, as released: `{train,dev,eval}/con_wav` and the CM protocols.

`--sets train dev` reads these sets alone; `--subset` says that the corpus is meant to be smaller than the release.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from wedefense.data.prepare import Entry, protocol, run

OFFICIAL = {"train": 25_380, "dev": 24_844, "eval": 71_237}
LABELS = {"bonafide": "bonafide", "spoof": "spoof"}


def read(corpus: Path, sets: Sequence[str] = tuple(OFFICIAL)) -> dict[str, list[Entry]]:
    root = corpus / "database" if (corpus / "database").is_dir() else corpus  # as its archives unpack
    return {name: _read_set(root, name) for name in sets}


def _read_set(root: Path, name: str) -> list[Entry]:
    path = root / "protocols" / "PartialSpoof_LA_cm_protocols" / f"PartialSpoof.LA.cm.{name}.trl.txt"
    return [Entry(row["key"], row["label"], root / name / "con_wav" / f"{row['key']}.wav",
                  {"utt2spk": row["speaker"], "utt2attack": row["attack"]})
            for row in protocol(path, "speaker key - attack label", LABELS)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--sets", nargs="+", choices=tuple(OFFICIAL), default=tuple(OFFICIAL))
    parser.add_argument("--subset", action="store_true")
    own, shared = parser.parse_known_args(argv)
    return run(partial(read, sets=own.sets), __doc__, {} if own.subset else OFFICIAL, shared)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
