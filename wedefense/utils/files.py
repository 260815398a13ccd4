"""Files that are either whole or absent."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from wedefense.utils.errors import InputError
from wedefense.utils.processes import temporary_beside
from wedefense.utils.visible import visible

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb", flush: bool = True):
    """Open a temporary neighbour of `path`; on success flush it to disk and rename it over `path`.

    A crash, a kill or a full disk at any instant leaves the previous file as it was. Of a link the file that it
    leads to is written; a device or a pipe is written to as it is. Whoever writes thousands leaves out the `flush`,
    and calls `flush_all` before anything rests on them: a loss of power, and no other end, could leave them empty.
    """
    path = Path(path)
    place = _place(path)
    with disk_told(path):
        if place is None:
            with _opened(path, path, mode) as stream:
                yield stream
            return
        temporary = temporary_beside(place)
        try:
            with _opened(temporary, path, mode) as stream:
                yield stream
                if flush:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.replace(temporary, place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def files_under(folder: str | os.PathLike) -> Iterator[Path]:
    """All files in and under a folder, in no order. Links to folders are followed, but to none that holds `folder` or
    was seen before, so that they lead in no circle."""
    seen: set[tuple[int, int]] = set()
    around = [Path(os.path.realpath(folder)), *Path(os.path.realpath(folder)).parents]
    waiting = [os.fspath(folder)]
    while waiting:
        links = []
        for start in waiting:
            for here, folders, names in os.walk(start):
                found = os.stat(here)
                if (found.st_dev, found.st_ino) in seen:
                    folders.clear()
                    continue
                seen.add((found.st_dev, found.st_ino))
                yield from (Path(here, name) for name in names)
                links += [path for path in (os.path.join(here, name) for name in folders) if os.path.islink(path)]
        waiting = sorted(path for path in links if Path(os.path.realpath(path)) not in around)


def flush_all() -> None:
    """What was written without a flush is on the disk from here on."""
    with contextlib.suppress(AttributeError):  # there is none on Windows
        os.sync()


def require_regular(path: str | os.PathLike) -> None:
    """A pipe, a socket or a device is an error at once, where `open` could wait for ever; so is what is not there.

    What a shell opened for a command (`<(...)`, /dev/stdin) is taken.
    """
    try:
        kind = os.stat(path).st_mode
    except ValueError as error:  # of a name that holds a NUL
        raise InputError(f"{visible(os.fspath(path))}: cannot be read ({error})") from None
    opened = os.path.abspath(os.fspath(path)).startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))
    if stat.S_ISDIR(kind):
        raise InputError(f"{path}: cannot be read (a folder)")
    if not stat.S_ISREG(kind) and not opened:
        raise InputError(f"{path}: cannot be read (no file but a pipe, a socket or a device); write it to a file")


def open_regular(path: str | os.PathLike):
    """A file to read in bytes."""
    require_regular(path)
    return open(path, "rb")


def portable_path(path: str) -> str:
    """An absolute one by its last two parts, which tell a reader enough and not where a machine has it.

    >>> portable_path("/home/me/data/train/raw.list"), portable_path("data/train/raw.list")
    ('train/raw.list', 'data/train/raw.list')
    """
    return "/".join(Path(path).parts[-2:]) if os.path.isabs(path) else path


def require_writable(*paths: str | os.PathLike | None) -> None:
    """What will be written can be: asked before the work, not after it. None stands for nothing to write."""
    for path in paths:
        if path is not None:
            _place(Path(path))


def _place(path: Path) -> Path | None:
    """Where a file is to appear, at the end of links; None for what is written to in place (a device, a pipe)."""
    try:
        place, kind = Path(os.path.realpath(path)), _kind(path)
    except (OSError, ValueError) as error:  # of a name that is too long, or holds a NUL
        raise _refused(path, (isinstance(error, OSError) and error.strerror) or str(error)) from None
    if kind is not None and stat.S_ISDIR(kind):
        raise _refused(path, "it is a folder")
    if kind is not None and not os.access(path, os.W_OK):
        raise _refused(path, "no permission")
    if kind is not None and (not stat.S_ISREG(kind) or os.path.abspath(path).startswith(("/dev/", "/proc/"))):
        return None  # /dev/stdout may lead to a file, which is somebody's open stream
    folder = next(folder for folder in place.parents if os.path.lexists(folder))
    if not folder.is_dir():
        raise _refused(path, f"its folder cannot be made, {folder} is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _refused(path, "no permission")
    return place


def _kind(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refused(path: Path, why: str) -> InputError:
    return InputError(f"{path}: cannot be written ({why})")


@contextlib.contextmanager
def disk_told(path: Path) -> Iterator[None]:
    """A disk that takes no more, in words; other errors are those of whoever writes."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: cannot be written, a name in it is no text ("
                         f"{visible(error.object[error.start:][:20])} ...); rename what has it") from None
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); what was there before is untouched. Mend the "
                         "cause and run the same command again") from None


def _opened(place: Path, path: Path, mode: str):
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return open(place, mode, encoding=None if "b" in mode else "utf-8")
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None
