"""The same recording under two names, and in two sets: found by content."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from wedefense.utils.file_parts import file_of, opened, size_of
from wedefense.utils.parallel_map import parallel_map

_PIECE = 1 << 20


def same_content(wavs: Mapping[str, str], num_workers: int = 1) -> list[list[str]]:
    """Groups of names whose files hold the same bytes; only files of equal size are read."""
    sizes: dict[int, list[str]] = defaultdict(list)
    for name, wav in wavs.items():
        if os.path.isfile(file_of(wav)):
            sizes[size_of(wav)].append(name)
    doubtful = [name for names in sizes.values() if len(names) > 1 for name in names]
    digests = parallel_map(_digest, [wavs[name] for name in doubtful], num_workers, "comparing files", "file")
    groups: dict[str, list[str]] = defaultdict(list)
    for name, digest in zip(doubtful, digests):
        groups[digest].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _digest(path: str | Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with opened(path) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
