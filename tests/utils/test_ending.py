"""A rank ends as it should, whatever threads of the exchange still run; PyTorch's own abort it with all done."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import atexit, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import torch
import torch.distributed as dist
from wedefense.cli import run
from wedefense.utils import distributed
from wedefense.utils.errors import InputError

def threads():
    names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
    return sorted(name for name in names if "gloo" in name)

def main():
    distributed.start(device="cpu")
    module = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    module(torch.ones(1, 2)).sum().backward()
    distributed.gather("something")
    if sys.argv[1] == "over":
        before = threads()
        del module
        distributed.stop()
        print(before, threads())
        return 0
    # a thread of the exchange is in Python until long after the interpreter would have gone
    dist.all_reduce(torch.ones(1), async_op=True).get_future().then(lambda _: time.sleep(2))
    kept.append(module)
    distributed.stop()
    threading.Thread(target=lambda: (time.sleep(0.5), print("a thread is waited for"))).start()
    pool.submit(len, "").result()  # its thread ends only when it is told to
    atexit.register(print, "at exit")
    sys.stdout.write("unflushed ")
    if sys.argv[1] != "done":
        raise {"refused": InputError, "failed": ArithmeticError}[sys.argv[1]]("because")
    return 0

kept, pool = [], ThreadPoolExecutor(1)
run(main)
"""


def ended(folder: Path, how: str) -> subprocess.CompletedProcess:
    (folder / "program.py").write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RANK": "0",
                   "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.run([sys.executable, folder / "program.py", how], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("how, code, told", [
    ("done", 0, ""), ("refused", 2, "error: because\n"), ("failed", 1, "ArithmeticError: because\n")])
def test_a_rank_ends_with_its_code_and_all_that_was_to_be_done(tmp_path, how, code, told):
    done = ended(tmp_path, how)
    assert done.returncode == code and done.stderr.endswith(told), done.stderr
    assert done.stdout == "unflushed a thread is waited for\nat exit\n"
    assert ("Traceback" in done.stderr) == (how == "failed")


LONELY = """
import os, signal
import torch
import torch.distributed as dist
from wedefense.cli import run
from wedefense.utils import distributed

def main():
    world = distributed.start(device="cpu")
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(1000):
        dist.all_reduce(torch.ones(1))

run(main)
"""


def test_a_rank_that_lost_another_says_so(tmp_path):
    (tmp_path / "program.py").write_text(LONELY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                   "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment["MASTER_PORT"] = str(server.getsockname()[1])
    ranks = [subprocess.Popen([sys.executable, tmp_path / "program.py"], env={**environment, "RANK": str(rank)},
                              stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    _, told = ranks[0].communicate()
    ranks[1].communicate()
    assert ranks[0].returncode == 1 and "Traceback" not in told
    assert "error: rank 0: another rank is gone (" in told and "goes on from its last checkpoint" in told


@pytest.mark.skipif(sys.platform != "linux", reason="lists threads by /proc")
def test_leaving_the_group_ends_its_threads(tmp_path):
    done = ended(tmp_path, "over")
    assert re.fullmatch(r"\[.*'pt_gloo_runloop', 'pt_gloo_runloop'\] \[\]\n", done.stdout), done.stdout + done.stderr


JOINING = [path for folder in ("wedefense/bin", "tools", "tests") for path in sorted((ROOT / folder).rglob("*.py"))
           if re.search(r"^ *distributed\.stop\(\)", path.read_text("utf-8"), re.MULTILINE)
           and not path.name.startswith("test_") and path.name != "contributing.py"]  # which is always alone


@pytest.mark.parametrize("path", JOINING, ids=lambda path: path.stem)
def test_every_script_that_joins_ranks_ends_so(path):
    assert re.search(r"^ +(end_rank\(0\)|run\(main\)|run_command\(main\))$", path.read_text("utf-8"), re.MULTILINE)
