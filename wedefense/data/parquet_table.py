"""A parquet file: its rows without the recordings inside, and these recordings one after another.

Columns are read a data page at a time, whatever the size of a row group. A page, which is in memory twice, packed and
unpacked, has 1 MB and up to 1,024 rows more as pyarrow writes it, and never more than a row group.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wedefense.utils.errors import InputError
from wedefense.utils.files import require_regular

_BUFFER = 1 << 20           # bytes of a column read at a time; without, a row group's whole column would be
_ROWS, _BYTES = 64, 1 << 24  # of a batch, at most about


@dataclass(frozen=True, slots=True)
class Held:
    """A recording inside a parquet file."""

    file: Path
    column: str
    row: int   # from 1 on
    name: str  # what the row calls it ("": nothing)
    root: Path | None = None  # of the corpus, if it is not the folder of the file


@dataclass(frozen=True, slots=True)
class NoText:
    """A cell of a kind that is no text, number or recording."""

    kind: str


Cell = str | Held | NoText


class ParquetTable:
    """Class numbers of Hugging Face are their names; recordings are read when they are asked for."""

    def __init__(self, path: Path, root: Path | None = None):
        try:
            import pyarrow
            from pyarrow import parquet, types
        except ImportError:
            raise InputError(f"{path}: reading parquet needs pyarrow: pip install 'wedefense[parquet]'") from None
        self.path, self._root, self._types = path, root, types
        self._errors = pyarrow.ArrowException, OSError, UnicodeDecodeError
        require_regular(path)
        with self._told("not a whole parquet file"):
            # No threads of Arrow: whoever comes after this may fork.
            self._file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
            self._meta, self._schema = self._file.metadata, self._file.schema_arrow
        self.rows, held = self._meta.num_rows, sum(map(self._rows_of, range(self._meta.num_row_groups)))
        if held != self.rows:
            raise InputError(f"{path}: not a whole parquet file (it says {self.rows} rows, and its row groups {held}); "
                             "get it again, or write it again")
        self._classes = self._features("ClassLabel", "names")

    @contextlib.contextmanager
    def _told(self, what: str):
        try:
            yield
        except self._errors as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{self.path}: {what} ({why}); get it again, or write it again") from None

    def _features(self, kind: str, value: str) -> dict[str, Any]:
        """Columns of one of Hugging Face's kinds, by what its metadata says of them."""
        try:
            features = json.loads((self._schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
            return {name: feature.get(value) for name, feature in features.items()
                    if isinstance(feature, dict) and feature.get("_type") == kind}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    @cached_property
    def audio(self) -> list[str]:
        """Columns with recordings inside: bytes, alone or beside a path, or decoded samples, not all of them null."""
        images = self._features("Image", "_type")
        return [field.name for field in self._schema if field.name not in images
                and (leaf := self._bytes_of(field) or self._samples_of(field)) is not None and not self._all_null(leaf)]

    def _bytes_of(self, field) -> str | None:
        """The path of the column of bytes."""
        if self._is_binary(field.type):
            return field.name
        inner = field.type.get_field_index("bytes") if self._types.is_struct(field.type) else -1
        return f"{field.name}.bytes" if inner >= 0 and self._is_binary(field.type.field(inner).type) else None

    def _samples_of(self, field) -> str | None:
        """The path of the column of samples, where a rate is beside them."""
        inner = {part.name: part.type for part in field.type} if self._types.is_struct(field.type) else {}
        array, rate = inner.get("array"), inner.get("sampling_rate")
        if array is None or rate is None or not self._types.is_integer(rate):
            return None
        is_list = self._types.is_list(array) or self._types.is_large_list(array)
        return f"{field.name}.array" if is_list and self._types.is_floating(array.value_type) else None

    def _is_binary(self, kind) -> bool:
        return any(test(kind) for test in (self._types.is_binary, self._types.is_large_binary,
                                           self._types.is_fixed_size_binary, self._types.is_binary_view))

    def _all_null(self, leaf: str) -> bool:
        groups = [self._meta.row_group(number) for number in range(self._meta.num_row_groups)]
        place = self._place_of(leaf)
        return all((said := group.column(place).statistics) is not None and said.has_null_count
                   and said.null_count == group.num_rows for group in groups)

    def _place_of(self, leaf: str) -> int:
        return next(i for i in range(self._meta.num_columns)
                    if f"{self._meta.schema.column(i).path}.".startswith(f"{leaf}."))

    def cells(self) -> Iterator[dict[str, Cell]]:
        """Of every row, in order; nothing of the recordings is read."""
        read, told = self._columns()
        row = 0
        for batch in self._batches(read, _ROWS * 16):
            with self._told(f"rows {row + 1} to {row + len(batch)} hold what is no text"):
                records = batch.to_pylist() if read else [{}] * len(batch)
            for record in records:
                row += 1
                cells: dict[str, Cell] = {name: self._cell(name, record.get(name)) for name in self._schema.names
                                          if name not in told}
                for name in self.audio:
                    said = record.get(name)
                    cells[name] = Held(self.path, name, row, (said.get("path") or "") if isinstance(said, dict) else "",
                                       self._root)
                yield cells | told

    def _columns(self) -> tuple[list[str], dict[str, Cell]]:
        """What is read, and the cells of the columns that are not."""
        read: list[str] = []
        told: dict[str, Cell] = {}
        for field in self._schema:
            inner = [field.type.field(i).name for i in range(field.type.num_fields)] \
                if self._types.is_struct(field.type) else []
            if "path" in inner and (set(inner) <= {"path", "bytes"} or field.name in self.audio):
                read.append(f"{field.name}.path")
            elif field.name in self.audio:
                continue
            elif self._types.is_nested(field.type) or self._is_binary(field.type):
                told[field.name] = NoText(str(field.type))
            else:
                read.append(field.name)
        return read, told

    def _cell(self, name: str, value) -> str:
        if isinstance(value, dict):
            value = value.get("path")
        names = self._classes.get(name)
        if isinstance(names, list) and isinstance(value, int) and 0 <= value < len(names):
            return str(names[value])
        return "" if value is None else str(value)

    def recordings(self, column: str, first: int = 0) -> Iterator[bytes | None]:
        """The bytes of every row from `first` on (from 0), in order; None where there are none."""
        field = self._schema.field(column)
        leaf = self._bytes_of(field)
        place = self._place_of(leaf or f"{column}.array")
        size = sum(self._meta.row_group(i).column(place).total_uncompressed_size
                   for i in range(self._meta.num_row_groups)) // max(1, self.rows)
        for batch in self._batches([leaf or column], max(1, min(_ROWS, _BYTES // max(1, size))), first):
            held = batch.column(0).field("bytes") if leaf not in (None, column) else batch.column(0)
            for value in held:
                yield value.as_py() if leaf else _encoded(value)

    def _rows_of(self, group: int) -> int:
        return self._meta.row_group(group).num_rows

    def _batches(self, columns: list[str], size: int, first: int = 0) -> Iterator[Any]:
        done = 0
        for number in range(self._meta.num_row_groups):
            rows, read = self._rows_of(number), 0
            if done + rows > first:
                what = f"row group {number} (rows {done + 1} to {done + rows}) is damaged"
                with self._told(what):
                    for batch in self._file.iter_batches(size, [number], columns, use_threads=False):
                        passed = max(0, first - done - read)
                        if passed < len(batch):
                            yield batch.slice(passed)
                        read += len(batch)
                if read != rows:  # pyarrow ends early where a page says that it holds fewer
                    raise InputError(f"{self.path}: {what} ({read} rows are in it); get it again, or write it again")
            done += rows


def _encoded(value) -> bytes | None:
    """Samples as a file; a WAV of floats would hold the time of its writing."""
    import soundfile  # where it is wanted: tables of spans are read where it is not there

    array, rate = (value["array"], value["sampling_rate"].as_py()) if value.is_valid else (None, None)
    if array is None or not array.is_valid or not 0 < (rate or 0) < 2 ** 31:
        return None
    stream = io.BytesIO()
    soundfile.write(stream, array.values.to_numpy(zero_copy_only=False).astype("float32"), rate,
                    format="AU", subtype="FLOAT")
    return stream.getvalue()
