"""Tar shards in the WebDataset layout: `KEY.lab` and `KEY.flac` side by side, read at random.

Stage 2 writes `shards_000000.tar` and, next to it, `shards_000000.tar.idx`: where each recording
lies and how long it is. A tar without a fitting index (made by another tool) is read by its headers.
"""

import contextlib
import io
import json
import math
import os
import tarfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote, unquote

from wedefense.data.catalogue import PackedStrings
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import opened, size_of
from wedefense.utils.files import atomic_write
from wedefense.utils.fingerprint import hasher, of_file, reads_everything

SPANS_SUFFIX = "spans"
LABEL_SUFFIXES = ("lab", "spk", "cls", "txt")  # ours first, then those of other tools


@dataclass(frozen=True)
class Member:
    """One utterance in a tar."""

    key: str
    label: str | None
    offset: int                     # of the recording's first byte
    size: int                       # bytes
    duration: float | None = None   # seconds
    spans: str | None = None        # which stretches are fake: JSON of [[start, end, label], ...]


def member_name(key: str) -> str:
    """A key as a file name: WebDataset cuts names at the first dot and takes a slash for a folder.

    >>> member_name("a/b.c")
    'a%2Fb%2Ec'
    """
    return quote(key, safe="").replace(".", "%2E")


def write_shard(path: str | os.PathLike, utterances: Iterable[tuple[str, str, str, float | None]],
                spans: Mapping[str, Sequence[tuple[float, float, str]]] = {}) -> int:
    """Write (key, label, audio path, seconds) into a tar and its index; each appears only when whole.

    `spans`: (start, end, label) of the utterances that have them, by key.
    """
    index = _index_path(path)
    members = []
    with atomic_write(path) as stream:
        content = _Digesting(stream)
        with tarfile.open(fileobj=cast(BinaryIO, content), mode="w", format=tarfile.PAX_FORMAT) as tar:
            for key, label, audio, seconds in utterances:
                name = member_name(key)
                _add(tar, f"{name}.lab", io.BytesIO(label.encode()), len(label.encode()))
                marked = json.dumps(spans[key], ensure_ascii=False) if key in spans else None
                if marked:
                    _add(tar, f"{name}.{SPANS_SUFFIX}", io.BytesIO(marked.encode()), len(marked.encode()))
                with opened(audio) as recording:
                    size = size_of(audio)
                    _add(tar, f"{name}{Path(audio).suffix.lower()}", recording, size)
                padded = -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                members.append(Member(key, label, stream.tell() - padded, size, seconds, marked))
        index.unlink(missing_ok=True)  # it belongs to the tar that is being replaced
    with atomic_write(index, "w") as stream:
        lines = [_stamp(path) | {"content": content.digest.hexdigest()}, *map(_line, members)]
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return len(members)


def _line(member: Member) -> dict:
    return {name: value for name, value in asdict(member).items() if name != "spans" or value}


class _Digesting:
    """A stream that is written to from its beginning, and a digest of what was."""

    def __init__(self, stream):
        self._stream, self.tell, self.digest = stream, stream.tell, hasher()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._stream.write(content)


def _add(tar: tarfile.TarFile, name: str, content, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    tar.addfile(info, content)


def _index_path(path) -> Path:
    return Path(f"{path}.idx")


def _stamp(path) -> dict:
    status = os.stat(path)
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


class PackedMembers:
    """The utterances of some tars, in a few arrays."""

    def __init__(self):
        self.keys, self.spans, self.has_spans = PackedStrings(), PackedStrings(), False
        self.labels: list[str | None] = []
        self.offsets, self.sizes, self.durations = array("q"), array("q"), array("d")
        self._words: dict[str | None, str | None] = {}  # equal labels are one string

    def __len__(self) -> int:
        return len(self.offsets)

    def append(self, member: Member) -> None:
        self.offsets.append(member.offset)
        self.sizes.append(member.size)
        self.durations.append(math.nan if member.duration is None else float(member.duration))
        self.keys.append(str(member.key))
        self.labels.append(self._words.setdefault(member.label, member.label))
        self.spans.append(member.spans or "")
        self.has_spans = self.has_spans or bool(member.spans)

    def extend(self, other: "PackedMembers") -> None:
        """Those of `other` too."""
        for name in ("keys", "spans", "offsets", "sizes", "durations"):
            getattr(self, name).extend(getattr(other, name))
        self.labels.extend(self._words.setdefault(label, label) for label in other.labels)
        self.has_spans = self.has_spans or other.has_spans


def _index_lines(path) -> Iterator[dict]:
    """What an index says of its tar as a whole, then of each member; nothing where it does not fit the tar."""
    with contextlib.suppress(FileNotFoundError), open(_index_path(path), encoding="utf-8") as stream:
        lines = map(json.loads, stream)
        head: dict = next(lines, {})
        if head.items() >= _stamp(path).items():
            yield head
            yield from lines


def shard_members(path: str | os.PathLike) -> PackedMembers:
    """The utterances of a tar, from its index where that fits, else from its headers."""
    try:
        lines, members = _index_lines(path), PackedMembers()
        if next(lines, None) is not None:
            for line in lines:
                members.append(Member(**line))
            return members
    except (OSError, ValueError, TypeError, AttributeError):  # not as `write_shard` writes it
        pass
    return _members_by_header(path)


def shard_fingerprint(path: str | os.PathLike) -> str:
    """Of its content, which a fitting index has a digest of."""
    head: dict = {}
    if not reads_everything():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            head = next(_index_lines(path), head)
    return str(head["content"]) if "content" in head else of_file(path)


def _members_by_header(path) -> PackedMembers:
    audio: dict[str, tuple[int, int]] = {}
    said: dict[str, dict[str, str]] = {suffix: {} for suffix in (*LABEL_SUFFIXES, SPANS_SUFFIX)}  # by stem
    words: dict[str, str] = {}
    try:
        with open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            empty = tar.firstmember is None  # type: ignore[attr-defined]  # of which Python 3.10 cannot ask the next
            while not empty and (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would hold every header of the tar
                stem, _, suffix = info.name.rpartition(".")
                suffix = suffix.lower()
                if not info.isfile():
                    continue
                if suffix in AUDIO_SUFFIXES:
                    if stem in audio:
                        raise InputError(f"{path}: two recordings named '{stem}'; write the shard again")
                    audio[stem] = (info.offset_data, info.size)
                elif suffix in said:
                    text = os.pread(stream.fileno(), info.size, info.offset_data).decode("utf-8", "replace").strip()
                    said[suffix][stem] = words.setdefault(text, text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make the shards again (stage 2)") from None
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path}: not a whole, uncompressed tar file ({error}); write the shard again") from None
    members = PackedMembers()
    for stem, (offset, size) in audio.items():
        label = next((said[suffix][stem] for suffix in LABEL_SUFFIXES if stem in said[suffix]), None)
        members.append(Member(unquote(stem), label, offset, size, spans=said[SPANS_SUFFIX].get(stem)))
    return members
