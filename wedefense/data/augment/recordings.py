"""Noises and impulse responses: from a folder, a wav.scp, or one packed file (tar or LMDB).

Nothing is held open in the object that is built: each worker process opens what it reads.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wedefense.config.augment import NOISE_KINDS
from wedefense.data.audio import BadAudio, open_audio
from wedefense.data.catalogue import PackedStrings
from wedefense.data.shards import shard_fingerprint, shard_members, write_shard
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import FileSlice
from wedefense.utils.files import files_under
from wedefense.utils.fingerprint import of_files, of_parts
from wedefense.utils.tables import read_table


class Recordings:
    """Named recordings; `open(i)` is a context manager that gives a `soundfile.SoundFile`."""

    def __init__(self, path: str, names: list[str]):
        if not names:
            raise InputError(f"{path}: no recordings in it (looked for {', '.join(AUDIO_SUFFIXES)})")
        self.path = path
        self.names = PackedStrings(names)

    def __len__(self) -> int:
        return len(self.names)

    def open(self, index: int):
        return open_audio(self._source(index))

    def kind(self, index: int) -> str:
        return kind_of(f"{os.path.basename(os.path.abspath(self.path))}/{self.names[index]}")

    def error(self, index: int, reason: str) -> InputError:
        return InputError(f"{self.path}: {self.names[index]}: {reason}; mend it or take it out")

    def of_kinds(self, kinds) -> tuple[np.ndarray, np.ndarray]:
        """The indices of the recordings of these kinds, and the kind of each."""
        known = np.array([self.kind(i) for i in range(len(self))])
        indices = np.flatnonzero(np.isin(known, kinds))
        if not len(indices):
            raise InputError(f"{self.path}: none of {len(self)} recordings is of kind {', '.join(kinds)}; their names, "
                             f"or the folders these lie in, have to begin with the kind, as in MUSAN")
        return indices, known[indices]

    def fingerprint(self) -> str:
        """Of what is drawn: kinds and content, in their order."""
        return of_parts([*map(self.kind, range(len(self))), *self._contents()])

    def _source(self, index: int):
        raise TypeError(f"{type(self).__name__} has no audio")

    def _contents(self) -> list[str]:
        """Fingerprints of the files that hold them."""
        raise TypeError(f"{type(self).__name__} has no audio")


class FileRecordings(Recordings):
    """All audio files below a folder, or those that a `wav.scp` names."""

    def __init__(self, path: str):
        if os.path.isdir(path):
            found = sorted(os.path.relpath(file, path) for file in files_under(path)
                           if file.suffix.lower().lstrip(".") in AUDIO_SUFFIXES)
            super().__init__(path, found)
            self._files = PackedStrings([os.path.join(path, name) for name in found])
            return
        table = read_table(path)
        for key, value in table.items():
            if value.rstrip().endswith("|"):
                raise InputError(f"{path}: {key}: commands are not run; name an audio file")
        super().__init__(path, list(table))
        self._files = PackedStrings(list(table.values()))

    def utterances(self):
        """(name, kind, file, None) of each, as `write_shard` takes them."""
        return ((name, self.kind(i), self._files[i], None) for i, name in enumerate(self.names))

    def _source(self, index: int) -> str:
        return self._files[index]

    def _contents(self) -> list[str]:
        return of_files(self._files)


class TarRecordings(Recordings):
    """An uncompressed tar file, read at random; with the index that `pack` writes it opens at once."""

    def __init__(self, path: str):
        members = shard_members(path)
        super().__init__(path, list(members.keys))
        self._offsets, self._sizes = np.array(members.offsets), np.array(members.sizes)
        self._stream: BinaryIO | None = None

    def _source(self, index: int) -> FileSlice:
        if self._stream is None:
            self._stream = open(self.path, "rb", buffering=0)  # read by place only, so a fork may share it
        return FileSlice(self._stream, int(self._offsets[index]), int(self._sizes[index]))

    def _contents(self) -> list[str]:
        return [shard_fingerprint(self.path)]

    def __getstate__(self):
        return {**self.__dict__, "_stream": None}


class LmdbRecordings(Recordings):
    """An LMDB of whole audio files under their names, as WeSpeaker makes it."""

    def __init__(self, path: str):
        self.path = path
        self._opened: tuple[int, Any] | None = None  # the process, and what it opened
        with self._environment().begin() as view:
            names = [bytes(key).decode() for key in view.cursor().iternext(values=False) if key != b"__keys__"]
        self._close()
        super().__init__(path, names)

    def _source(self, index: int) -> io.BytesIO:
        with self._environment().begin() as view:
            return io.BytesIO(view.get(self.names[index].encode()))

    def _contents(self) -> list[str]:
        return of_files([os.path.join(self.path, "data.mdb") if os.path.isdir(self.path) else self.path])

    def _environment(self):
        """An environment must not cross a fork, so each process has its own."""
        try:
            import lmdb
        except ImportError:
            raise InputError(f"{self.path} is an LMDB, and the package lmdb is not installed: pip install "
                             "'wedefense[lmdb]', or name the folder, a wav.scp or a tar of the recordings") from None
        if self._opened is None or self._opened[0] != os.getpid():
            folder = os.path.isdir(self.path)
            self._opened = os.getpid(), lmdb.open(self.path, subdir=folder, readonly=True, lock=False, readahead=False)
        return self._opened[1]

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
        self._opened = None

    def __getstate__(self):
        return {**self.__dict__, "_opened": None}


def open_recordings(path: str | os.PathLike, key: str) -> Recordings:
    """The recordings behind `key` (noise_data, reverb_data); what is missing, empty or unreadable is an error."""
    path = os.fspath(path)
    if not os.path.exists(path):
        raise InputError(f"{key}: {path}: no such file or folder")
    try:
        recordings = _reader(path)(path)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    try:
        with recordings.open(0):
            pass
    except BadAudio as error:
        raise InputError(f"{key}: {recordings.error(0, str(error))}") from None
    return recordings


def _reader(path: str) -> Callable[[str], Recordings]:
    if path.endswith(".mdb") or os.path.exists(os.path.join(path, "data.mdb")):
        return LmdbRecordings
    return TarRecordings if path.endswith(".tar") else FileRecordings


def kind_of(name: str) -> str:
    """What a recording is, from the start of its name or of its folders' names; else `noise`.

    >>> kind_of("musan/music/fma/music-fma-0000.wav"), kind_of("free-sound/x.wav")
    ('music', 'noise')
    """
    for part in reversed(Path(name).parts):
        for kind in NOISE_KINDS:
            if part.lower().startswith(kind):
                return kind
    return "noise"


def pack(source: str | os.PathLike, tar: str | os.PathLike) -> int:
    """Write the recordings of a folder or a wav.scp into one tar with its index; returns how many."""
    recordings = open_recordings(source, "pack")
    if not isinstance(recordings, FileRecordings):
        raise InputError(f"{source}: is packed already; name a folder or a wav.scp")
    if not os.fspath(tar).endswith(".tar"):
        raise InputError(f"{tar}: the packed file's name has to end in .tar")
    return write_shard(tar, recordings.utterances())
