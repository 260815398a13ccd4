"""A recipe on two nodes, started by the template for Slurm: here both are this machine, and Slurm is two scripts."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.recipes.test_stages import RECIPE, ROOT, SMALL, make_asvspoof2019, run

SCONTROL = "#!/bin/sh\necho localhost\n"
SRUN = """#!/usr/bin/env bash
[ "$1" = --kill-on-bad-exit=1 ] && shift
for node in 0 1; do
  SLURM_NODEID=$node setsid "$@" >"$LOGS/node$node.log" 2>&1 &
  nodes+=(-$!)
done
trap 'kill -- "${nodes[@]}" 2>/dev/null' EXIT
wait -n && wait -n
"""


def free_job() -> int:
    """The number of a job whose first ports, as the template counts them, nobody has."""
    for job in range(os.getpid(), os.getpid() + 400):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("localhost", port := 20000 + job % 400 * 30))
                second.bind(("localhost", port + 1))
            except OSError:
                continue
            return job
    raise AssertionError("no free port")


def submit(folder: Path, job: int, srun: str, *command) -> subprocess.CompletedProcess:
    """The template, with what Slurm would start and say."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in (("scontrol", SCONTROL), ("srun", srun)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    path = os.pathsep.join((str(folder / "bin"), str(Path(os.sys.executable).parent), os.environ["PATH"]))
    slurm = {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[0-1]", "SLURM_JOB_ID": str(job)}
    environment = {**os.environ, **slurm, "PATH": path, "VIRTUAL_ENV": "set", "LOGS": str(folder),
                   "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", ROOT / "tools/slurm.sh", *map(str, command)], env=environment,
                          capture_output=True, text=True)


def test_two_nodes_do_what_two_ranks_of_one_do(tmp_path):
    make_asvspoof2019(tmp_path / "corpus")
    places = ["--data", tmp_path / "data", *SMALL]
    done = submit(tmp_path, free_job(), SRUN, RECIPE / "run.sh", "--corpus", tmp_path / "corpus", "--exp_dir",
                  tmp_path / "exp", *places, "--stop_stage", 5)
    first, other = ((tmp_path / f"node{node}.log").read_text() for node in (0, 1))
    assert done.returncode == 0, first + other
    assert [f"== stage {stage}" in first for stage in range(1, 7)] == [True] * 5 + [False], first
    assert [f"== stage {stage}" in other for stage in range(1, 7)] == [False, False, True, True, False, False], other
    assert (tmp_path / "exp/posteriors/eval/logits.scp").exists()
    again = run("--stage", 3, "--stop_stage", 3, "--exp_dir", tmp_path / "one", *places, "--gpus", "[0,1]")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "one/models/model_1.pt").read_bytes() == (tmp_path / "exp/models/model_1.pt").read_bytes()


def test_a_node_that_fails_ends_the_others(tmp_path):
    done = submit(tmp_path, free_job(), SRUN, RECIPE / "run.sh", "--corpus", tmp_path / "none", "--exp_dir",
                  tmp_path / "exp", "--data", tmp_path / "data", *SMALL)
    assert done.returncode == 2 and "none: no such folder" in (tmp_path / "node0.log").read_text()


def test_jobs_that_follow_one_another_share_no_port_in_all_their_launches(tmp_path):
    echo = '#!/bin/sh\necho "$first_node:$port $devices"\n'
    said = [submit(tmp_path, job, echo, "run.sh").stdout for job in (1199, 1200, 1201, 123456789)]
    assert said == ["localhost:31970 0\n", "localhost:20000 0\n", "localhost:20030 0\n", "localhost:31670 0\n"]


@pytest.mark.parametrize("arguments, message", [
    (["--nnodes", "2"], "--nnodes 2 wants --rdzv_endpoint HOST:PORT, of the node with --node_rank 0"),
    (["--nnodes", "2", "--rdzv_endpoint", "node0"], "--nnodes 2 wants --rdzv_endpoint HOST:PORT"),
    (["--nnodes", "2", "--node_rank", "2"], "--nnodes 2 --node_rank 2: of N nodes the ranks are 0 to N-1"),
])
def test_nodes_that_cannot_meet_are_refused(tmp_path, arguments, message):
    done = run("--exp_dir", tmp_path / "exp", *arguments)
    assert done.returncode == 2 and message in done.stderr and "== stage" not in done.stdout
