"""In-the-Wild, as released: `release_in_the_wild/*.wav` and its `meta.csv`."""

from pathlib import Path

from wedefense.data.prepare import Entry, protocol, run

OFFICIAL = {"in_the_wild": 31_779}
LABELS = {"bona-fide": "bonafide", "spoof": "spoof"}


def read(corpus: Path) -> dict[str, list[Entry]]:
    root = corpus / "release_in_the_wild" if (corpus / "release_in_the_wild").is_dir() else corpus
    rows = protocol(root / "meta.csv", "file speaker label", LABELS, separator=",",
                    header="file,speaker,label")
    return {"in_the_wild": [
        Entry(Path(row["file"]).stem, row["label"], root / row["file"], {"utt2spk": row["speaker"].replace(" ", "_")})
        for row in rows]}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
