"""Trainings of adapters: what their checkpoints hold, how they go on, and what begins from them."""

import logging

import numpy as np
import pytest
import torch

from tests.corpus import make_list
from tests.detect.experiments import wave
from tests.train.test_frozen_encoder import ALONE, config_of, goes_on_to_the_same_bits, trained, write_config_of
from tests.train.test_ranks import run
from wedefense import load_detector
from wedefense.bin.average import main as average
from wedefense.bin.make_list import main as make_shards
from wedefense.config.adapters import AdapterOptions
from wedefense.config.loader import load_config
from wedefense.detect.share import write_folder
from wedefense.experiment import checkpoint, frozen
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.lineage import of_settings, settings
from wedefense.frontend.ssl.adapters import adapted_products, is_adapter
from wedefense.models.detector import public_weights
from wedefense.train.run import build_trainer
from wedefense.train.summary import describe
from wedefense.utils.errors import InputError

LORA = {"type": "lora", "r": 2, "alpha": 4.0, "targets": ["q_proj", "v_proj", "output_dense"]}
KINDS = {"lora": LORA, "dora": LORA | {"dora": True}, "dropout": LORA | {"dropout": 0.2},
         "bottleneck": {"type": "bottleneck", "dim": 4},
         "norms": {"type": "lora", "r": 1, "layers": [2], "norms": True}}


def adapters(kind="lora", **ssl):
    return {"ssl": {"frozen": False, "adapters": KINDS[kind], **ssl}}


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_hold_what_is_trained_and_the_average_is_whole(tmp_path, kind):
    into = trained(tmp_path, **adapters(kind))
    detector = build_trainer(config_of(tmp_path, **adapters(kind)), ALONE).detector
    whole = public_weights(detector)
    learnt = {name.removeprefix("backend.") for name, parameter in detector.named_parameters()
              if parameter.requires_grad}
    encoder = {name for name in whole if name.startswith("frontend.upstream.")}
    assert {name for name in learnt & encoder if not is_adapter(name)} == {name for name in encoder if kind == "norms"
            and "layers.2." in name and "layer_norm" in name}
    own = checkpoint.trained_part(into.epoch(2))
    assert set(own) == set(whole) - (encoder - learnt) | {frozen.FINGERPRINT, frozen.SOURCE}
    place = into.frozen(frozen.mark_of(own))
    for path in (into.epoch(1), into.epoch(2), into.best):
        assert path.stat().st_size < 0.2 * place.stat().st_size, path
    assert into.last.stat().st_size < 0.4 * place.stat().st_size  # with what the optimiser keeps
    average(["--config", str(into.config)])
    mean = checkpoint.load(into.average)
    assert set(mean) == set(whole)
    assert all(torch.equal(mean[name], whole[name]) for name in encoder - learnt)
    first = checkpoint.trained_part(into.epoch(1))
    moved = [name for name in learnt & encoder if not torch.equal(first[name], own[name])]
    assert set(moved) == learnt & encoder
    assert torch.equal(mean[moved[0]], ((first[moved[0]].double() + own[moved[0]].double()) / 2).float())


def test_every_file_scores_and_so_does_a_shared_folder(tmp_path):
    into, wav = trained(tmp_path, num_avg=1, **adapters()), wave(1.0)
    average(["--config", str(into.config)])
    expected = load_detector(into).score(wav, 16000).llr
    assert load_detector(into, weights=into.epoch(2)).score(wav, 16000).llr == expected
    write_folder(load_detector(into), tmp_path / "shared")
    assert load_detector(tmp_path / "shared").score(wav, 16000).llr == pytest.approx(expected, abs=1e-5)
    for path in into.models.glob("frozen_*"):
        path.unlink()
    assert load_detector(into, weights=into.epoch(2)).score(wav, 16000).llr == expected
    plain = load_detector(into)
    for product in adapted_products(plain.detector.frontend.upstream).values():
        torch.nn.init.zeros_(product.adapter.up)
    assert plain.score(wav, 16000).llr != expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, kind):
    goes_on_to_the_same_bits(tmp_path, **adapters(kind))


def test_the_first_loss_is_that_of_the_encoder_as_it_came(tmp_path):
    """Of the same batch and the same back-end, which is drawn as without adapters."""
    still = {f"{name}_dropout": 0.0 for name in ("projection", "hidden", "attention", "activation")}
    losses = []
    for ssl in ({"frozen": True}, {"adapters": KINDS["lora"]}, {"adapters": KINDS["bottleneck"]}, {}):
        trainer = build_trainer(config_of(tmp_path, ssl={"frozen": False, "layer_drop": 0.0, **still, **ssl}), ALONE)
        trainer.module.train()
        trainer.loader.set_epoch(0)
        losses.append(trainer._train_batch(next(iter(trainer.loader)))[0].item())
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


def test_two_ranks_take_the_step_of_one(tmp_path):
    """Both ranks hear half of what one hears; gradients of the first step are equal, and only adapters have them."""
    changes = {"dataloader_args__batch_size": 4, **adapters(layer_drop=0.0, attention_dropout=0.0, hidden_dropout=0.0,
               activation_dropout=0.0, projection_dropout=0.0)}
    found = {}
    for size in (1, 2):
        folder = tmp_path / str(size)
        folder.mkdir()
        config_of(folder, **changes, gpus=list(range(size)))
        done = run(size, "-m", "tests.train.one_step", folder / "config.yaml", folder / "step.pt",
                   "--dataloader_args.batch_size", str(4 // size))
        assert done.returncode == 0, done.stderr
        found[size] = torch.load(folder / "step.pt", weights_only=True)
    assert sorted(found[1]["keys"]) == sorted(found[2]["keys"])
    alone = found[1]["gradients"][0]
    for everyone in found[2]["gradients"]:
        assert everyone.keys() == alone.keys() and any(map(is_adapter, alone))
        for name, gradient in alone.items():
            torch.testing.assert_close(everyone[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_ranks_train_resume_and_leave_the_encoder_out(tmp_path, sharding):
    config = write_config_of(tmp_path / sharding, sharding)
    changes = ["--dataset_args.ssl_args.frozen", "false", "--dataset_args.ssl_args.adapters.type", "lora",
               "--dataset_args.ssl_args.layer_drop", "0.5"]
    for epochs in ("1", "2"):
        done = run(2, "-m", "wedefense.bin.train", "--config", config, "--num_epochs", epochs,
                   "--scheduler_args.final_lr", "0.01", *changes)
        assert done.returncode == 0, done.stderr
    into = ExperimentFolder(tmp_path / sharding / "exp")
    assert "resumed from" in into.log.read_text()
    assert into.epoch(2).stat().st_size < 0.2 * next(into.models.glob("frozen_*")).stat().st_size
    own = checkpoint.trained_part(into.epoch(2))
    ups = [tensor for name, tensor in own.items() if name.endswith("adapter.up")]
    assert len(ups) == 6 and all(tensor.abs().max() > 0 for tensor in ups)
    average(["--config", str(into.config)])
    assert np.isfinite(load_detector(into).score(wave(1.0), 16000).llr)


def test_shards_and_bfloat16(tmp_path):
    make_list(tmp_path, utterances=8)
    make_shards(["--data_dir", str(tmp_path / "train"), "--data_type", "shard", "--num_utts_per_shard", "4"])
    config = config_of(tmp_path, precision="bfloat16", num_epochs=1, **adapters())
    trainer = build_trainer(load_config(tmp_path / "config.yaml", [
        "--train_data", str(tmp_path / "train/shard.list"), "--data_type", "shard", "--val_data", "null"]), ALONE)
    ExperimentFolder(config.exp_dir).models.mkdir(parents=True)
    trainer.fit()
    assert trainer.epoch == 1 and 0 < trainer.history[0]["train_loss"] < 5
    assert "LoRA of rank 2, scale 2, on q_proj, v_proj, output_dense of all blocks training, 1 rank" in describe(
        trainer.config, trainer.detector, trainer.labels, trainer.world)


def test_what_begins_from_adapters(tmp_path, caplog, monkeypatch):
    """The same goes on; other ones begin on the merged weights, as does whole fine-tuning."""
    into, wav = trained(tmp_path, num_avg=1, **adapters()), wave(1.0)
    average(["--config", str(into.config)])
    expected = load_detector(into).detector.embed(torch.from_numpy(wav)[None], [len(wav)])
    others = {"the same": LORA, "dropping out": LORA | {"dropout": 0.1}, "another scale": LORA | {"alpha": 9.0},
              "another rank": LORA | {"r": 5}, "bottlenecks": KINDS["bottleneck"], "none": {"type": "none"}}
    monkeypatch.setattr(logging.getLogger("wedefense"), "propagate", True)  # which mains switch off
    caplog.set_level(logging.INFO, logger="wedefense")
    for name, ours in others.items():
        caplog.clear()
        config = config_of(tmp_path, model_init=str(into.average), exp_dir=str(tmp_path / "next"),
                           ssl={"frozen": False, "adapters": ours})
        detector = build_trainer(config, ALONE).detector.eval()
        with torch.no_grad():
            torch.testing.assert_close(detector.embed(torch.from_numpy(wav)[None], [len(wav)]), expected,
                                       rtol=1e-4, atol=1e-5, msg=name)
        assert ("are merged into the weights that they change" in caplog.text) == (name not in (
            "the same", "dropping out")), name
    whole = trained(tmp_path / "whole", ssl={"frozen": False}, num_epochs=1)
    config = config_of(tmp_path, model_init=str(whole.epoch(1)), exp_dir=str(tmp_path / "next"), **adapters("dora"))
    own = checkpoint.load(whole.epoch(1))
    state = public_weights(build_trainer(config, ALONE).detector)
    assert all(torch.equal(state[name], tensor) for name, tensor in own.items())


def test_what_cannot_begin_from_adapters_says_why(tmp_path):
    into = trained(tmp_path, num_epochs=1, **adapters("bottleneck"))
    config = config_of(tmp_path, model_init=str(into.epoch(1)), exp_dir=str(tmp_path / "next"), **adapters())
    with pytest.raises(InputError, match="bottlenecks of 4 units in all blocks cannot be merged into weights; set the "
                                         "same under dataset_args.ssl_args.adapters"):
        build_trainer(config, ALONE)
    checkpoint.save(tmp_path / "alone/deep/x.pt", checkpoint.load_model(into.epoch(1)))
    with pytest.raises(InputError, match="x.pt: holds adapters, .*; merge them first: wedefense adapters"):
        build_trainer(config_of(tmp_path, model_init=str(tmp_path / "alone/deep/x.pt"), **adapters()), ALONE)
    with pytest.raises(InputError, match="use_pruning_loss: .* set dataset_args.ssl_args.adapters.type: none"):
        config_of(tmp_path, use_pruning_loss=True, target_sparsity=0.5, **adapters())


def test_another_scale_is_another_training(tmp_path):
    """And experiments from before there were adapters are the same as without."""
    config = config_of(tmp_path, ssl={"frozen": False})
    assert "adapters" not in settings(config)["dataset_args"]["ssl_args"]
    one, other = (config_of(tmp_path, ssl={"frozen": False, "adapters": LORA | change})
                  for change in ({}, {"alpha": 5.0}))
    assert of_settings(one) != of_settings(other) != of_settings(config)
    assert AdapterOptions(**LORA).computes_as(AdapterOptions(**LORA | {"dropout": 0.1, "norms": True}))
