"""SpoofCeleb, as released: `flac/{train,development,evaluation}` and `metadata/*.csv`."""

from pathlib import Path

from wedefense.data.prepare import Entry, protocol, run

OFFICIAL = {"train": 2_540_421, "dev": 55_741, "eval": 91_130}
SETS = {"train": "train", "dev": "development", "eval": "evaluation"}
BONAFIDE = "a00"
LABELS = {f"a{number:02d}": "bonafide" if number == 0 else "spoof" for number in range(24)}  # real, 23 systems


def read(corpus: Path) -> dict[str, list[Entry]]:
    root = corpus / "spoofceleb" if (corpus / "spoofceleb").is_dir() else corpus  # as its archive unpacks
    return {name: _read_set(root, official) for name, official in SETS.items()}


def _read_set(corpus: Path, name: str) -> list[Entry]:
    rows = protocol(corpus / "metadata" / f"{name}.csv", "file speaker label", LABELS, separator=",",
                    header="file,speaker,attack")
    audio = corpus / "flac" / name
    return [Entry(str(Path(row["file"]).with_suffix("")), row["label"], audio / row["file"], _tables(row))
            for row in rows]


def _tables(row: dict) -> dict[str, str]:
    attack = Path(row["file"]).parts[0]
    return {"utt2spk": row["speaker"], "utt2attack": "-" if attack == BONAFIDE else attack}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
