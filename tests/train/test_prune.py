"""Pruning on the one loop: it reaches its target, resumes exactly, averages what may be averaged, and is cut."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml

from tests.corpus import make_list, write_config
from tests.pruning.helpers import FAMILIES, holding
from wedefense.bin.average import main as average
from wedefense.bin.prune import main as prune
from wedefense.bin.train import main as train
from wedefense.config.loader import load_config
from wedefense.config.pruning import PruningOptions
from wedefense.experiment import saved_epochs
from wedefense.experiment.checkpoint import load
from wedefense.experiment.load import load_experiment
from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.pruning.gates import attach, gated_sites
from wedefense.pruning.settle import settle
from wedefense.pruning.size import Size, decided_openness, expected_openness
from wedefense.pruning.surgery import cut
from wedefense.train.prune import Prune
from wedefense.train.run import build_trainer
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError

STEPS = 300
ROOMY = replace(FAMILIES["wavlm"], blocks=full_blocks(2, 4, 200), pos_conv_kernel=4, pos_conv_groups=12)


@pytest.mark.parametrize("target", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_target_is_reached_against_a_task_that_wants_units_open(target):
    """Each unit is worth something of its own to the task; the constraint alone decides how many stay.

    The learnt sparsity itself arrives, before `settle` makes the cut exact.
    """
    torch.manual_seed(0)
    encoder = Encoder(ROOMY)
    attach(encoder)
    mode = Prune(PruningOptions(use_pruning_loss=True, target_sparsity=target, initial_reg_lr=0.1,
                                sparsity_warmup_epochs=2), holding(encoder))
    gates = [site.gate for site in gated_sites(encoder)]
    worth = [0.01 * torch.rand(gate.count) ** 3 for gate in gates]
    groups = mode.groups(mode.parts[0], SimpleNamespace(frontend_modules=("frontend",), frontend_lr_ratio=1.0))
    optimizer = torch.optim.AdamW([{**group, "lr": 0.1} for group in groups if "fixed_lr" in group])
    for step in range(STEPS):
        optimizer.zero_grad()
        mode.before_step(step, STEPS // 5)
        task = sum(((1 - gate.sample()).square() * value).sum() for gate, value in zip(gates, worth))
        (task + mode.terms(None, None)["penalty"]).backward()
        optimizer.step()
    assert mode.target == target and mode.size.sparsity(expected_openness).item() == pytest.approx(target, abs=0.01)
    assert settle(encoder, mode.size, target).final == pytest.approx(target, abs=0.01)
    left = sum(p.numel() for p in cut(encoder).parameters())
    assert 1 - left / Size(encoder).original == pytest.approx(target, abs=0.01)


def config_of(folder, **changes):
    make_list(folder, "train", 16)
    return write_config(folder, **{
        "dataset_args__frontend": "ssl", "dataset_args__num_frms": 10, "grad_clip": 3.0, "num_avg": 3,
        "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, "frozen": False},
        "scheduler_args__frontend_lr_ratio": 0.1, "use_pruning_loss": True, "target_sparsity": 0.5,
        "initial_reg_lr": 0.2, "sparsity_warmup_epochs": 2, "dataloader_args__num_workers": 0,
        **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four epochs, saved at every step."""
    folder = tmp_path_factory.mktemp("pruning")
    config = config_of(folder, save_step_interval=1)
    train(["--config", str(config), "--device", "cpu", "--train_data", str(folder / "train/raw.list")])
    average(["--config", str(folder / "exp/config.yaml")])
    return folder


def test_log_and_history_say_what_happens(trained):
    log = (trained / "exp/train.log").read_text()
    assert "pruning: remove 50 %, keep 50 % of the encoder's" in log
    rows = json.loads((trained / "exp/history.json").read_text())["rows"]
    assert [round(row["target_sparsity"], 2) for row in rows][1:] == [pytest.approx(0.43, abs=0.08), 0.5, 0.5]
    assert rows[-1]["l1"] != 0 and rows[-1]["sparsity"] != rows[0]["sparsity"]
    assert any(file.stat().st_size > 3000 for file in (trained / "exp/tensorboard").iterdir())


def test_epochs_of_a_rising_target_neither_stop_a_training_nor_outlive_those_after_it(tmp_path):
    """The less is pruned the better is an epoch, which says nothing of the ones that hold what was asked for."""
    config = load_config(config_of(tmp_path, num_epochs=6, keep_last=1, num_avg=2, average="best", monitor="loss",
                                   early_stop_patience=2, train_data=str(make_list(tmp_path, utterances=4)),
                                   val_data=str(make_list(tmp_path, "dev", 4)), sparsity_warmup_epochs=3))
    (tmp_path / "exp/models").mkdir(parents=True)
    trainer = build_trainer(config, World(0, 1, 0, torch.device("cpu")))
    losses = iter([0.1, 0.2, 0.3, 0.8, 0.6, 0.7])
    trainer.validator = lambda detector, criterion: {"loss": next(losses)}
    trainer.fit()
    history = json.loads((tmp_path / "exp/history.json").read_text())
    assert len(history["rows"]) == 6 and history["best"]["epoch"] == 5
    assert saved_epochs.to_average(config) == [5, 6]


def test_resumed_equals_uninterrupted(trained, tmp_path):
    """Weights, gates, multipliers and the draws of the gates, bit for bit."""
    whole = load(trained / "exp/models/last.ckpt")
    exp = tmp_path / "exp"
    arguments = ["--config", str(trained / "config.yaml"), "--device", "cpu", "--exp_dir", str(exp),
                 "--train_data", str(trained / "train/raw.list")]
    interrupt = RuntimeError("stop here")
    before = Prune.before_step

    def stop_in_the_third_epoch(self, step, steps_per_epoch):
        if step == 2 * steps_per_epoch + 2:
            raise interrupt
        before(self, step, steps_per_epoch)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="stop here"):
        patch.setattr(Prune, "before_step", stop_in_the_third_epoch)
        train(arguments)
    train(arguments)
    resumed = load(exp / "models/last.ckpt")
    assert resumed["mode"].keys() == {"lagrangian.l1", "lagrangian.l2"}
    for part in ("weights", "mode"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), name
    assert any(name.endswith("gate.log_alpha") for name in whole["weights"])


def test_only_epochs_after_the_warm_up_are_averaged(trained):
    config = load_config(trained / "exp/config.yaml")
    assert saved_epochs.to_average(config) == [3, 4]
    assert saved_epochs.to_average(replace(config, sparsity_warmup_epochs=2.5)) == [3, 4]
    assert saved_epochs.to_average(replace(config, sparsity_warmup_epochs=9)) == [4]
    assert saved_epochs.to_average(replace(config, use_pruning_loss=False)) == [2, 3, 4]


def test_the_cut_experiment_scores_as_the_gated_one_and_trains_on(trained, capsys):
    exp = trained / "exp"
    prune(["--exp_dir", str(exp)])
    output = capsys.readouterr().out
    assert "asked     remove 50 %, keep 50 % of the parameters" in output and "verified" in output
    report = json.loads((exp / "pruning.json").read_text())
    assert report["difference"] < 1e-5 and report["sparsity"] == pytest.approx(0.5, abs=0.01)
    small = load_experiment(exp)
    assert small.weights == exp / "pruned_model/models/avg_model.pt"
    encoder = small.detector.frontend.upstream
    assert sum(p.numel() for p in encoder.parameters()) == report["parameters"]["after"]
    for name in ("pytorch_model.bin", "whole_pytorch_model.bin", "label2id", "frontend.json", "history.json"):
        assert (exp / "pruned_model" / name).is_file(), name
    assert (exp / "figures/pruning.png").stat().st_size > 5000

    gated = load_experiment(exp, exp / "models/avg_model.pt").detector
    settle(gated.frontend.upstream, Size(gated.frontend.upstream), 0.5)
    assert Size(gated.frontend.upstream).of(decided_openness) == report["parameters"]["after"]
    wav, lengths = 0.1 * torch.randn(2, 9000), torch.tensor([9000, 6000])
    with torch.no_grad():
        found, expected = small.detector(wav, lengths), gated(wav, lengths)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-4)

    further = trained / "further"
    train(["--config", str(exp / "pruned_model/config.yaml"), "--device", "cpu", "--exp_dir", str(further),
           "--model_init", str(exp / "pruned_model/models/avg_model.pt"), "--num_epochs", "1",
           "--train_data", str(trained / "train/raw.list")])
    assert load(further / "models/model_1.pt").keys() == load(small.weights).keys()
    assert "frontend.json" in {path.name for path in further.iterdir()}


def test_seed_keys_as_printed_load():
    text = """
use_pruning_loss: True                    # Enable pruning loss
target_sparsity: 0.1
initial_reg_lr: 5.0e-2                   # Learning rate for regularization parameters
sparsity_warmup_epochs: 5                # Number of warmup epochs
sparsity_schedule: "cosine"              # Progressive schedule type
min_sparsity: 0.0                        # Initial sparsity level
"""
    options = PruningOptions(**yaml.safe_load(text))
    assert (options.target_sparsity, options.initial_reg_lr, options.sparsity_schedule) == (0.1, 0.05, "cosine")


@pytest.mark.parametrize("changes, message", [
    ({"dataset_args__frontend": "fbank"}, "cannot be pruned"),
    ({"dataset_args__ssl_args": {"frozen": True}}, "frozen: False"),
    ({"target_sparsity": 1.5}, "fraction to remove"),
    ({"sparsity_schedule": "cosin"}, "did you mean cosine|did you mean 'cosine'"),
    ({"sharding": "full"}, "every parameter on every rank")])
def test_configs_that_cannot_prune_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_config(config_of(tmp_path, **changes))
