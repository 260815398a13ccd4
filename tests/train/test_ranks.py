"""Several ranks do what one does."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.corpus import make_list, write_config
from wedefense.config.loader import load_config
from wedefense.experiment.checkpoint import load_model, load_weights
from wedefense.models.detector import own_weights
from wedefense.train.run import build_trainer, train
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError
from wedefense.utils.processes import started

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(ranks: int, *arguments) -> subprocess.CompletedProcess:
    """For as long as the test may take: a loaded machine starts ranks in minutes."""
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    return subprocess.run([*launcher, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True)


def test_one_rank_and_two_have_the_same_gradients(tmp_path):
    train = make_list(tmp_path)
    results = {}
    for ranks in (1, 2):
        config = write_config(tmp_path, gpus=list(range(ranks)), exp_dir=str(tmp_path / f"exp{ranks}"),
                              dataloader_args__batch_size=8 // ranks, dataset_args__fbank_args__dither=0.0)
        (tmp_path / f"exp{ranks}").mkdir()
        done = run(ranks, ROOT / "tests/train/one_step.py", config, tmp_path / f"{ranks}.pt", "--train_data", train)
        assert done.returncode == 0, done.stderr
        results[ranks] = torch.load(tmp_path / f"{ranks}.pt", weights_only=True)
    assert sorted(results[1]["keys"]) == sorted(results[2]["keys"])
    reference, (first, second) = results[1]["gradients"][0], results[2]["gradients"]
    for name, gradient in reference.items():
        assert torch.equal(first[name], second[name]), f"{name} differs between the ranks"
        assert torch.allclose(gradient, first[name], atol=1e-6, rtol=1e-5), name
        assert gradient.abs().sum() > 0, name
    # of two ranks they lie where they are summed, and not once more by themselves
    assert results[2]["pieces"] < results[1]["pieces"] == len(reference)


LATE = """
import os, sys, time
from pathlib import Path
here = Path(sys.argv[1])
(here / f"{os.environ['RANK']}.tmp").write_text(str(os.getpid()))
(here / f"{os.environ['RANK']}.tmp").rename(here / os.environ["RANK"])
while not (here / "go").exists():
    time.sleep(0.05)
from wedefense.utils.distributed import start
start(device="cpu")
"""


def until(happened) -> None:
    while not happened():
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="ranks are tied to their launcher on Linux")
def test_ranks_whose_launcher_is_killed_before_they_are_up_end_too(tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    ranks, temporary = [tmp_path / "0", tmp_path / "1"], tmp_path / "tmp"
    temporary.mkdir()
    launcher = subprocess.Popen([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
                                 tmp_path / "late.py", tmp_path], stderr=subprocess.PIPE, text=True,
                                env=ENVIRONMENT | {"TMPDIR": str(temporary)})
    until(lambda: all(path.exists() for path in ranks))
    launcher.kill()
    launcher.wait()
    (tmp_path / "go").touch()
    until(lambda: all(started(int(path.read_text())) is None for path in ranks))
    told = launcher.stderr.read()
    assert all(f"InputError: rank {rank}: its launcher does not answer at" in told for rank in (0, 1)), told
    assert not [*temporary.iterdir()]  # where torchrun would make a folder, had `conftest.py` not named another


SSL = {"upstream_args": {"name": "wavlm_tiny", "pruning_units": ""}, "layer_drop": 0.5}
ONE_LAYER = SSL | {"layer": 2, "layerwise_feature": False, "multilayer_feature": False}
GATED = SSL | {"upstream_args": {"name": "wavlm_tiny", "pruning_units": "head,interm,attlayer,ffnlayer"}}
CASES = {
    "dropping": {"ssl_args": SSL},
    "dropping, sharded": {"ssl_args": SSL, "sharding": "full"},
    "one layer": {"ssl_args": ONE_LAYER},
    "one layer, sharded": {"ssl_args": ONE_LAYER, "sharding": "full"},
    "pruning": {"ssl_args": GATED, "use_pruning_loss": True, "target_sparsity": 0.5},
}


def test_ranks_that_leave_out_other_parameters_have_the_mean_of_their_gradients(tmp_path):
    """Each rank drops blocks of its own; with one layer wanted the blocks above it have no gradient anywhere."""
    train, paths = make_list(tmp_path), {}
    for number, (case, changes) in enumerate(CASES.items()):
        folder = tmp_path / str(number)
        (folder / "exp").mkdir(parents=True)
        changes = {"dataset_args__ssl_args" if name == "ssl_args" else name: value for name, value in changes.items()}
        paths[case] = str(write_config(folder, gpus=[0, 1], train_data=str(train), dataset_args__num_frms=20,
                                       dataset_args__frontend="ssl", **changes))
    done = run(2, ROOT / "tests/train/rank_gradients.py", tmp_path / "out.pt", *paths.values())
    assert done.returncode == 0, done.stderr
    results = torch.load(tmp_path / "out.pt", weights_only=True)
    for case in ("dropping", "one layer", "pruning"):
        found = results[paths[case]]
        first, second = found["together"]
        left_out = [{name for name, gradient in own.items() if gradient is None} for own in found["alone"]]
        assert left_out[0] != left_out[1] and not all(name in left_out[0] & left_out[1] for name in first), case
        for name, gradient in first.items():
            if not any(name in own for own in found["alone"]):
                assert gradient is None and "transformer.layers" in name and case == "one layer", name
                continue
            mean = sum(own[name] if own[name] is not None else torch.zeros_like(gradient) for own in found["alone"]) / 2
            assert torch.equal(gradient, second[name]), f"{case}: {name} differs between the ranks"
            torch.testing.assert_close(gradient, mean, atol=1e-7, rtol=1e-5, msg=f"{case}: {name}")
    for case in ("dropping", "one layer"):
        expected, sharded = (results[paths[name]]["together"][0] for name in (case, f"{case}, sharded"))
        assert expected.keys() == sharded.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(sharded[name], gradient, atol=1e-6, rtol=1e-4, msg=f"{case}, sharded: {name}")


def test_all_ranks_stop_early_together_and_score_each_utterance_once(tmp_path):
    train, dev = make_list(tmp_path), make_list(tmp_path, "dev", utterances=7)
    config = write_config(tmp_path, gpus=[0, 1], num_epochs=30, early_stop_patience=1,
                          scheduler_args__initial_lr=1e-12, scheduler_args__final_lr=1e-12)
    done = run(2, "-m", "wedefense.bin.train", "--config", config, "--train_data", train, "--val_data", dev)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "exp/train.log").read_text()
    assert "stopping after epoch 2" in log  # epoch 1 is the best; nothing moves at such a rate
    assert sorted(path.name for path in (tmp_path / "exp/models").iterdir()) == [
        "best_model.pt", "last.ckpt", "model_1.pt", "model_2.pt"]

    done = run(1, "-m", "wedefense.cli", "average", "--config", config, "--exp_dir", tmp_path / "exp")
    assert done.returncode == 0 and "epochs 1, 2" in done.stdout, done.stderr
    done = run(2, "-m", "wedefense.bin.embed", "--exp_dir", tmp_path / "exp", "--sets", "dev", "--data", dev)
    assert done.returncode == 0, done.stderr
    scp = (tmp_path / "exp/embeddings/dev/embedding.scp").read_text().splitlines()
    assert [line.split()[0] for line in scp] == [f"dev_{i:04d}" for i in range(7)]


def test_sharded_parameters_train_to_the_weights_of_replicated_ones(tmp_path):
    train, dev = make_list(tmp_path), make_list(tmp_path, "dev", utterances=6)
    weights = {}
    for sharding in ("none", "full"):
        config = write_config(
            tmp_path, gpus=[0, 1], num_epochs=2, sharding=sharding, exp_dir=str(tmp_path / sharding), accum_grad=2,
            dataset_args__frontend="ssl", dataset_args__num_frms=20, dataset_args__ssl_args={
                "upstream_args": {"name": "wavlm_tiny"}, "hidden_dropout": 0.0, "attention_dropout": 0.0,
                "projection_dropout": 0.0}, grad_clip=1.0, optimizer="SGD", optimizer_args={"momentum": 0.9},
            scheduler_args__initial_lr=0.01)
        for epochs in ("1", "2"):  # the second call resumes
            done = run(2, "-m", "wedefense.bin.train", "--config", config, "--train_data", train, "--val_data", dev,
                       "--num_epochs", epochs, "--scheduler_args.final_lr", "0.01")
            assert done.returncode == 0, done.stderr
        weights[sharding] = torch.load(tmp_path / sharding / "models/model_2.pt", weights_only=True)
        assert "resumed from" in (tmp_path / sharding / "train.log").read_text()
    assert weights["none"].keys() == weights["full"].keys()
    for name, expected in weights["none"].items():
        torch.testing.assert_close(weights["full"][name], expected, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_validation_is_of_the_weights_that_are_kept(tmp_path, sharding):
    """Each rank has statistics of batch norm of its own, and checkpoints those of the first."""
    lists = {"train_data": str(make_list(tmp_path)), "val_data": str(make_list(tmp_path, "dev", utterances=9))}
    config = write_config(tmp_path, gpus=[0, 1], num_epochs=1, sharding=sharding, dataset_args__cmvn=False, **lists,
                          projection_args={"project_type": "softmax"})
    done = run(2, "-m", "wedefense.bin.train", "--config", config)
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "exp/history.json").read_text())["rows"][0]
    trainer = build_trainer(load_config(config, ["--sharding", "none"]), World(0, 1, 0, torch.device("cpu")))
    load_weights(trainer.detector, own_weights(load_model(tmp_path / "exp/models/model_1.pt")), "model_1.pt")
    kept = trainer.validator(trainer.detector, trainer.module.criterion)
    assert row["val_loss"] == pytest.approx(kept["loss"], rel=1e-5)


def test_one_process_does_not_train_for_two_ranks(tmp_path):
    config = write_config(tmp_path, gpus=[0, 1], train_data=str(make_list(tmp_path)), num_epochs=1,
                          exp_dir=str(tmp_path / "exp"))
    with pytest.raises(InputError, match=r"gpus: \[0, 1\] are 2 ranks, but 1 started; run.sh starts all"):
        train(load_config(config), "cpu")
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("what, told", [
    ("option", r"scheduler_args.initial_lr: is 0.5 on rank 1 and 0.01 on rank 0; give every rank the same"),
    ("list", r"train_data: rank 1 has other utterances or labels than rank 0 .24 utterances, "),
    ("copy", None)])
def test_ranks_with_other_options_or_lists_are_refused_at_the_start(tmp_path, what, told):
    train = make_list(tmp_path)
    config = write_config(tmp_path, gpus=[0, 1], num_epochs=1)
    lines = [json.loads(line) for line in train.read_text().splitlines()]
    if what == "list":
        lines[3]["lab"] = "bonafide"
    other = tmp_path / "other.list"  # a machine may keep the same list elsewhere
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["--scheduler_args.initial_lr", "0.5"] if what == "option" else ["--train_data", other]
    done = run(2, ROOT / "tests/train/other_rank.py", "--config", config, "--train_data", train, "--", *options)
    if told is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode and re.search(told, done.stderr), done.stderr
        assert not (tmp_path / "exp/models/last.ckpt").exists()
