"""What a file holds, in a few letters, by which one notices that it became another.

Files of up to 64 KiB (most utterances) are read whole. Of longer ones four blocks are, and the time they were written
counts too: the same content written anew passes for a change, a change never for the same content.
`WEDEFENSE_FINGERPRINT=full` reads everything, and then times do not count.
"""

import functools
import hashlib
import os
import stat
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wedefense
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import FilePart, opened, part_of
from wedefense.utils.files import open_regular

WHOLE = 1 << 16
_BLOCK = 1 << 14
_THREADS = 16


def hasher():
    return hashlib.blake2b(digest_size=12)


def of_parts(parts: Iterable[str | bytes]) -> str:
    """Of texts in an order; where one ends and the next begins counts."""
    digest = hasher()
    for part in parts:
        part = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def reads_everything() -> bool:
    return os.environ.get("WEDEFENSE_FINGERPRINT") == "full"


def of_content(path: str | os.PathLike) -> str:
    """Of every byte; `missing` without such a file."""
    digest = hasher()
    try:
        with open_regular(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (OSError, InputError):
        return "missing"
    return digest.hexdigest()


def of_file(path: str | os.PathLike) -> str:
    """Cheaply, as said above; of a file, or of a part of one."""
    try:
        if part := part_of(path):
            return _of_part(part)
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "missing"
        if status.st_size > WHOLE and not reads_everything():
            return _sampled(path, status, 0, status.st_size)
    except OSError:
        return "missing"
    return of_content(path)


def _sampled(path, status, offset: int, size: int) -> str:
    digest = hasher()
    with open(path, "rb", buffering=0) as stream:
        for part in range(4):
            digest.update(os.pread(stream.fileno(), _BLOCK, offset + part * (size - _BLOCK) // 3))
    return f"{digest.hexdigest()} of {size} at {status.st_mtime_ns}"


def _of_part(part: FilePart) -> str:
    status = os.stat(part.file)
    if not stat.S_ISREG(status.st_mode) or part.offset + part.size > status.st_size:
        return "missing"
    if part.size > WHOLE and not reads_everything():
        return _sampled(part.file, status, part.offset, part.size)
    digest = hasher()
    with opened(f"{part.file}:{part.offset}:{part.size}") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def of_files(paths: Iterable[str | os.PathLike]) -> list[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(of_file, paths, chunksize=64))


def of_weights(path: str | os.PathLike) -> str:
    """Of a checkpoint. The zip that torch writes has a checksum of every tensor in its directory, which is enough."""
    if reads_everything():
        return of_content(path)
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            return of_parts(f"{entry.filename.partition('/')[2]} {entry.CRC} {entry.file_size}"  # the rest is its name
                            for entry in archive.infolist())
    except (OSError, InputError, zipfile.BadZipFile):
        return of_content(path)


def of_pretrained(path: str | os.PathLike) -> str:
    """Of a checkpoint or of a folder with one, wherever it lies."""
    if not Path(path).is_dir():
        return of_file(path)
    return of_parts(f"{file.relative_to(path)} {of_file(file)}" for file in sorted(Path(path).rglob("*"))
                    if file.is_file())


@functools.lru_cache
def of_sources(*parts: str) -> str:
    """Of this package's own files: packages (`models`) or files (`scoring/llr.py`), all of them without `parts`."""
    root = Path(wedefense.__file__).parent
    files = [file for part in parts or (".",) for file in
             ([root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py")))]
    return of_parts(text for file in files for text in (file.relative_to(root).as_posix(), file.read_bytes()))
