"""The ranks of a recipe under torchrun, which are killed at a rename, launcher and all."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.kills.forked import Stopped, call

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Torchrun:
    """Starts a command of several ranks; `kill_at`: at the how manieth rename of them all."""

    def __init__(self, counter: Path, kill_at: int = 0):
        self.counter, self.kill_at = counter, kill_at

    def __call__(self, main: Callable[[list[str]], int], arguments: list[str], ranks: int) -> None:
        if ranks == 1:
            call(main, arguments)
            return
        self.counter.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), "-m",
             main.__module__, *arguments], env={
                 **os.environ, "KILL_AT": str(self.kill_at), "KILL_COUNTER": str(self.counter),
                 "PYTHONPATH": f"{HERE / 'at_rename'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise Stopped(f"{main.__module__}: {done.returncode}")

    @property
    def renames(self) -> int:
        """That there were, the last of which may have been the end."""
        return self.counter.stat().st_size


def wait_for_ranks(folder: Path) -> None:
    """Until those whose launcher was killed are gone too: a loaded machine takes its time."""
    while _processes_that_name(folder):
        time.sleep(0.05)


def _processes_that_name(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [command for command in found if str(folder) in command and "python" in command.split()[0]]
