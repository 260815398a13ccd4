"""Kaldi ark/scp files of vectors."""

import contextlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write, open_regular
from wedefense.utils.tables import read_table

_HEAD = 10  # bytes: its kind, and how many values


def write_ark(path: str | os.PathLike, vectors: Iterable[tuple[str, np.ndarray]]) -> dict[str, str]:
    """Write an ark; returns its scp entries, key -> `file:offset`. The ark appears only when whole."""
    import kaldiio

    entries: dict[str, str] = {}
    with atomic_write(path) as stream:
        for key, vector in vectors:
            if not np.isfinite(vector).all():
                raise InputError(f"{path}: the model gives NaN or infinite values for '{key}', with which nothing can "
                                 "be judged; look at its weights and at this recording")
            entries[key] = f"{path}:{stream.tell() + len(key.encode()) + 1}"
            kaldiio.save_ark(stream, {key: np.asarray(vector, dtype=np.float32)})
    return entries


def read_scp(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """The keys of an scp and their vectors, (utterances, dim). Arks lie beside the scp, else where it says: those of a
    folder that was copied say where they were, and others may be there by now.

    Read here: kaldiio would run what an entry says where it ends in a pipe.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that writes it first")
    entries, vectors = read_table(path), np.empty((0, 0), dtype=np.float32)
    with contextlib.ExitStack() as stack:
        streams: dict[str, BinaryIO] = {}
        for row, (key, entry) in enumerate(entries.items()):
            try:
                ark, _, offset = entry.rpartition(":")
                if ark not in streams:
                    beside = path.parent / Path(ark).name
                    place = beside if beside.is_file() else Path(ark)
                    streams[ark] = stack.enter_context(open_regular(place))
                vector = _vector(streams[ark], int(offset))
                if row == 0:  # a million of them lie in memory once
                    vectors = np.empty((len(entries), len(vector)), dtype=np.float32)
                if len(vector) != vectors.shape[1]:
                    raise ValueError(f"{len(vector)} values, the others have {vectors.shape[1]}")
                vectors[row] = vector
            except (OSError, ValueError, InputError) as error:
                raise InputError(f"{path}: '{key}': {entry} cannot be read ({error}); run the stage that writes it "
                                 "again") from None
    return list(entries), vectors


def _vector(stream: BinaryIO, offset: int) -> np.ndarray:
    """(dim,) of a vector in Kaldi's binary form; anything else, and values that are no numbers, are a ValueError."""
    stream.seek(offset)
    head = stream.read(_HEAD)
    kind = {b"\0BFV \4": np.dtype("<f4"), b"\0BDV \4": np.dtype("<f8")}.get(head[:6])
    if kind is None or len(head) < _HEAD:
        raise ValueError("no vector of numbers stands there")
    (dim,) = struct.unpack("<i", head[6:])
    if not 0 < dim * kind.itemsize <= os.fstat(stream.fileno()).st_size:
        raise ValueError(f"a vector of {dim} values")
    content = stream.read(dim * kind.itemsize)
    if len(content) < dim * kind.itemsize:
        raise ValueError("it is cut short")
    vector = np.frombuffer(content, dtype=kind).astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("NaN or infinite values")
    return vector
