"""Killed at any instant and started again, a run ends with the very weights of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.corpus import make_list, write_config
from tests.train.test_ranks import until
from wedefense.bin.make_list import main as make_data_list
from wedefense.utils.processes import started
from wedefense.utils.tables import read_table, write_table

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


def start(config: Path, exp_dir: Path, ranks: int, data: list[str]) -> subprocess.Popen:
    launcher = [sys.executable, "-m"]
    if ranks > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), "-m"]
    command = [*launcher, "wedefense.bin.train", "--config", str(config), "--exp_dir", str(exp_dir), *data]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def weights(exp_dir: Path, epoch: int) -> dict:
    return torch.load(exp_dir / "models" / f"model_{epoch}.pt", weights_only=True)


@pytest.mark.parametrize("data_type, ranks, mixed, accumulated", [
    ("raw", 1, False, 1), ("shard", 1, False, 1), ("raw", 2, False, 1), ("raw", 1, True, 1), ("raw", 2, True, 1),
    ("raw", 1, False, 3)])
def test_killed_and_rerun_equals_uninterrupted(tmp_path, data_type, ranks, mixed, accumulated):
    epochs = 20
    for name in ("train", "dev"):
        make_list(tmp_path, name)
        if data_type == "shard":
            make_data_list(["--data_dir", str(tmp_path / name), "--data_type", "shard", "--num_utts_per_shard", "7"])
    config = write_config(tmp_path, num_epochs=epochs, save_step_interval=1, save_epoch_interval=epochs,
                          gpus=list(range(ranks)), dataloader_args__batch_size=4 // ranks, accum_grad=accumulated)
    data = ["--data_type", data_type, "--train_data", str(tmp_path / f"train/{data_type}.list"),
            "--val_data", str(tmp_path / f"dev/{data_type}.list")]
    if mixed:
        keys = read_table(tmp_path / "train/utt2lab")
        write_table(tmp_path / "train/utt2corpus", {key: "ab"[number % 4 == 0] for number, key in enumerate(keys)})
        data += ["--dataset_args.sampling", "[{column: corpus, weights: {a: 3, b: 1}}, {column: label}]"]

    finish(start(config, tmp_path / "whole", ranks, data))

    process = start(config, tmp_path / "killed", ranks, data)
    last = tmp_path / "killed" / "models" / "last.ckpt"
    while not last.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(random.uniform(0.0, 0.5))
    assert process.poll() is None, "the run was over before it could be killed: give it more epochs"
    owner = json.loads((tmp_path / "killed/.owner").read_text())["pid"]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    until(lambda: started(owner) is None)  # ranks of a killed launcher end with it, sooner or later
    finish(start(config, tmp_path / "killed", ranks, data))

    whole, killed = weights(tmp_path / "whole", epochs), weights(tmp_path / "killed", epochs)
    assert whole.keys() == killed.keys()
    for name in whole:
        assert torch.equal(whole[name], killed[name]), name
    assert "resumed from" in (tmp_path / "killed" / "train.log").read_text()
