"""Which process wrote a file or holds a folder, and whether it still runs."""

import functools
import hashlib
import os
import re
import socket
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-(\d+)\.tmp")


@functools.lru_cache
def machine() -> str:
    """Eight letters for this start of this machine (or container): process numbers mean something on it alone."""
    told = [socket.gethostname()]
    for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", os.readlink)):
        try:
            told.append(read(Path(path)))
        except OSError:
            told.append("")
    return hashlib.blake2b("".join(told).encode(), digest_size=4).hexdigest()


def started(pid: int) -> int | None:
    """When a process here began, in ticks since the machine did (0 where that is not told); None if it is gone."""
    if os.path.exists("/proc/self/stat"):
        try:
            state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else int(numbers[18])  # killed, and not yet collected by its parent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0


def temporary_beside(path: Path) -> Path:
    """A name for what is to become `path`, which tells whose it is."""
    return path.with_name(f".{path.name}.{_mark(os.getpid())}.tmp")


@functools.lru_cache(maxsize=1)
def _mark(pid: int) -> str:
    return f"{machine()}-{pid}-{started(pid) or 0}"


def owner_of_temporary(name: str) -> tuple[str, int, int] | None:
    """(machine, process, its start) of a name by `temporary_beside`."""
    found = _TEMPORARY.fullmatch(name)
    return found and (found[1], int(found[2]), int(found[3]))


def runs(on: str, pid: int, start: int) -> bool | None:
    """Whether that process still runs; None where another machine would have to be asked."""
    return started(pid) == start if on == machine() else None
