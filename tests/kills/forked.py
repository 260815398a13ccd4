"""Commands in forked processes of this one, which has imported all that they import: in a tenth of the time."""

import contextlib
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

IMPORTED = "KILLS_IMPORTED"  # names the file in which commands leave what they had to import


class Stopped(Exception):
    """A command that failed or was killed."""


def fork(function: Callable, *arguments, **environment: str) -> int:
    """The number of a process that calls the function and ends, with 0 where nothing was raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(environment)
        function(*arguments)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """What it ended with: 0, 1, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def call(main: Callable[[list[str]], int | None], arguments: list[str], ranks: int = 1) -> None:
    """A command in a process of its own, or in one for each rank: when one of them fails, the others are killed."""
    assert len(os.listdir("/proc/self/task")) == 1, "a fork of several threads may wait for ever for what they held"
    children = set()
    for rank, environment in enumerate(environments(ranks)):
        children.add(fork(_command, main, arguments, rank, **environment))
    while children:
        child, status = os.wait()
        children.discard(child)
        if status:
            for other in children:
                os.kill(other, signal.SIGKILL)
                ended(other)
            raise Stopped(f"{main.__module__}: {os.waitstatus_to_exitcode(status)}")


def environments(ranks: int) -> list[dict[str, str]]:
    """What torchrun tells each rank."""
    if ranks == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} for rank in range(ranks)]


def _command(main: Callable, arguments: list[str], rank: int) -> None:
    main(arguments)
    if IMPORTED in os.environ and rank == 0:
        with open(os.environ[IMPORTED], "a") as stream:
            stream.writelines(f"{name}\n" for name in list(sys.modules))


def import_what_commands_did(listed: Path) -> None:
    for name in dict.fromkeys(listed.read_text().split()):
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def in_session(log: Path, function: Callable, *arguments, kill_after: float | None = None, **environment: str) -> int:
    """What a forked process ended with that calls the function, and whose whole session is killed after so long."""
    leader = fork(_led, log, function, *arguments, **environment)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(leader, signal.SIGKILL)  # which may not lead a session yet
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
    code = ended(leader)
    while code and _alive(leader):  # its ranks end a moment later
        time.sleep(0.001)
    return code


def _led(log: Path, function: Callable, *arguments) -> None:
    os.setsid()
    torch.set_num_threads(1)  # those of the process that was forked are not here
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # not those that pytest reads
    function(*arguments)


def kill_session() -> None:
    """All of it, oneself included."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


@contextlib.contextmanager
def others_stopped():
    """Every other process of this session stands still, as it would for ever if all were killed now."""
    stopped: set[int] = set()
    leader = os.getsid(0)  # which only waits
    try:
        while running := {pid for pid in _descendants(leader) if _state(pid) not in "TtZX"} - {os.getpid()}:
            for pid in running - stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= running
            time.sleep(0.0005)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it has just ended
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _state(pid: int) -> str:
    """`R`, `S`, `T` ...; X where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _alive(session: int) -> bool:
    """Whether any process of a session is, its leader being gone."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, number = Path(entry, "stat").read_text().rpartition(")")[2].split()[:4]
                if int(number) == session and state not in "ZX":
                    return True
    return False
