"""ASVspoof 5 track 1, as released: `flac_T, flac_D, flac_E_eval` and the protocols beside them."""

from pathlib import Path

from wedefense.data.prepare import Entry, protocol, run

OFFICIAL = {"train": 182_357, "dev": 140_950, "eval": 680_774}
SETS = {"train": ("flac_T", "ASVspoof5.train.tsv"),
        "dev": ("flac_D", "ASVspoof5.dev.track_1.tsv"),
        "eval": ("flac_E_eval", "ASVspoof5.eval.track_1.tsv")}
COLUMNS = "speaker key gender codec quality seed tag attack label -"
LABELS = {"bonafide": "bonafide", "spoof": "spoof"}


def read(corpus: Path) -> dict[str, list[Entry]]:
    return {name: _read_set(corpus, *places) for name, places in SETS.items()}


def _read_set(corpus: Path, audio: str, name: str) -> list[Entry]:
    beside = corpus / name
    path = beside if beside.exists() else corpus / "ASVspoof5_protocols" / name  # as its archive unpacks
    return [Entry(row["key"], row["label"], corpus / audio / f"{row['key']}.flac", _tables(row))
            for row in protocol(path if path.exists() else beside, COLUMNS, LABELS)]


def _tables(row: dict) -> dict[str, str]:
    # A bona fide line names its class where others name the attack.
    attack = "-" if row["label"] == "bonafide" else row["attack"]
    return {"utt2spk": row["speaker"], "utt2gender": row["gender"], "utt2codec": row["codec"],
            "utt2attack": attack}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
