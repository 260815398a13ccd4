"""How ranks ended is told in a line, with the code of the first that failed, and without a traceback of PyTorch's."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.elastic.rendezvous import RendezvousClosedError

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys, time
rank, how = os.environ["RANK"], sys.argv[1]
if how == "refused" and rank == "1":
    print("error: no such thing", file=sys.stderr)
    sys.exit(2)
if how == "killed" and rank == "1":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "waits":
    open(sys.argv[2] + rank, "w").close()
    time.sleep(1000)
"""


def launched(folder: Path, *words: str, options=("--standalone", "--nproc_per_node", "2")) -> subprocess.Popen:
    (folder / "program.py").write_text(PROGRAM)
    (folder / "tmp").mkdir()
    return subprocess.Popen([sys.executable, ROOT / "tools/launch.py", *options, folder / "program.py", *words],
                            stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")})


@pytest.mark.parametrize("how, code, told", [
    ("done", 0, ""),
    ("refused", 2, "error: no such thing\nerror: rank 1 ended with exit code 2; what it said stands above\n"),
    ("killed", 137, "error: rank 1 was killed by SIGKILL\n")])
def test_what_ended_the_ranks_is_told_in_a_line(tmp_path, how, code, told):
    process = launched(tmp_path, how)
    _, said = process.communicate()
    assert (process.returncode, said) == (code, told)
    assert not [*(tmp_path / "tmp").iterdir()]  # PyTorch's folder of logs would stay


def test_whoever_stops_it_stops_the_ranks(tmp_path):
    process = launched(tmp_path, "waits", str(tmp_path / "there"))
    while not all((tmp_path / f"there{rank}").exists() for rank in (0, 1)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM and said.endswith("stopped by SIGTERM\n")
    assert "Traceback" not in said and not [*(tmp_path / "tmp").iterdir()]


def test_an_error_that_says_nothing_is_told_by_its_name(monkeypatch, capsys):
    def closed(arguments):
        raise RendezvousClosedError

    monkeypatch.setattr("torch.distributed.run.main", closed)
    assert runpy.run_path(str(ROOT / "tools/launch.py"))["main"]([]) == 2
    assert capsys.readouterr().err.startswith("error: the nodes do not meet, or lost one another (RendezvousClosedErr")


def test_nodes_that_do_not_meet_are_told(tmp_path):
    process = launched(tmp_path, "done", options=(
        "--nnodes", "2", "--node_rank", "0", "--rdzv_backend", "static", "--rdzv_endpoint", "localhost:0",
        "--rdzv_conf", "timeout=1"))
    _, said = process.communicate()
    assert process.returncode == 2 and "Traceback" not in said
    assert said.startswith("error: the nodes do not meet, or lost one another (")
