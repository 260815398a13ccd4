"""ASVspoof 2019 LA, as released: `LA/ASVspoof2019_LA_{train,dev,eval}/flac` and the CM protocols."""

from pathlib import Path

from wedefense.data.prepare import Entry, protocol, run

OFFICIAL = {"train": 25_380, "dev": 24_844, "eval": 71_237}
PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
LABELS = {"bonafide": "bonafide", "spoof": "spoof"}


def read(corpus: Path) -> dict[str, list[Entry]]:
    root = corpus / "LA" if (corpus / "LA").is_dir() else corpus
    return {name: _read_set(root, name) for name in PROTOCOLS}


def _read_set(root: Path, name: str) -> list[Entry]:
    path = root / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{PROTOCOLS[name]}.txt"
    audio = root / f"ASVspoof2019_LA_{name}" / "flac"
    return [Entry(row["key"], row["label"], audio / f"{row['key']}.flac",
                  {"utt2spk": row["speaker"], "utt2attack": row["attack"]})
            for row in protocol(path, "speaker key - attack label", LABELS)]


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
