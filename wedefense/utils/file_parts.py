"""Recordings that are parts of a tar: `corpus.tar:OFFSET:SIZE.wav` in the place of a path, bytes each.

A corpus in a few large files stays one: no file for each recording, and a recording costs the reading of its own bytes.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

_PART = re.compile(r"(.+\.tar):(\d{1,18}):(\d{1,18})(?:\.\w+)?", re.DOTALL)


class FilePart(NamedTuple):
    """
    >>> part_of("/data/train.tar:512:32044.wav")
    FilePart(file='/data/train.tar', offset=512, size=32044)
    >>> part_of("/data/train.wav") is None
    True
    """

    file: str
    offset: int
    size: int


def part_of(place: str | os.PathLike) -> FilePart | None:
    """None where `place` is a file of its own."""
    found = _PART.fullmatch(os.fspath(place))
    return FilePart(found[1], int(found[2]), int(found[3])) if found else None


def file_of(place: str | os.PathLike) -> str:
    """The file that holds what is at `place`."""
    part = part_of(place)
    return part.file if part else os.fspath(place)


def size_of(place: str | os.PathLike) -> int:
    part = part_of(place)
    return part.size if part else os.path.getsize(place)


@contextlib.contextmanager
def opened(place: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file, or a part of one, to read in bytes."""
    part = part_of(place)
    with open(part.file if part else place, "rb", buffering=0) as stream:
        yield cast(BinaryIO, FileSlice(stream, part.offset, part.size) if part else stream)


class FileSlice:
    """A part of an open file as a stream of its own; it reads no more than it is asked for."""

    def __init__(self, stream, offset: int, size: int):
        self._stream, self._descriptor = stream, stream.fileno()  # the stream is held, so that it stays open
        self._offset, self._size, self._position = offset, size, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        left = self._size - self._position
        if left < len(buffer):
            buffer = memoryview(buffer)[:max(0, left)]
        got = os.preadv(self._descriptor, (buffer,), self._offset + self._position)
        self._position += got
        return got

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._position if size < 0 else size
        buffer = bytearray(max(0, wanted))
        return bytes(buffer[:self.readinto(buffer)])
