"""Tables as people keep them: CSV, TSV, JSON lines, parquet files, and folders in Hugging Face's audio layout."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from wedefense.data.shards import AUDIO_SUFFIXES
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.tables import first_few, read_lines

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
_FIRST = 64  # rows that tell which columns there are


@dataclass(frozen=True)
class Row:
    """One line. `cells`: column -> text, or the bytes of a recording where a parquet file holds it."""

    where: str  # "labels.csv:7", for messages
    folder: Path  # that relative paths start from
    cells: dict[str, str | bytes]
    root: Path | None = None  # that keys start from, if not from `folder`


def read_rows(path: Path) -> tuple[list[Row], Iterator[Row]]:
    """The first rows, and all rows, of a table or of what a folder holds: parquet shards, metadata tables, or audio by
    class. Recordings inside a table are in memory a few at a time."""
    rows = _rows_of_folder(path) if path.is_dir() else _rows_of_file(path)
    first = list(islice(rows, _FIRST))
    if not first:
        raise InputError(f"{path}: the table has no row")
    return first, chain(first, rows)


def _rows_of_file(path: Path) -> Iterator[Row]:
    kind = path.suffix.lower()
    readers = {**dict.fromkeys(SEPARATORS, _separated), ".jsonl": _json_lines, ".parquet": _parquet}
    if kind not in readers:
        raise InputError(f"{path}: a table ends in {', '.join(readers)}, or is a folder{did_you_mean(kind, readers)}")
    return readers[kind](path)


def _separated(path: Path) -> Iterator[Row]:
    return separated_rows(path, SEPARATORS[path.suffix.lower()])


def separated_rows(path: Path, separator: str) -> Iterator[Row]:
    """A header line, then lines of as many cells; quotes as in spreadsheets."""
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
        if len(header) == 1 and any(other in header[0] for other in ",;\t" if other != separator):
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


def _parquet(path: Path) -> Iterator[Row]:
    """A batch at a time. Class numbers of Hugging Face come back as their names, recordings as bytes."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(f"{path}: reading parquet needs pyarrow: pip install 'wedefense[parquet]'") from None
    try:
        file = parquet.ParquetFile(path)
        classes = _class_names(file.schema_arrow.metadata or {})
        number = 0
        for batch in file.iter_batches(batch_size=_FIRST):
            for record in batch.to_pylist():
                number += 1
                yield Row(f"{path}: row {number}", path.parent, _cells(record, classes))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a whole parquet file ({error})") from None


def _class_names(metadata: dict) -> dict[str, list[str]]:
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {name: feature["names"] for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"}


def _cells(record: dict, classes: dict[str, list[str]]) -> dict[str, str | bytes]:
    cells: dict[str, str | bytes] = {}
    for name, value in record.items():
        if isinstance(value, dict) and "bytes" in value:  # an Audio feature: {bytes, path}
            cells[name] = value["bytes"] or value.get("path") or ""
            if value["bytes"] and value.get("path"):
                cells.setdefault("file_name", value["path"])
        elif name in classes and isinstance(value, int) and 0 <= value < len(classes[name]):
            cells[name] = classes[name][value]
        else:
            cells[name] = value if isinstance(value, bytes) else "" if value is None else str(value)
    return cells


def _rows_of_folder(folder: Path) -> Iterator[Row]:
    found = sorted(folder.rglob("*.parquet"))
    shards = [path for path in found if "-of-" in path.stem] or found  # others beside shards hold no recordings
    tables = sorted(path for name in METADATA[:2] for path in folder.rglob(name))
    if tables or shards:
        for path in tables or shards:
            split = _split_of(path, folder, by_stem=not tables)
            for row in _rows_of_file(path):
                yield Row(row.where, row.folder, {"split": split, **row.cells} if split else row.cells, folder)
    else:
        yield from _by_class(folder)


def _split_of(path: Path, folder: Path, by_stem: bool) -> str:
    """`data/train-00000-of-00007.parquet` and `train/metadata.csv` are of the split `train`."""
    if by_stem and "-of-" in path.stem:
        return path.stem.split("-")[0]
    return path.relative_to(folder).parts[0] if path.parent != folder else ""


def _by_class(folder: Path) -> Iterator[Row]:
    """`real/a.wav`, or `train/real/a.wav`: the folder next to the file is its label, the one above that its split."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.suffix.lower().lstrip(".") not in AUDIO_SUFFIXES or len(inner.parts) < 2:
            continue
        cells: dict[str, str | bytes] = {"path": str(inner), "label": inner.parts[-2]}
        if len(inner.parts) > 2:
            cells["split"] = inner.parts[-3]
        yield Row(f"{folder}: {inner}", folder, cells)
