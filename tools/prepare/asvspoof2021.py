"""ASVspoof 2021 LA and DF, as released: `ASVspoof2021_{LA,DF}_eval/flac` and the keys, `keys/{LA,DF}/CM`.

Only the trials of the `eval` subset are scored; `progress` and `hidden` trials are left out.
"""

from pathlib import Path

from wedefense.data.prepare import Entry, protocol, run
from wedefense.utils.errors import InputError

OFFICIAL = {"asvspoof2021_la": 148_176, "asvspoof2021_df": 533_928}
COLUMNS = {"LA": "speaker key codec transmission attack label trim subset",
           "DF": "speaker key codec source attack label trim subset vocoder task team gender language"}
LABELS = {"bonafide": "bonafide", "spoof": "spoof"}
CONDITIONS = ("codec", "transmission", "source", "vocoder")


def read(corpus: Path) -> dict[str, list[Entry]]:
    """Of the tracks whose audio is there."""
    tracks = [track for track in COLUMNS if (corpus / f"ASVspoof2021_{track}_eval").is_dir()]
    if not tracks:
        raise InputError(f"{corpus}: neither ASVspoof2021_LA_eval nor ASVspoof2021_DF_eval is there")
    return {f"asvspoof2021_{track.lower()}": _read_track(corpus, track) for track in tracks}


def _read_track(corpus: Path, track: str) -> list[Entry]:
    path = corpus / "keys" / track / "CM" / "trial_metadata.txt"
    audio = corpus / f"ASVspoof2021_{track}_eval" / "flac"
    entries = [Entry(row["key"], row["label"], audio / f"{row['key']}.flac", _tables(row))
               for row in protocol(path, COLUMNS[track], LABELS) if row["subset"] == "eval"]
    if not entries:
        raise InputError(f"{path}: no trial of subset 'eval'; take the full set of keys, not that of the first stage")
    return entries


def _tables(row: dict) -> dict[str, str]:
    # A bona fide line names its class where others name the attack.
    attack = "-" if row["label"] == "bonafide" else row["attack"]
    return {"utt2spk": row["speaker"], "utt2attack": attack,
            **{f"utt2{name}": row[name] for name in CONDITIONS if name in row}}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
