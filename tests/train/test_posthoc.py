"""`wedefense prune --model`: an experiment that is trained already loses units, and nothing else of it changes."""

import json

import pytest
import torch

from tests.corpus import make_list, write_config
from wedefense.bin.average import main as average
from wedefense.bin.prune import main as prune
from wedefense.bin.train import main as train
from wedefense.experiment.checkpoint import load
from wedefense.experiment.load import load_experiment
from wedefense.pruning.gates import gated_sites
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A trained experiment, frozen front-end and a back-end with running statistics."""
    folder = tmp_path_factory.mktemp("posthoc")
    make_list(folder, "train", 16)
    config = write_config(folder, **{
        "dataset_args__frontend": "ssl", "dataset_args__num_frms": 10, "num_epochs": 1, "num_avg": 1,
        "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, "frozen": True}, "optimizer": "SGD",
        "model": "SSL_BACKEND_SLS", "model_args": {"embed_dim": 8}, "dataloader_args__num_workers": 0,
        "train_data": str(folder / "train/raw.list")})
    train(["--config", str(config), "--device", "cpu"])
    average(["--config", str(folder / "exp/config.yaml")])
    return folder / "exp"


def test_gates_alone_learn_and_the_result_is_an_experiment(finished, tmp_path, capsys):
    new = tmp_path / "pruned"
    arguments = ["--model", str(finished), "--exp_dir", str(new), "--device", "cpu", "--target_sparsity", "0.3",
                 "--distillation.logits", "1.0", "--num_epochs", "3"]
    prune(arguments)
    assert "asked     remove 30 %, keep 70 % of the parameters" in capsys.readouterr().out
    before, gated = load(finished / "models/avg_model.pt"), load(new / "models/avg_model.pt")
    gates = gated.keys() - before.keys()
    assert gates and all(name.endswith("gate.log_alpha") for name in gates)
    assert all(torch.equal(value, gated[name]) for name, value in before.items())
    first, last = (load(new / f"models/model_{epoch}.pt") for epoch in (1, 3))
    assert all(not torch.equal(first[name], last[name]) for name in gates)
    rows = json.loads((new / "history.json").read_text())["rows"]
    assert rows[-1]["l2"] > 0 and rows[-1]["sparsity"] > rows[0]["sparsity"] and rows[-1]["distill_logits"] >= 0

    report = json.loads((new / "pruning.json").read_text())
    assert report["sparsity"] == pytest.approx(0.3, abs=0.01) and report["difference"] < 1e-5
    assert (new / report["unpruned"]).resolve() == finished.resolve()
    small = load_experiment(new)
    assert small.weights == new / "pruned_model/models/avg_model.pt" and not small.config.gates_only
    encoder = small.detector.frontend.upstream
    assert sum(p.numel() for p in encoder.parameters()) == report["parameters"]["after"]
    assert not gated_sites(encoder)
    assert small.detector(0.1 * torch.randn(2, 9000), torch.tensor([9000, 6000])).logits.shape == (2, 2)

    again = tmp_path / "again"  # what was cut is pruned once more, by a budget
    prune(["--model", str(new), "--exp_dir", str(again), "--device", "cpu", "--num_epochs", "1", "--target_params",
           str(0.8 * report["parameters"]["after"])])
    assert "gates that were not trained for it" in capsys.readouterr().err  # a few steps are no training
    found = json.loads((again / "pruning.json").read_text())
    assert found["parameters"]["before"] == report["parameters"]["after"]
    assert found["sparsity"] == pytest.approx(0.2, abs=0.01)


def test_what_cannot_be_pruned_is_refused(finished, tmp_path):
    with pytest.raises(InputError, match="--target_sparsity"):
        prune(["--model", str(finished), "--exp_dir", str(tmp_path / "new")])
    with pytest.raises(InputError, match="no more than .* can be removed"):
        prune(["--model", str(finished), "--exp_dir", str(tmp_path / "new"), "--target_sparsity", "0.95",
               "--device", "cpu"])
    with pytest.raises(InputError, match="stages 3 and 4"):
        prune(["--model", str(tmp_path), "--exp_dir", str(tmp_path / "new"), "--target_sparsity", "0.3"])
    with pytest.raises(InputError, match="no gates to cut by.*--model"):
        prune(["--exp_dir", str(finished)])
    with pytest.raises(SystemExit):
        prune(["--exp_dir", str(finished), "--target_sparsity", "0.3"])
