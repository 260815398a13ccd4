"""Commands in forked processes of one that has imported all that they import: in a tenth of the time.

That one does nothing else and has one thread: what other threads hold while a process is forked, the new one may wait
for without an end.
"""

import atexit
import contextlib
import functools
import importlib
import multiprocessing.connection
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

IMPORTED = "KILLS_IMPORTED"  # names the file in which commands leave what they had to import
ROOT = Path(__file__).parents[2]
LIMIT = 600  # seconds, of one run


class Stopped(Exception):
    """A command that failed or was killed."""


def fork(function: Callable, *arguments, **environment: str) -> int:
    """The number of a process that calls the function and ends, with 0 where nothing was raised."""
    assert len(os.listdir("/proc/self/task")) == 1, "a fork of several threads may wait for ever for what they held"
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
    """What a process ended with that calls the function, and whose whole session is killed after so long."""
    return in_forker(_in_session, log, function, arguments, LIMIT if kill_after is None else kill_after, environment)


def _in_session(log: Path, function: Callable, arguments: tuple, seconds: float, environment: dict[str, str]) -> int:
    leader = fork(_led, log, function, *arguments, **environment)
    if not _over(leader, seconds):
        os.kill(leader, signal.SIGKILL)  # which may not lead a session yet
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
    code = ended(leader)
    while code and _alive(leader):  # its ranks end a moment later
        time.sleep(0.001)
    return code


def _over(child: int, seconds: float) -> bool:
    """Whether it ends within so long."""
    handle = os.pidfd_open(child)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _led(log: Path, function: Callable, *arguments) -> None:
    os.setsid()
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    function(*arguments)


def in_forker(function: Callable, *arguments):
    """What a function returns there."""
    connection = _forker()
    connection.send((function, arguments))
    return connection.recv()


@functools.cache
def _forker():
    """The process that forks, which ends with this one: the pipe to it."""
    ours, its = multiprocessing.Pipe()
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve({its.fileno()})"], stdin=subprocess.DEVNULL,
        env={**os.environ, **one_thread, "PYTHONPATH": str(ROOT)}, cwd=ROOT, pass_fds=[its.fileno()])
    its.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # before
    return ours


def serve(number: int) -> None:
    """Do what is sent through this pipe until it is closed."""
    connection = multiprocessing.connection.Connection(number)
    torch.set_num_threads(1)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        connection.send(function(*arguments))


def kill_session() -> None:
    """All of it, oneself included."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


@contextlib.contextmanager
def others_stopped():
    """Every other process of this session stands still, as it would for ever if all were killed now.

    Those of other sessions would live on: what keeps a lock fresh (see wedefense.utils.owner), a shell that sleeps.
    """
    leader = os.getsid(0)  # which only waits
    stopped: set[int] = set()
    try:
        while not _stand_still(leader, stopped):
            _go_on(stopped)
        yield
    finally:
        _go_on(stopped)


def _stand_still(leader: int, stopped: set[int], seconds: float = 2) -> bool:
    """Whether they do so soon: not one that waits for a child to begin its program which was stopped before it did."""
    end = time.monotonic() + seconds
    while running := {pid for pid in _descendants(leader) if _runs_in(leader, pid)} - {os.getpid()}:
        if time.monotonic() > end:
            return False
        for pid in running - stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= running
        time.sleep(0.0005)
    return True


def _go_on(stopped: set[int]) -> None:
    while stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped.pop(), signal.SIGCONT)


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it has just ended
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _runs_in(session: int, pid: int) -> bool:
    state, number = _state(pid)
    return number == session and state not in "TtZX"


def _state(pid: int) -> tuple[str, int]:
    """`R`, `S`, `T` ... and the session; X where it is gone."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return "X", 0
    return state, int(session)


def _alive(session: int) -> bool:
    """Whether any process of a session is, its leader being gone."""
    pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    return any(number == session and state not in "ZX" for state, number in map(_state, pids))
