"""Where recordings come from: files named in a `raw.list`, or tar shards named in a `shard.list`."""

import json
import math
import os
import shlex
from array import array
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from wedefense.data.audio import BadAudio, open_audio, read_frames
from wedefense.data.catalogue import Catalogue, PackedStrings
from wedefense.data.shards import PackedMembers, shard_fingerprint, shard_members
from wedefense.data.spans import Span
from wedefense.utils.errors import InputError, blamed_on, did_you_mean
from wedefense.utils.file_parts import FileSlice
from wedefense.utils.fingerprint import of_files
from wedefense.utils.tables import each_line, read_lines

_THREADS = 8        # that read headers, where lists do not have what they say
_OPEN_SHARDS = 64   # files kept open in each process
_LABEL_KEYS = ("lab", "label", "spk")


class Source:
    """Utterances and their audio.

    `entries[i]` is an `Utterance`; `groups[i]` numbers the files that are best read one after another
    (shards), and is None where each utterance is a file of its own.
    """

    entries: Catalogue
    groups: np.ndarray | None = None
    marked: PackedStrings | None = None  # JSON of each utterance's spans ("": none), where the list has any

    def __len__(self) -> int:
        return len(self.entries)

    def open(self, index: int):
        """A context manager that gives the recording as a `soundfile.SoundFile`, or raises `BadAudio`."""
        raise TypeError(f"{type(self).__name__} has no audio")

    def fingerprints(self) -> list[str]:
        """Of the files that hold the audio, in the order of the list."""
        raise TypeError(f"{type(self).__name__} has no audio")

    def spans(self, index: int) -> list[Span] | None:
        """Which stretches of an utterance are fake, from its beginning to its end; None where nobody says."""
        text = self.marked[index] if self.marked is not None else ""
        if not text:
            return None
        with blamed_on(f"{self.entries.origin}: {self.entries.keys[index]}", "list of spans [start, end, label]"):
            return [Span(float(start), float(end), str(label)) for start, end, label in json.loads(text)]

    def read(self, index: int, start: int = 0, frames: int | None = None) -> np.ndarray:
        """(frames,) float32 at the file's own rate."""
        with self.open(index) as sound:
            return read_frames(sound, start, frames)

    def fill_durations(self) -> None:
        """Read the headers of utterances whose duration the list does not tell; unreadable ones get 0."""
        unknown = np.flatnonzero(np.isnan(self.entries.durations))
        with ThreadPoolExecutor(_THREADS) as pool:
            self.entries.durations[unknown] = list(pool.map(self._header_duration, unknown))

    def _header_duration(self, index: int) -> float:
        try:
            with self.open(index) as sound:
                return sound.frames / sound.samplerate
        except BadAudio:
            return 0.0


class RawSource(Source):
    """JSON lines `{"key": ..., "wav": ..., "lab": ...}`; stage 2 adds `dur`, in seconds, and `spans`."""

    def __init__(self, list_path: str | os.PathLike):
        keys, self._wavs, labels, durations = PackedStrings(), PackedStrings(), [], array("d")
        words: dict[str, str] = {}  # equal labels are one string
        marked, is_marked = PackedStrings(), False
        for number, line in enumerate(each_line(list_path), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                keys.append(str(record["key"]))
                self._wavs.append(str(record["wav"]))
                label = next((str(record[k]) for k in _LABEL_KEYS if k in record), None)
                labels.append(label if label is None else words.setdefault(label, label))
                durations.append(float(record.get("dur", math.nan)))
                marked.append(json.dumps(record["spans"]) if "spans" in record else "")
                is_marked = is_marked or "spans" in record
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InputError(f"{list_path}:{number}: expected a line like "
                                 f'{{"key": "utt1", "wav": "/data/utt1.flac", "lab": "bonafide"}}, '
                                 f"got {line[:80]!r}; is this a shard.list (data_type: shard)?") from None
        self.entries = Catalogue(keys, labels, durations, str(list_path))
        self.marked = marked if is_marked else None

    def open(self, index: int):
        return open_audio(self._wavs[index])

    def fingerprints(self) -> list[str]:
        return of_files(self._wavs)


class ShardSource(Source):
    """Tar files, one path a line; relative paths may also start at the list's folder."""

    def __init__(self, list_path: str | os.PathLike):
        lines = [line.strip() for line in read_lines(list_path) if line.strip()]
        if lines and lines[0].startswith("{"):
            raise InputError(f"{list_path}: holds JSON lines, not paths of tar files; is this a raw.list "
                             f"(data_type: raw)?")
        self._paths = [_locate(line, Path(list_path).parent) for line in lines]
        members, counts = PackedMembers(), []
        with ThreadPoolExecutor(_THREADS) as pool:
            for shard in pool.map(shard_members, self._paths):
                members.extend(shard)
                counts.append(len(shard))
        self.entries = Catalogue(members.keys, members.labels, members.durations, str(list_path))
        self.marked = members.spans if members.has_spans else None
        self.groups: np.ndarray = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        self._offsets, self._sizes = np.array(members.offsets), np.array(members.sizes)
        self._streams: OrderedDict[int, object] = OrderedDict()

    def open(self, index: int):
        shard = int(self.groups[index])
        try:
            stream = self._stream(shard)
        except OSError as error:
            raise BadAudio(f"{self._paths[shard]}: {error.strerror}") from None
        return open_audio(FileSlice(stream, int(self._offsets[index]), int(self._sizes[index])))

    def fingerprints(self) -> list[str]:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(shard_fingerprint, self._paths))

    def _stream(self, shard: int):
        stream = self._streams.pop(shard, None) or open(self._paths[shard], "rb", buffering=0)
        self._streams[shard] = stream
        if len(self._streams) > _OPEN_SHARDS:
            self._streams.popitem(last=False)  # closed once nobody reads it any more
        return stream

    def __getstate__(self):
        return {**self.__dict__, "_streams": OrderedDict()}


def _locate(path: str, folder: Path) -> str:
    return path if os.path.isabs(path) or os.path.exists(path) else str(folder / path)


SOURCES = {"raw": RawSource, "shard": ShardSource}


def open_source(list_path: str | os.PathLike, data_type: str) -> Source:
    if data_type not in SOURCES:
        raise InputError(f"unknown data_type '{data_type}'{did_you_mean(data_type, SOURCES)}")
    if not os.path.exists(list_path):
        folder = shlex.quote(os.path.dirname(list_path) or ".")
        raise InputError(f"{list_path}: no such file; stage 1 prepares the data, and stage 2 lists it (`wedefense "
                         f"make_list --data_dir {folder} --data_type {data_type}`)")
    return SOURCES[data_type](list_path)
