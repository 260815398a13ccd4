"""Recordings inside parquet files, laid out once in tars where each is read alone: `FILE.tar:OFFSET:SIZE.wav`.

A parquet file gives a recording only with its whole page, mostly packed; training reads in another order every epoch. A
pack is whole or absent: whoever is interrupted goes on after the last one, and who comes again writes nothing. Names
tell the content of the table, so that a place which an earlier table had is gone, and never another recording.
"""

import functools
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import NamedTuple

from wedefense.data.audio import AudioInfo, BadAudio, probe
from wedefense.data.duplicates import digest_of
from wedefense.data.parquet_table import ParquetTable
from wedefense.data.shards import member_name
from wedefense.utils.files import atomic_write
from wedefense.utils.fingerprint import of_file, of_parts
from wedefense.utils.log import get_logger, progress

_FULL, _MANY = 1 << 30, 50_000  # bytes and rows, after either of which a pack is closed
_HEADS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b".snd": ".au", b"caff": ".caf",
          b"riff": ".w64", b"RF64": ".rf64", b"NIST": ".sph"}


class Packed(NamedTuple):
    """A row: where its recording is and what is known of it, or what is wrong with it ("": it has none)."""

    place: str | None
    wrong: str = ""
    info: AudioInfo | None = None
    digest: bytes = b""


@dataclass(frozen=True)
class Packs:
    """Of one column of a parquet file: `FOLDER/NAME-MARK-0000.tar`, each with an index beside it."""

    table: ParquetTable
    column: str
    folder: Path
    name: str

    def __iter__(self) -> Iterator[Packed]:
        """Every row in order; what no pack holds yet is written first."""
        self._remove_others()
        source, done, number = self._source, 0, 0
        while (rows := self._read(number, source, done)) is not None:
            yield from rows
            done, number = done + len(rows), number + 1
        if done < self.table.rows:
            if done:
                get_logger().info("%s: goes on after row %d", self.table.path, done)
            yield from self._write(source, done, number)

    @cached_property
    def _source(self) -> str:
        return f"{of_file(self.table.path)} {self.column}"

    @cached_property
    def _mark(self) -> str:
        return of_parts([self._source])[:8]

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.name}-{self._mark}-{number:04d}.tar"

    def _index(self, number: int) -> Path:
        return Path(f"{self._path(number)}.idx")

    def _read(self, number: int, source: str, done: int) -> list[Packed] | None:
        """The rows of a pack; None where there is none that is whole, of this table and after so many rows."""
        try:
            head, *lines = map(json.loads, self._index(number).read_text(encoding="utf-8").splitlines())
            if head != _head(self._path(number), source, done) or not lines:
                return None
            return [self._packed(number, line) for line in lines]
        except (OSError, ValueError, TypeError):
            return None

    def _packed(self, number: int, line: list) -> Packed:
        if len(line) == 1:
            return Packed(None, *line)
        offset, size, suffix, rate, channels, frames, digest, *silent = line
        place = f"{self._path(number)}:{offset}:{size}{suffix}"
        return Packed(place, "", _info(rate, channels, frames, *silent), bytes.fromhex(digest))

    def _write(self, source: str, done: int, number: int) -> Iterator[Packed]:
        bar = progress(total=self.table.rows, initial=done, desc=f"packing {self.table.path.name}", unit="row")
        recordings = self.table.recordings(self.column, done)
        with bar:
            while done < self.table.rows:
                self._index(number).unlink(missing_ok=True)  # it belongs to the tar that is being replaced
                with atomic_write(self._path(number)) as stream, \
                        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
                    lines = []
                    for row, content in zip(count(done + 1), recordings):
                        lines.append(_add(tar, stream, f"{self.name}-{row}", content or b""))
                        bar.update()
                        if stream.tell() >= _FULL or len(lines) == _MANY:
                            break
                with atomic_write(self._index(number), "w") as index:
                    index.writelines(f"{json.dumps(line)}\n"
                                     for line in [_head(self._path(number), source, done), *lines])
                yield from (self._packed(number, line) for line in lines)
                done, number = done + len(lines), number + 1

    def _remove_others(self) -> None:
        """Packs that an earlier table of this name left, or an earlier content of this one."""
        ours = re.compile(rf"{re.escape(self.name)}-(?!{self._mark})[0-9a-f]{{8}}-\d{{4,}}\.tar(\.idx)?")
        for path in list(self.folder.iterdir()) if self.folder.is_dir() else []:
            if ours.fullmatch(path.name):
                path.unlink(missing_ok=True)


def pack_name(table: Path, root: Path | None) -> str:
    """Of the packs of a table: its own name, with that of the folders between a corpus and it."""
    inner = table.relative_to(root) if root else Path(table.name)
    return member_name(inner.with_suffix("").as_posix())


def _head(pack: Path, source: str, first: int) -> dict:
    status = os.stat(pack)
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "source": source, "after row": first}


def _add(tar: tarfile.TarFile, stream, name: str, content: bytes) -> list:
    """What the index says of a row: why it has no recording, or all that one asks of it."""
    if not content:
        return [""]
    try:
        info = probe(io.BytesIO(content))
    except BadAudio as error:
        return [f"{error}"]
    member = tarfile.TarInfo(f"{name}{_suffix_of(content)}")
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
    offset = stream.tell() - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return [offset, len(content), _suffix_of(content), info.rate, info.channels, info.frames, digest_of(content).hex(),
            *[True] * info.silent]


def _suffix_of(content: bytes) -> str:
    return next((suffix for head, suffix in _HEADS.items() if content.startswith(head)), ".mp3")


_info = functools.lru_cache(AudioInfo)  # many recordings may be alike in this
