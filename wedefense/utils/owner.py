"""One owner of a folder at a time, and what killed owners left in it.

The lock is a file that names machine and process. An owner that was killed is recognised by its process on the same
machine; on another by the lock's time, which a living owner renews (so that a job may be requeued on another node).
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.processes import machine, owner_of_temporary, runs, started, temporary_beside

LOCK = ".owner"
_WHO = ("machine", "pid", "started")
_RENEWED = 10  # seconds
_SILENT = 90   # seconds without renewal, after which an owner on another machine is taken for dead


@contextlib.contextmanager
def owned(folder: str | os.PathLike, rank: int = 0, share: Callable[[object], list] = lambda item: [item]) -> Iterator:
    """Hold `folder` (made where it is missing) and clear it of what dead processes left half-written.

    Ranks hold it together: rank 0 takes it, `share` tells all whether it could.
    """
    lock, refusal = Path(folder) / LOCK, None
    if rank == 0:
        try:
            made = _take(lock)
            _clear(lock.parent)
        except InputError as error:
            refusal = str(error)
    refusal = share(refusal)[0]
    if refusal:
        raise InputError(refusal)
    if rank:
        yield
        return
    try:
        with _renewed(lock):
            yield
    finally:
        lock.unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):  # it holds something by now
                lock.parent.rmdir()


def _take(lock: Path) -> bool:
    """Make the lock file; says whether the folder was made for it."""
    made = not lock.parent.is_dir()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                with open(lock, "x", encoding="utf-8") as stream:  # exclusive on network file systems too
                    json.dump({"machine": machine(), "host": socket.gethostname(), "pid": os.getpid(),
                               "started": started(os.getpid()) or 0, "since": time.strftime("%Y-%m-%d %H:%M:%S"),
                               "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]}, stream)
                return made
            except FileExistsError:
                _wait_for_death(lock)
    except OSError as error:
        raise InputError(f"{lock.parent}: cannot be written ({error.strerror})") from None


def _wait_for_death(lock: Path) -> None:
    """Take the lock of a dead owner away; the living are an error."""
    other, written = _read(lock), _time(lock)
    alive = runs(*(other[key] for key in _WHO)) if other else None
    if alive is None and written is not None:
        alive = _is_renewed(lock, written)
    if alive:
        raise InputError(_refusal(lock, other))
    _take_away(lock, other)


def _take_away(lock: Path, other: dict | None) -> None:
    """The lock of a dead owner, unless it is somebody else's by now."""
    aside = temporary_beside(lock)
    with contextlib.suppress(FileNotFoundError):  # it went of its own, or another was faster
        os.rename(lock, aside)
        if _read(aside) != other:  # the faster one's own
            os.rename(aside, lock)
            return
        aside.unlink()
        if other:
            get_logger().info("%s: the lock of a process that is gone (%d on %s) is taken away", lock.parent,
                              other["pid"], other["host"])


def _is_renewed(lock: Path, written: float) -> bool:
    """Whether an owner elsewhere lives; a lock that was renewed lately takes a while to tell."""
    if _file_system_time(lock.parent) - written <= _SILENT:
        get_logger().info("%s: held from another machine; waiting to see whether its owner lives", lock.parent)
    while _file_system_time(lock.parent) - written <= _SILENT:
        time.sleep(1)
        if _time(lock) != written:
            return _time(lock) is not None
    return False


def _refusal(lock: Path, other: dict | None) -> str:
    who = "another process" if other is None else (
        f"process {other['pid']} on {other['host']} ({other['command']}), since {other['since']}")
    return (f"{lock.parent}: is being worked on by {who}. Wait for it, or take another folder (--exp_dir, of data "
            f"--data). If that process is gone, remove {lock}")


def _read(lock: Path) -> dict | None:
    """None for what cannot be read, although a moment was given to write it."""
    for _ in range(20):
        try:
            content = json.loads(lock.read_text(encoding="utf-8"))
            return content if {"machine", "host", "pid", "started", "since", "command"} <= content.keys() else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError):
            time.sleep(0.05)
    return None


def _time(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _file_system_time(folder: Path) -> float:
    """By the clock that stamps its files."""
    probe = temporary_beside(folder / "time")
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    return now


@contextlib.contextmanager
def _renewed(lock: Path) -> Iterator[None]:
    """Renew the lock by a process beside this one, which ends with it.

    A thread would be there when loader workers are forked, and could leave one of them without the interpreter.
    """
    pid = os.getpid()
    loop = f"while kill -0 {pid} && ! grep -q '^State:.[ZX]' /proc/{pid}/status && touch -c -- \"$1\"; " \
           f"do sleep {_RENEWED}; done"
    beside = None
    with contextlib.suppress(OSError):
        beside = subprocess.Popen(["sh", "-c", loop, "sh", str(lock)], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        if beside is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(beside.pid, signal.SIGKILL)  # with its sleep
            beside.wait()


def _clear(folder: Path) -> None:
    """Remove what processes that are gone left half-written; those of other machines too, as the folder is ours."""
    for path in folder.rglob(".*.tmp"):
        owner = owner_of_temporary(path.name)
        if owner is not None and not runs(*owner):
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        path.unlink()
        get_logger().info("%s: left half-written by a process that is gone (%.1f MB), removed", path, size / 1e6)


def sweep(folder: str | os.PathLike) -> None:
    """Clear a folder that one need not hold of what dead processes of this machine left: half-written files, locks."""
    for path in Path(folder).rglob(".*"):
        owner = owner_of_temporary(path.name)
        if owner is not None and runs(*owner) is False:
            _remove(path)
        elif path.name == LOCK and (other := _read(path)) and runs(*(other[key] for key in _WHO)) is False:
            with contextlib.suppress(OSError):  # of a folder that may only be read
                _take_away(path, other)
