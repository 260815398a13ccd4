"""Tables as people keep them: CSV, TSV, JSON lines, parquet files, and folders in Hugging Face's audio layout."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from wedefense.data.parquet_table import Cell, ParquetTable
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, kind_of
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.files import files_under
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, read_lines

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "tst"), "eval"),
}
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?")
_FIRST = 64  # rows that tell which columns there are


@dataclass(frozen=True)
class Row:
    """One line. `cells`: column -> text, or where a parquet file holds the recording."""

    where: str  # "labels.csv:7", for messages
    folder: Path  # that relative paths start from
    cells: Mapping[str, Cell]
    root: Path | None = None  # that keys start from, if not from `folder`


def read_rows(path: Path) -> tuple[list[Row], Iterator[Row]]:
    """The first rows, and all rows, of a table or of what a folder holds: parquet shards, metadata tables, or audio by
    class. Recordings inside a table are not read."""
    rows = _rows_of_folder(path) if path.is_dir() else _rows_of_file(path)
    first = list(islice(rows, _FIRST))
    if not first:
        raise InputError(f"{path}: the table has no row")
    return first, chain(first, rows)


def _rows_of_file(path: Path, root: Path | None = None) -> Iterator[Row]:
    kind = path.suffix.lower()
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {
        **dict.fromkeys(SEPARATORS, _separated), ".jsonl": _json_lines, ".parquet": partial(_parquet, root=root)}
    if kind not in readers:
        raise InputError(f"{path}: a table ends in {', '.join(readers)}, or is a folder{did_you_mean(kind, readers)}")
    return readers[kind](path)


def _separated(path: Path) -> Iterator[Row]:
    return separated_rows(path, SEPARATORS[path.suffix.lower()])


def separated_rows(path: Path, separator: str) -> Iterator[Row]:
    """A header line, then lines of as many cells; quotes as in spreadsheets, some of which write semicolons for commas.
    """
    lines = (f"{line}\n" for line in read_lines(path))
    if separator == "|":
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        repeated = {name for name in header if header.count(name) > 1}
        if not any(header) or repeated:
            why = f"names {first_few(sorted(repeated))} twice" if repeated else "has no names"
            raise InputError(f"{path}:1: the header line {why}; it names every column once")
        if len(header) == 1 and separator == "," and ";" in header[0]:
            yield from separated_rows(path, ";")
            return
        if len(header) == 1 and any(other in header[0] for other in ",\t|" if other != separator):
            raise InputError(f"{path}:1: one column '{header[0][:60]}'; a {path.suffix} file separates columns by "
                             f"{separator!r}, so give it the suffix of what it is (.csv: commas, .tsv: tabs)")
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise InputError(f"{path}:{reader.line_num}: {len(cells)} columns where the header has {len(header)} "
                                 f"({first_few(header, 8)}); quote cells that hold {separator!r}")
            yield Row(f"{path}:{reader.line_num}", path.parent, dict(zip(header, map(str.strip, cells))))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: {error}; is a quote left open?") from None


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=partial(_once, f"{path}:{number}"))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: column {error.colno}: {error.msg}; each line is one JSON "
                             f"object") from None
        if not isinstance(record, dict):
            raise InputError(f'{path}:{number}: expected an object like {{"path": "a.wav", "label": "fake"}}')
        yield Row(f"{path}:{number}", path.parent, {k: "" if v is None else str(v) for k, v in record.items()})


def _once(where: str, pairs: list) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"{where}: names {first_few(sorted({n for n in names if names.count(n) > 1}))} twice")
    return record


def _parquet(path: Path, root: Path | None) -> Iterator[Row]:
    for number, cells in enumerate(ParquetTable(path, root).cells(), 1):
        yield Row(f"{path}: row {number}", path.parent, cells)


def _rows_of_folder(folder: Path) -> Iterator[Row]:
    files = sorted(files_under(folder))
    found = [path for path in files if path.suffix == ".parquet"]
    shards = [path for path in found if "-of-" in path.stem] or found  # others beside shards hold no recordings
    tables = [path for path in files if path.name in METADATA[:2]]
    if tables or shards:
        if not tables:
            _tell_missing(shards)
        for path in tables or shards:
            split = _split_of(path, folder, by_stem=not tables)
            for row in _rows_of_file(path, folder):
                yield Row(row.where, row.folder, {"split": split, **row.cells} if split else row.cells, folder)
    else:
        yield from _by_class(folder, files)


def _split_of(path: Path, folder: Path, by_stem: bool) -> str:
    """`data/train-00000-of-00007.parquet`, `train/metadata.csv`, `en/train/0000.parquet`: all of the split `train`."""
    if by_stem and "-of-" in path.stem:
        return path.stem.split("-")[0]
    folders = path.relative_to(folder).parts[:-1]
    return next((name for name in reversed(folders) if name.lower() in SPLITS), folders[0] if folders else "")


def _tell_missing(shards: Sequence[Path]) -> None:
    """Shards whose names say that there are more of them."""
    found: dict[tuple[Path, str, str], set[int]] = defaultdict(set)
    for path in shards:
        if match := _SHARD.fullmatch(path.stem):
            found[path.parent, match[1], match[3]].add(int(match[2]))
    for (folder, split, total), there in found.items():
        if missing := [number for number in range(int(total)) if number not in there]:
            get_logger().warning("%s: of %d shards, %d are not there: %s; a subset is fine if it is meant", folder,
                                 int(total), len(missing),
                                 first_few(f"{split}-{number:05d}-of-{total}.parquet" for number in missing))


def _by_class(folder: Path, files: Sequence[Path]) -> Iterator[Row]:
    """`real/a.wav`, or `train/real/a.wav`: the folder next to the file is its label, the one above that its split."""
    for path in files:
        inner = path.relative_to(folder)
        if kind_of(path) not in AUDIO_SUFFIXES or len(inner.parts) < 2:
            continue
        cells: dict[str, Cell] = {"path": str(inner), "label": inner.parts[-2]}
        if len(inner.parts) > 2:
            cells["split"] = inner.parts[-3]
        yield Row(f"{folder}: {inner}", folder, cells)
