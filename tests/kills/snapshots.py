"""Copies of a folder as it is before and after every change of a name in it: what a kill there leaves.

Whatever a process has not handed to the system by then is lost in a kill, and in a copy too; other processes stand
still while one is made. What threads of the same process write meanwhile is a file of TensorBoard, which nobody reads.
`tests/kills/test_snapshots.py` holds copies against what kills at the same places left.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.kills.forked import kill_session, others_stopped

CHANGES = ("replace", "rename", "unlink", "rmdir")  # functions of `os`; what opens a file for writing never ends one


@dataclass(frozen=True)
class Place:
    """Where in a run: before or after which change, the how manieth of that name, of which command and rank.

    Counted in each process: which of several makes a shard is a matter of luck.
    """

    command: str  # and of what: "train exp"
    stage: int
    rank: str
    count: int    # from 1
    change: str
    path: str     # relative to the folder; of a rename the new name
    when: str     # before, after

    def __str__(self) -> str:
        rank = f", rank {self.rank}" if self.rank else ""
        return f"{self.when} {self.change} {self.path} (stage {self.stage}, {self.command}{rank})"


class Watch:
    """Of one run: copies at every place, or of `some` commands and paths, or a kill at one."""

    def __init__(self, root: Path, copies: Path, kill_at: Place | None = None,
                 some: Collection[tuple[str, str]] | None = None):
        self.root, self.copies, self.kill_at, self.some = root, copies, kill_at, some
        self.command, self.stage = "", 0
        self._counts: Counter[tuple[int, str, str]] = Counter()  # by process, change and name
        copies.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """In the process that will fork all others."""
        for change in CHANGES:
            setattr(os, change, self._watched(change, getattr(os, change)))

    def watches(self, function: Callable, *arguments) -> None:
        self.begin()
        function(*arguments)

    def command_begins(self, command: str, stage: int) -> None:
        self.command, self.stage = command, stage

    def command_ends(self) -> None:
        if self.kill_at is None:
            shutil.copytree(self.root, self.copies / f"after {self.command}")

    def _watched(self, change: str, function: Callable) -> Callable:
        def watched(*names, **more):
            path = Path(os.path.abspath(os.fspath(names[-1])))
            if more.get("dir_fd") is not None or not path.is_relative_to(self.root) or _changes_nothing(change, path):
                return function(*names, **more)
            name = without_owner(path.relative_to(self.root).as_posix())
            self._counts[os.getpid(), change, name] += 1
            place = Place(self.command, self.stage, os.environ.get("RANK", ""),
                          self._counts[os.getpid(), change, name], change, name, "before")
            self._here(place)
            done = function(*names, **more)
            self._here(Place(**{**asdict(place), "when": "after"}))
            return done

        return watched

    def _here(self, place: Place) -> None:
        if self.kill_at is not None:
            if place == self.kill_at:
                kill_session()
            return
        if self.some is not None and (place.command, place.path) not in self.some:
            return
        with self._alone(), open(self.copies / "places", "a+") as stream:
            stream.seek(0)
            places, now = [json.loads(line) for line in stream], _state(self.root)
            alike = places and places[-1]["state"] == now  # nothing happened since the last
            number = places[-1]["copy"] if alike else len(places)
            if not alike:
                shutil.copytree(self.root, self.copies / str(number))
            stream.write(f"{json.dumps({'place': asdict(place), 'copy': number, 'state': now})}\n")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self.copies / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with others_stopped():
                yield

    def places(self) -> dict[Place, int]:
        """Of the run that is over, in order, with the number of the copy: two places may leave the same."""
        lines = map(json.loads, (self.copies / "places").read_text().splitlines())
        return {Place(**line["place"]): line["copy"] for line in lines}

    def take(self, copy: int) -> None:
        """Make the folder what the copy is."""
        shutil.rmtree(self.root)
        shutil.copytree(self.copies / str(copy), self.root)

    def drop(self, copy: int) -> None:
        shutil.rmtree(self.copies / str(copy))


def _changes_nothing(change: str, path: Path) -> bool:
    """What removes a file that is not there, or a folder that holds something."""
    return change in ("unlink", "rmdir") and (not os.path.lexists(path) or (change == "rmdir" and any(path.iterdir())))


def _state(root: Path) -> str:
    """Which files there are, and when each was written."""
    lines = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*files, *folders]):
            status = os.lstat(os.path.join(folder, name))
            written = f"{status.st_size} {status.st_mtime_ns}" if name in files else ""
            lines.append(f"{folder} {name} {status.st_ino} {written}")
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=12).hexdigest()


def without_owner(name: str) -> str:
    """A half-written file's name, without the process that wrote it."""
    return re.sub(r"\.[0-9a-f]{8}-\d+-\d+\.tmp$", ".OWNER.tmp", name)
