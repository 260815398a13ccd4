"""Kaldi ark/scp files of vectors."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.tables import read_table


def write_ark(path: str | os.PathLike, vectors: Iterable[tuple[str, np.ndarray]]) -> dict[str, str]:
    """Write an ark; returns its scp entries, key -> `file:offset`. The ark appears only when whole."""
    import kaldiio

    entries = {}
    with atomic_write(path) as stream:
        for key, vector in vectors:
            entries[key] = f"{path}:{stream.tell() + len(key.encode()) + 1}"
            kaldiio.save_ark(stream, {key: np.asarray(vector, dtype=np.float32)})
    return entries


def read_scp(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """The keys of an scp and their vectors, (utterances, dim). Moved arks are looked for beside the scp."""
    import kaldiio

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that writes it first")
    entries, vectors, streams = read_table(path), [], {}
    try:
        for entry in entries.values():
            ark, _, offset = entry.rpartition(":")
            if not os.path.exists(ark):
                entry = f"{path.parent / Path(ark).name}:{offset}"
            vectors.append(kaldiio.load_mat(entry, fd_dict=streams))
    except (OSError, ValueError, AssertionError) as error:
        raise InputError(f"{path}: '{entry}' cannot be read ({error}); run the stage that writes it again") from None
    finally:
        for stream in streams.values():
            stream.close()
    return list(entries), np.stack(vectors)
