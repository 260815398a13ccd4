"""The same recording under two names, and in two sets: found by content."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from wedefense.utils.file_parts import file_of, opened, size_of
from wedefense.utils.parallel_map import parallel_map

_PIECE = 1 << 20


def same_content(wavs: Mapping[str, str], num_workers: int = 1, known: Mapping[str, bytes] = {}) -> list[list[str]]:
    """Groups of names whose files hold the same bytes; only files of equal size are read, and none whose `digest_of` is
    known."""
    sizes: dict[int, list[str]] = defaultdict(list)
    for name, wav in wavs.items():
        if os.path.isfile(file_of(wav)):
            sizes[size_of(wav)].append(name)
    doubtful = [name for names in sizes.values() if len(names) > 1 for name in names]
    unread = [wavs[name] for name in doubtful if name not in known]
    digests = iter(parallel_map(_digest, unread, num_workers, "comparing files", "file"))
    groups: dict[bytes, list[str]] = defaultdict(list)
    for name in doubtful:
        groups[known.get(name) or next(digests)].append(name)
    return [names for names in groups.values() if len(names) > 1]


def digest_of(content: bytes) -> bytes:
    return _hasher(content).digest()


_hasher = partial(hashlib.blake2b, digest_size=16)


def _digest(path: str | Path) -> bytes:
    digest = _hasher()
    with opened(path) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.digest()
