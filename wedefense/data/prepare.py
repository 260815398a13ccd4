"""What every reader of a corpus shares (stage 1): protocols in, checked Kaldi tables out.

A corpus file gives a function from a corpus folder to `{set: [Entry, ...]}` and calls `run`.
"""

import argparse
import fnmatch
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from wedefense.data.audio import AudioInfo
from wedefense.data.manifest import Manifest, Problem, Recording, check_recordings
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.owner import sweep
from wedefense.utils.parallel_map import default_workers
from wedefense.utils.tables import each_row, first_few, read_lines, write_table

log = get_logger()

_NOTED = "tables.txt"  # in a data folder: which of its tables stage 1 wrote besides those that every folder has


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a protocol. `tables`: further columns by the name of their table, such as `utt2spk`."""

    key: str
    label: str
    wav: Path | str  # or a part of a tar (`wedefense.utils.file_parts`)
    tables: Mapping[str, str] = field(default_factory=dict)
    # What is known of the recording already.
    wrong: str = ""               # why it cannot be used
    info: AudioInfo | None = None
    digest: bytes = b""           # of its content


def class_of(label: str, labels: Mapping[str, str]) -> str | None:
    """What `labels` calls a label: by its name, or by the first pattern that fits (`a0*`); None where nothing does."""
    if label in labels:
        return labels[label]
    return next((to for pattern, to in labels.items() if fnmatch.fnmatchcase(label, pattern)), None)


def records(path: Path, columns: str, labels: Mapping[str, str], separator: str | None = None,
            header: str | None = None) -> list[dict[str, str]]:
    """The lines of a protocol as dicts by column name, with `where`, which says the line.

    Every line must have exactly these `columns`, separated by blanks or by `separator` (`...`: any number of others),
    and in the column `label` one that `labels` knows. A protocol with a `header` must begin with this line.
    """
    names, rest, last = columns.split(), "...", []
    if rest in names:
        names, last = names[:names.index(rest)], names[names.index(rest) + 1:]
    else:
        rest = ""
    wrong, rows = [], []
    lines = read_lines(path)
    if header and (not lines or lines[0].strip() != header):
        raise InputError(f"{path}: the first line must be '{header}', as in the official release")
    for number, line in enumerate(lines, 1):
        if not line.strip() or (header and number == 1):
            continue
        fields = [text.strip() for text in line.strip().split(separator)]
        least = len(names) + len(last)
        row = dict(zip(names, fields), **dict(zip(last, fields[len(fields) - len(last):])), where=f"{path}:{number}")
        if len(fields) < least or (len(fields) > least and not rest):
            wrong.append(f"line {number}: {len(fields)} columns, expected {least} ({columns}): {line.strip()!r}")
        elif "label" in row and class_of(row["label"], labels) is None:
            wrong.append(f"line {number}: unknown label '{row['label']}' (known: {', '.join(labels)})")
        else:
            rows.append(row)
    if wrong:
        raise InputError(f"{path}: {len(wrong)} malformed lines; {first_few(wrong)}. Take the protocol from the "
                         f"official release again")
    if not rows:
        raise InputError(f"{path}: the protocol is empty")
    return rows


def protocol(path: Path, columns: str, labels: Mapping[str, str], separator: str | None = None,
             header: str | None = None) -> Iterator[dict[str, str]]:
    """The same `records`, their column `label` as `labels` renames it.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "trl.txt")
    >>> _ = path.write_text("LA_0079 LA_T_1138215 - - human\\n")
    >>> next(protocol(path, "speaker key - attack label", {"human": "bonafide"}))["label"]
    'bonafide'
    """
    for row in records(path, columns, labels, separator, header):
        label = class_of(row["label"], labels)
        assert label is not None  # `records` refuses what has none
        yield {**row, "label": label}


Complaints = Callable[[Mapping[str, Sequence[Entry]]], Sequence[str]]


def run(read: Callable[[Path], Mapping[str, Sequence[Entry]]], description: str,
        official: Mapping[str, int] | Complaints, argv: list[str] | None = None,
        write_more: Callable[[Path, Path, Mapping], None] | None = None) -> int:
    """The command line of a corpus: `--corpus DIR --out data` writes `data/<set>/wav.scp, utt2lab, ...`.

    `official`: utterances of each set as published, or what says how the sets differ from that.
    `write_more(corpus, out, sets)` writes what a corpus has besides, such as trials.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--corpus", required=True, type=Path, help="the folder of the corpus, as it was released")
    parser.add_argument("--out", required=True, type=Path, help="where the data folders go")
    parser.add_argument("--num_workers", type=int, default=default_workers())
    parser.add_argument("--allow_problems", action="store_true",
                        help="leave unusable utterances out (problems.txt lists them) instead of stopping")
    arguments = parser.parse_args(argv)
    setup_logging()
    if not arguments.corpus.is_dir():
        raise InputError(f"{arguments.corpus}: no such folder; give the corpus folder with --corpus")
    sets = read(arguments.corpus)
    sweep(arguments.out)
    write_sets(arguments.out, sets, arguments.num_workers, arguments.allow_problems)
    for complaint in official(sets) if callable(official) else _off(sets, official):
        log.warning("%s; a subset is fine if it is meant", complaint)
    if write_more:
        write_more(arguments.corpus, arguments.out, sets)
    return 0


def _off(sets: Mapping[str, Sequence[Entry]], official: Mapping[str, int]) -> list[str]:
    return [f"{name}: {len(entries)} utterances in the protocol, the official set has {official[name]}"
            for name, entries in sets.items() if len(entries) != official.get(name, len(entries))]


def write_sets(out: Path, sets: Mapping[str, Sequence[Entry]], num_workers: int, allow_problems: bool) -> None:
    """The data folders of all sets; what is wrong is told of all of them at once, and the sound ones are written."""
    refused = []
    for name, entries in sets.items():
        started, folder = time.monotonic(), out / name
        try:
            manifest = write_data_dir(folder, entries, num_workers, allow_problems)
        except InputError as error:
            refused.append(str(error))
        else:
            log.info("%s\nwrote %s in %.1f s", manifest.report(), folder, time.monotonic() - started)
    if refused:
        raise InputError("\n".join(refused))


def write_data_dir(folder: Path, entries: Sequence[Entry], num_workers: int, allow_problems: bool) -> Manifest:
    """Check the audio of `entries` and write their tables; `utt2lab` comes last, as the mark of a whole folder.

    Tables of an earlier call that are none of this one are taken away; those that somebody else wrote stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = Counter(entry.key for entry in entries)
    once = [entry for entry in entries if counts[entry.key] == 1]
    recordings = [Recording(e.key, e.label, _absolute(e.wav), e.info) for e in once if not e.wrong]
    manifest = check_recordings(str(folder), recordings, num_workers)
    manifest.problems += [Problem("unusable audio", e.key, f"{e.wav}: {e.wrong}") for e in once if e.wrong]
    manifest.problems += [Problem("duplicate key", key, f"{n} lines") for key, n in counts.items() if n > 1]
    manifest.require_sound(allow_problems, folder / "problems.txt")
    take_away_others(folder, {name for entry in once for name in entry.tables})
    for name, table in _tables(once, {recording.key: recording for recording in manifest.recordings}):
        if not _is_said(folder / name, table):  # else stage 2 need not run again
            write_table(folder / name, table)
    return manifest


def take_away_others(folder: Path, names: Collection[str]) -> None:
    """Tables of an earlier call that are none of this one's `names`, which are noted for the next."""
    noted = folder / _NOTED
    before = read_lines(noted) if noted.exists() else []
    for name in before:
        if (name.startswith("utt2") or name == "segments") and "/" not in name and name not in names:
            (folder / name).unlink(missing_ok=True)
    if before != sorted(names):
        with atomic_write(noted, "w") as stream:
            stream.writelines(f"{name}\n" for name in sorted(names))


def _is_said(path: Path, table: Mapping[str, str]) -> bool:
    """Whether a file holds just this table."""
    return path.exists() and all(old == new for old, new in zip_longest(each_row(path), table.items()))


def _absolute(wav: Path | str) -> str:
    return str(wav) if os.path.isabs(wav) else str(Path(wav).absolute())


def _tables(entries: Sequence[Entry], usable: Mapping[str, Recording]) -> Iterator[tuple[str, dict[str, str]]]:
    """One after the other, as each takes the memory of a table of millions."""
    for name in sorted({name for entry in entries for name in entry.tables}):
        yield name, {e.key: e.tables[name] for e in entries if e.key in usable and name in e.tables}
    yield "utt2dur", {key: f"{r.info.seconds:.6f}" for key, r in usable.items()}
    yield "wav.scp", {key: r.wav for key, r in usable.items()}
    yield "utt2lab", {key: r.label for key, r in usable.items()}
