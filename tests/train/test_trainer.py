import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.corpus import make_list, write_config
from wedefense.config.loader import load_config
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint
from wedefense.models.cost import multiply_adds, parameters
from wedefense.train.run import build_trainer
from wedefense.train.summary import describe
from wedefense.train.trainer import Trainer
from wedefense.utils import distributed
from wedefense.utils.errors import InputError


@pytest.fixture
def experiment(tmp_path):
    """A function that builds the trainer of a small experiment with some keys changed."""
    lists = {"train_data": str(make_list(tmp_path)), "val_data": str(make_list(tmp_path, "dev", utterances=8))}

    def build(**changes) -> Trainer:
        config = load_config(write_config(tmp_path, **(lists | {"dataloader_args__num_workers": 0} | changes)))
        (tmp_path / "exp" / "models").mkdir(parents=True, exist_ok=True)
        return build_trainer(config, distributed.start(device="cpu"))

    return build


def test_history_and_selection(experiment, tmp_path):
    experiment(num_epochs=3).fit()
    history = json.loads((tmp_path / "exp/history.json").read_text())
    assert [row["epoch"] for row in history["rows"]] == [1, 2, 3]
    assert history["rows"][0].keys() >= {"train_loss", "val_eer", "val_min_dcf", "val_act_dcf", "val_cllr",
                                         "val_min_cllr", "val_loss"}
    best = min(history["rows"], key=lambda row: row["val_eer"])
    assert history["best"]["epoch"] == best["epoch"]
    chosen = torch.load(tmp_path / f"exp/models/model_{best['epoch']}.pt", weights_only=True)
    kept = torch.load(tmp_path / "exp/models/best_model.pt", weights_only=True)
    assert all(torch.equal(chosen[name], kept[name]) for name in chosen)
    assert list((tmp_path / "exp/tensorboard").iterdir())


def test_recordings_held_in_memory_train_to_the_same_weights(experiment, tmp_path):
    weights = []
    for cache in ("none", "memory"):
        exp_dir = str(tmp_path / cache)
        for epochs in (1, 3):  # the second goes on from the first
            (tmp_path / cache / "models").mkdir(parents=True, exist_ok=True)
            trainer = experiment(num_epochs=epochs, exp_dir=exp_dir, dataset_args__cache=cache,
                                 scheduler_args__final_lr=0.01)
            trainer.fit()
        weights.append(torch.load(tmp_path / cache / "models/model_3.pt", weights_only=True))
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())
    sources = trainer.loader._source, trainer.validator.loader._dataset.source
    assert [source._memory.held for source in sources] == [24, 8]


def test_the_summary_at_the_start_counts_an_encoder_that_is_not_trained(experiment):
    ssl = {"upstream_args": {"name": "wavlm_tiny"}, "frozen": True}
    trainer = experiment(dataset_args__frontend="ssl", dataset_args__ssl_args=ssl)
    detector = trainer.detector
    text = describe(trainer.config, detector, Labels(("bonafide", "spoof"), (12, 36)), trainer.world)
    assert "frozen training, 1 rank on cpu" in text and "classes   bonafide 12 (25.0 %), spoof 36 (75.0 %)" in text
    frontend, backend = (next(line for line in text.splitlines() if line.startswith(f"  {part}"))
                         for part in ("front-end", "back-end"))
    assert f"{parameters(detector.frontend) / 1e6:9.3f} M parameters,     0.000 M trained" in frontend
    assert f"{parameters(detector.backend, trained_only=True) / 1e6:9.3f} M trained" in backend
    assert f"{multiply_adds(detector) / 1e9:.3f} G multiply-adds for 2 s" in text


def test_a_nan_loss_names_the_batch_and_keeps_the_checkpoint(experiment, tmp_path):
    trainer = experiment(num_epochs=1)
    trainer.fit()
    before = (tmp_path / "exp/models/last.ckpt").read_bytes()
    trainer = experiment(num_epochs=2)
    with torch.no_grad():
        trainer._resume()
        trainer._resume = lambda: None
        next(trainer.detector.projection.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match=r"the loss is nan in epoch 2 on the batch with train_\d{4}, "):
        trainer.fit()
    assert (tmp_path / "exp/models/last.ckpt").read_bytes() == before


@pytest.mark.parametrize("accum_grad", [1, 2])
def test_a_nan_gradient_is_told_with_the_files_that_it_came_from(experiment, monkeypatch, accum_grad):
    """Its loss was finite: NaN was first the loss of the batch after it, which alone was named."""
    trainer, seen = experiment(accum_grad=accum_grad), []
    train_batch, step = trainer._train_batch, trainer.optimizer.step

    def poisoned():
        next(p for p in trainer.clipped if p.grad is not None).grad.fill_(float("nan"))
        step()

    monkeypatch.setattr(trainer, "_train_batch", lambda batch: (seen.append(batch.keys), train_batch(batch))[1])
    monkeypatch.setattr(trainer.optimizer, "step", poisoned)
    with pytest.raises(InputError) as told:
        trainer.fit()
    *culprits, after = (", ".join(keys) for keys in seen[:accum_grad + 1])
    assert f"the loss is nan in epoch 1 on the batch with {after}; " in str(told.value)
    assert f"those of the step before, whose gradient may have been no number: {', '.join(culprits)}" in str(told.value)


@pytest.mark.parametrize("bad", ["gradient", "state of the optimiser"])
@pytest.mark.parametrize("place", ["between epochs", "within one"])
def test_what_is_no_number_after_a_step_with_a_finite_loss_replaces_no_checkpoint(experiment, tmp_path, place, bad):
    trainer = experiment(num_epochs=2, val_data=None, monitor="train_loss", save_step_interval=1)
    step, last = trainer.optimizer.step, trainer.steps_per_epoch + (trainer.steps_per_epoch if place == "between epochs"
                                                                    else 2)

    def poisoned():
        parameter = next(p for p in trainer.clipped if p.grad is not None)
        if bad == "gradient" and trainer.step == last - 1:
            parameter.grad[0] = float("nan")
        step()
        if bad != "gradient" and trainer.step == last - 1:
            trainer.optimizer.state[parameter]["exp_avg_sq"][0] = float("inf")

    trainer.optimizer.step = poisoned
    with pytest.raises(InputError, match=f"NaN or infinite values after {last} steps, in epoch 2; .*set grad_clip"):
        trainer.fit()
    assert checkpoint.load(tmp_path / "exp/models/last.ckpt")["step"] == last - 1
    resumed = experiment(num_epochs=2, val_data=None, monitor="train_loss", save_step_interval=1)
    resumed.fit()
    assert resumed.epoch == 2


def test_what_is_no_number_after_the_last_step_of_an_epoch_is_not_validated(experiment):
    """It had ended in validation, which found no number in its logits and told neither step nor cure."""
    trainer = experiment()
    step = trainer.optimizer.step

    def poisoned():
        if trainer.step == trainer.steps_per_epoch - 1:
            next(p for p in trainer.clipped if p.grad is not None).grad[0] = float("nan")
        step()

    trainer.optimizer.step = poisoned
    last = trainer.steps_per_epoch
    with pytest.raises(InputError, match=f"NaN or infinite values after {last} steps, in epoch 1; .*set grad_clip"):
        trainer.fit()


@pytest.mark.parametrize("changes, cures", [
    ({}, ["batch_size: 2 with accum_grad: 2", "sharding: full over several gpus", "dataset_args.num_frms under 40"]),
    ({"dataset_args__frontend": "ssl", "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}},
      "dataset_args__whole_utt": True, "accum_grad": 2},
     ["dataset_args.ssl_args.gradient_checkpointing: True", "batch_size: 2 with accum_grad: 4",
      "sharding: full over several gpus", "dataset_args.ssl_args.freeze_extractor: True",
      "filter_args.max_num_frames under 800"])])
def test_out_of_memory_names_the_batch_and_what_to_change(experiment, changes, cures):
    trainer = experiment(num_epochs=2, **changes)

    def full(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of "
                                     "79.10 GiB of which 1.20 GiB is free.")

    trainer.module.forward = full
    with pytest.raises(InputError) as error:
        trainer.fit()
    message = str(error.value)
    assert message.startswith("epoch 1: out of memory on a batch of 4 utterances x 0.")
    assert "(2.50 GiB more were asked for, 1.20 GiB are free)" in message and message.count(";") == len(cures) - 1
    for cure in cures:
        assert cure in message


def test_other_failures_of_a_step_are_told_as_they_are(experiment):
    trainer = experiment()
    for text, expected in (("put_ does not have a deterministic implementation, but you set 'torch.use", InputError),
                           ("a fault of ours", RuntimeError)):
        trainer.module.forward = lambda *_, text=text: (_ for _ in ()).throw(RuntimeError(text))
        with pytest.raises(expected) as error:
            trainer.fit()
        assert ("set deterministic: False" in str(error.value)) == isinstance(error.value, InputError)


def test_accumulated_batches_equal_one_large_batch(experiment, tmp_path):
    steady = {"num_epochs": 1, "optimizer": "SGD", "dataset_args__fbank_args__dither": 0.0, "val_data": None,
              "scheduler_args__initial_lr": 0.1, "scheduler_args__final_lr": 0.1}
    experiment(dataloader_args__batch_size=12, **steady).fit()
    large = torch.load(tmp_path / "exp/models/model_1.pt", weights_only=True)
    (tmp_path / "exp/models/last.ckpt").unlink()
    trainer = experiment(dataloader_args__batch_size=4, accum_grad=3, **steady)
    assert trainer.steps_per_epoch == 2
    trainer.fit()
    accumulated = torch.load(tmp_path / "exp/models/model_1.pt", weights_only=True)
    for name in large:
        torch.testing.assert_close(accumulated[name], large[name], atol=1e-6, rtol=1e-5)


def test_the_gradient_is_clipped_to_its_norm(experiment):
    trainer = experiment(grad_clip=1e-3, optimizer="SGD", num_epochs=1)
    norms = []
    step = trainer.optimizer.step

    def spy():
        norms.append(torch.stack([p.grad.norm() for p in trainer.clipped]).norm().item())
        step()

    trainer.optimizer.step = spy
    trainer.fit()
    assert norms and all(norm == pytest.approx(1e-3, rel=1e-3) for norm in norms)


def test_an_unreadable_list_ends_at_once_with_the_first_cause(experiment, tmp_path):
    (tmp_path / "bad.list").write_text("".join(
        json.dumps({"key": f"u{i}", "wav": f"missing/{i}.wav", "lab": ("bonafide", "spoof")[i % 2], "dur": 1.0}) + "\n"
        for i in range(50)))
    trainer = experiment(train_data=str(tmp_path / "bad.list"), val_data=None, dataloader_args__num_workers=1)
    with pytest.raises(InputError, match="missing/"):
        trainer.fit()


def test_a_recording_that_others_stand_in_for_is_named(experiment, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("wedefense.train.trainer.log.warning", lambda text, *values: said.append(text % values))
    listed = make_list(tmp_path, "many", utterances=120)
    gone = json.loads(listed.read_text().splitlines()[7])
    Path(gone["wav"]).unlink()
    experiment(num_epochs=1, train_data=str(listed)).fit()
    assert said[-1] == (f"epoch 1: 1 utterance could not be used, others stand in: {gone['key']}: no such file: "
                        f"{gone['wav']}")


def test_early_stopping_without_validation_needs_the_training_loss(experiment, tmp_path):
    with pytest.raises(InputError, match="monitor: train_loss"):
        experiment(val_data=None, early_stop_patience=1)
    experiment(val_data=None, early_stop_patience=1, monitor="train_loss", num_epochs=20,
               scheduler_args__initial_lr=1e-12, scheduler_args__final_lr=1e-12).fit()
    assert len(json.loads((tmp_path / "exp/history.json").read_text())["rows"]) < 20


def test_early_stopping_on_the_loss_of_dev(experiment, tmp_path):
    trainer = experiment(num_epochs=20, early_stop_patience=3, monitor="loss")
    losses = iter([0.9, 0.7, 0.8, 0.75, 0.71, 0.1])
    trainer.validator = lambda detector, criterion: {"loss": next(losses)}
    trainer.fit()
    history = json.loads((tmp_path / "exp/history.json").read_text())
    assert len(history["rows"]) == 5 and history["best"] == {"epoch": 2, "metric": "val_loss", "value": 0.7}


def test_a_training_that_stopped_early_says_why_it_does_not_go_on(experiment, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("wedefense.train.trainer.log.warning", lambda text, *values: said.append(text % values))
    changes = {"early_stop_patience": 1, "monitor": "train_loss", "val_data": None, "num_epochs": 9,
               "scheduler_args__initial_lr": 1e-12, "scheduler_args__final_lr": 1e-12, "dataset_args__cmvn": False}
    first = experiment(**changes)
    first.fit()
    assert first.stopped and not said
    again = experiment(**changes | {"num_epochs": 20})
    again.fit()
    assert again.epoch == first.epoch and said == [
        f"{tmp_path / 'exp'}: stopped early after epoch {first.epoch} (early_stop_patience: 1), and does not go on; to "
        "train on from these weights: --fork DIR"]


def test_a_checkpoint_of_another_architecture_names_the_first_tensor(experiment, tmp_path):
    experiment(num_epochs=1).fit()
    with pytest.raises(InputError, match=r"last.ckpt: tensor '.*' has shape"):
        experiment(num_epochs=2, model_args__embed_dim=24).fit()


def test_weights_alone_are_not_resumed_from(experiment, tmp_path):
    experiment(num_epochs=1).fit()
    with pytest.raises(InputError, match="use --model_init"):
        experiment(checkpoint=str(tmp_path / "exp/models/model_1.pt")).fit()


def test_what_classes_weigh_in_the_loss_is_kept_beside_how_often_they_came(experiment, tmp_path):
    trainer = experiment(num_epochs=1, loss_args__weight={"spoof": 0.1, "bonafide": 0.9})
    assert trainer.validator.labels == trainer.labels and trainer.labels.log_priors == pytest.approx(np.log([0.9, 0.1]))
    trainer.fit()
    assert (tmp_path / "exp/label2id").read_text() == "bonafide 0 12 0.9\nspoof 1 12 0.1\n"


def test_a_batch_of_one_utterance_names_what_needs_more(experiment):
    trainer = experiment(projection_args__project_type="softmax", dataloader_args__batch_size=1)
    with pytest.raises(InputError, match="epoch 1: batch norm needs more than one .*batch_size to 2"):
        trainer.fit()


def test_a_speaker_at_another_speed_is_a_new_class_and_a_spoof_is_not(experiment, tmp_path):
    trainer = experiment(dataset_args__speed_perturb=True, train_label=str(tmp_path / "train/utt2lab"))
    assert trainer.detector.projection.num_classes == 2
    speakers = [line.split()[0] for line in (tmp_path / "train/utt2lab").read_text().splitlines()]
    (tmp_path / "utt2spk").write_text("".join(f"{key} spk{i % 4}\n" for i, key in enumerate(speakers)))
    speaker = {"dataset_args__speed_perturb": True, "train_label": str(tmp_path / "utt2spk"), "val_data": None,
               "num_epochs": 2}
    trainer = experiment(**speaker)
    assert trainer.detector.projection.num_classes == 12
    trainer.fit()
    assert "spk3@speed2" in (tmp_path / "exp/label2id").read_text()


def test_frontend_modules_name_modules_or_single_parameters(experiment):
    trainer = experiment(scheduler_args__frontend_modules=["backend.linear.bias", "projection"],
                         scheduler_args__frontend_lr_ratio=0.1)
    named = {id(parameter): name for name, parameter in trainer.detector.named_parameters()}
    names = {group["name"]: {named[id(p)] for p in group["params"]} for group in trainer.optimizer.param_groups}
    assert names == {"backend": {"backend.linear.weight"},
                     "frontend": {"backend.linear.bias", "projection.linear.weight", "projection.linear.bias"}}


def test_large_margin_fine_tuning(experiment, tmp_path):
    """Recorded speed alone, the final margin at once, no penalty of the closest classes."""
    train = make_list(tmp_path)
    keys = [json.loads(line)["key"] for line in train.read_text().splitlines()]
    (tmp_path / "utt2spk").write_text("".join(f"{key} spk{i % 4}\n" for i, key in enumerate(keys)))
    speaker = {"dataset_args__speed_perturb": True, "train_label": str(tmp_path / "utt2spk"), "val_data": None,
               "projection_args": {"project_type": "arc_margin_intertopk_subcenter", "K": 2}, "num_epochs": 1}
    first = experiment(**speaker)
    first.fit()
    assert first.detector.projection.num_classes == 12 and first.detector.projection.k_top == 5
    start = str(tmp_path / "exp/models/model_1.pt")
    trainer = experiment(do_lm=True, model_init=start, margin_update={"final_margin": 0.5}, **speaker)
    head = trainer.detector.projection
    assert head.num_classes == 4 and head.k_top == 0 and not any("@" in name for name in trainer.labels.names)
    assert torch.equal(head.weight, first.detector.projection.weight[:8])  # two centres for each of four
    trainer._before_step()
    assert head.margin == 0.5 and first.detector.projection.margin == 0
