"""Data folders put together: one folder of all their tables, keys with the name of the part before them."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from wedefense.data.duplicates import same_content
from wedefense.data.prepare import take_away_others
from wedefense.data.spans import Span, read_spans, spans_text
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.tables import first_few, read_table, write_table

NEEDED = ("wav.scp", "utt2lab")
SECONDS, SPANS = "utt2dur", "segments"

Tables = dict[str, dict[str, str]]


def mixed(parts: Mapping[str, Path]) -> Tables:
    """Every table of the parts, by its name; a table that one part lacks says `-` of its utterances, but for seconds,
    which are of all or of none."""
    read = {name: _read(folder) for name, folder in parts.items()}
    names = {table for tables in read.values() for table in tables}
    if not all(SECONDS in tables for tables in read.values()):
        names -= {SECONDS}
    made: Tables = {table: {} for table in sorted(names)}
    made["utt2corpus"] = {}
    for name, tables in read.items():
        for key in tables["wav.scp"]:
            made["utt2corpus"][f"{name}/{key}"] = name
            for table in names:
                made[table][f"{name}/{key}"] = tables.get(table, {}).get(key, "-")
    return made


def mixed_spans(parts: Mapping[str, Path]) -> dict[str, list[Span]]:
    """Where each utterance is fake, if all parts say it; else of none: what is not said has no place in `segments`."""
    if not all((folder / SPANS).exists() for folder in parts.values()):
        return {}
    return {f"{name}/{key}": spans for name, folder in parts.items()
            for key, spans in read_spans(folder / SPANS, "segments").items()}


def _read(folder: Path) -> Tables:
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing:
        raise InputError(f"{folder}: no {' and no '.join(missing)} there; prepare this set first (stage 1)")
    paths = [folder / "wav.scp", *sorted(path for path in folder.glob("utt2*") if path.name != "utt2corpus")]
    tables = {path.name: read_table(path) for path in paths}
    lost = tables["wav.scp"].keys() ^ tables["utt2lab"].keys()
    if lost:
        raise InputError(f"{folder}: {len(lost)} utterances are in one of wav.scp and utt2lab only: "
                         f"{first_few(sorted(lost))}")
    return tables


def shared_files(wavs: Mapping[str, str], folders: Sequence[Path], num_workers: int
                 ) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """((key, "set: key there") of each file of a mixture that is in a held-out set, under any name; keys of the mixture
    that share one content)."""
    ours = {f"ours {key}": os.path.realpath(wav) for key, wav in wavs.items()}
    theirs = {f"{folder}: {key}": os.path.realpath(wav) for folder in folders
              for key, wav in read_table(folder / "wav.scp").items()}
    groups = same_content({**ours, **theirs}, num_workers)
    leaks, repeated = [], []
    for group in groups:
        inside = [name.removeprefix("ours ") for name in group if name in ours]
        outside = [name for name in group if name not in ours]
        leaks += [(key, outside[0]) for key in inside if outside]
        if len(inside) > 1:
            repeated.append(inside)
    return leaks, repeated


def without(tables: Tables, keys: Collection[str]) -> Tables:
    return {name: {key: value for key, value in table.items() if key not in keys} for name, table in tables.items()}


def write_mixture(folder: Path, tables: Tables, spans: Mapping[str, Sequence[Span]]) -> Counter:
    """Write the tables and the spans of what is in them, `utt2lab` last as the mark of a whole folder; returns the
    utterances of each part.

    Tables of an earlier mixture that are none of this one are taken away.
    """
    if not tables["utt2lab"]:
        raise InputError(f"{folder}: nothing is left of the mixture")
    folder.mkdir(parents=True, exist_ok=True)
    take_away_others(folder, tables.keys() - set(NEEDED) | ({SPANS} if spans else set()))
    text = spans_text({key: found for key, found in spans.items() if key in tables["utt2lab"]}, "segments")
    if spans and not ((folder / SPANS).exists() and (folder / SPANS).read_text(encoding="utf-8") == text):
        with atomic_write(folder / SPANS, "w") as stream:
            stream.write(text)
    for name in sorted(tables, key=lambda name: name == "utt2lab"):
        if not (folder / name).exists() or read_table(folder / name) != tables[name]:  # else stage 2 need not run again
            write_table(folder / name, tables[name])
    return Counter(tables["utt2corpus"].values())
