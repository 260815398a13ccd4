"""A training goes on with what changes no number, and with nothing else; a refusal leaves everything untouched."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.corpus import make_list, write_config
from tests.train.test_ranks import run
from wedefense.bin import train
from wedefense.config.loader import load_config
from wedefense.config.typed import to_builtin
from wedefense.data.augment.recordings import pack
from wedefense.experiment import lineage
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.lineage import FREE, settings
from wedefense.experiment.provenance import provenance, sentence
from wedefense.experiment.record import changes, is_fingerprint
from wedefense.report.sections import training
from wedefense.train.trainer import Trainer
from wedefense.utils.errors import InputError
from wedefense.utils.owner import owned
from wedefense.utils.tables import write_table


def content(folder: Path) -> dict:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two of three epochs: a training that was stopped in between, its data, and what asks for it again."""
    root = tmp_path_factory.mktemp("goes_on")
    lists = {"train_data": str(make_list(root, utterances=8, seconds=0.3)),
             "val_data": str(make_list(root, "dev", utterances=4, seconds=0.3))}
    config = write_config(root, num_epochs=3, dataset_args__num_frms=20, dataloader_args__num_workers=0,
                          optimizer_args={"weight_decay": 0.01}, **lists)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        save = Trainer._save_history

        def stop(self):
            save(self)
            if self.epoch == 2:
                raise KeyboardInterrupt

        patch.setattr(Trainer, "_save_history", stop)
        train.main(["--config", str(config), "--device", "cpu"])
    return root, content(root)


@pytest.fixture
def again(trained):
    """A function that asks for the training again, and another for what became of the folder."""
    root, before = trained
    for path in (path for path in root.rglob("*") if path.is_file()):
        if path.relative_to(root).as_posix() not in before:
            path.unlink()
    for name, data in before.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root, lambda *overrides: train.main(["--config", str(root / "config.yaml"), "--device", "cpu", *overrides])


NUMBERS = {
    "seed": (8, "seed 7 -> 8"), "dataloader_args.batch_size": (2, "dataloader_args.batch_size 4 -> 2"),
    "scheduler_args.initial_lr": (0.02, "scheduler_args.initial_lr 0.01 -> 0.02"),
    "scheduler": ("TriAngular2", "scheduler ExponentialDecrease -> TriAngular2"),
    "dataset_args.num_frms": (30, "dataset_args.num_frms 20 -> 30"), "grad_clip": (1.0, "grad_clip 0.0 -> 1.0"),
    "optimizer": ("Adam", "optimizer AdamW -> Adam"), "accum_grad": (2, "accum_grad 1 -> 2"),
    "optimizer_args.weight_decay": (0.1, "optimizer_args.weight_decay 0.01 -> 0.1"),
    "loss_args.weight": ("{spoof: 2.0, bonafide: 1.0}", "loss_args.weight"),
    "enable_amp": (True, "precision auto -> bfloat16"), "num_epochs": (2, "num_epochs 3 -> 2 (the schedule spreads"),
    "model_args.embed_dim": (8, "model_args.embed_dim 16 -> 8"), "dataset_args.aug_prob": (0.5, "aug_prob 0.0 -> 0.5"),
    "monitor": ("loss", "monitor eer -> loss"), "dataset_args.fbank_args.dither": (0.5, "dither 1.0 -> 0.5"),
    "val_data": ("null", "val_data"), "optimizer ": ("SGD", "optimizer AdamW -> SGD")}


@pytest.mark.parametrize("key", NUMBERS)
def test_what_changes_a_number_is_refused_by_its_name(again, key):
    root, ask = again
    before, (value, told) = content(root), NUMBERS[key]
    with pytest.raises(InputError) as error:
        ask(f"--{key.strip()}", str(value))
    assert told in str(error.value) and "--fork" in str(error.value) and "--exp_dir" in str(error.value)
    assert content(root) == before


def test_every_difference_is_named_at_once(again):
    _, ask = again
    with pytest.raises(InputError, match="seed 7 -> 8; .*grad_clip 0.0 -> 2.0; .*batch_size 4 -> 3"):
        ask("--seed", "8", "--grad_clip", "2", "--dataloader_args.batch_size", "3")


@pytest.mark.parametrize("change, told", [
    (lambda root: (root / "train/raw.list").write_text(
        "".join(reversed((root / "train/raw.list").read_text().splitlines(keepends=True)))),
     "train_data.utterances changed"),
    (lambda root: (root / "dev/dev_0001.wav").write_bytes((root / "dev/dev_0003.wav").read_bytes()),
     "val_data.audio changed")])
def test_other_data_under_the_same_names_are_refused(again, change, told):
    root, ask = again
    change(root)
    before = content(root / "exp")
    with pytest.raises(InputError, match=told):
        ask()
    assert content(root / "exp") == before


def test_values_with_numbers_for_names_go_on(again):
    """A record keeps every name as text."""
    root, ask = again
    keys = [line.split()[0] for line in (root / "train/utt2lab").read_text().splitlines()]
    write_table(root / "train/utt2fold", {key: number % 2 for number, key in enumerate(keys)})
    drawn = ["--exp_dir", str(root / "folds"), "--dataset_args.sampling", "[{column: fold, weights: {0: 3, 1: 1}}]",
             "--scheduler_args.final_lr", "0.01", "--num_epochs"]
    for epochs in ("1", "2"):
        ask(*drawn, epochs)
    assert ExperimentFolder(root / "folds").epochs() == [1, 2]


def test_the_same_call_goes_on_after_it_resumed_from_a_checkpoint_elsewhere(again):
    root, ask = again
    call = ["--exp_dir", str(root / "moved"), "--checkpoint", str(root / "exp/models/last.ckpt")]
    steps = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        save = Trainer._save_last

        def stop(self):
            save(self)
            raise KeyboardInterrupt

        patch.setattr(Trainer, "_save_last", stop)
        ask(*call, "--save_step_interval", "1")
    with pytest.MonkeyPatch.context() as patch:
        step = Trainer._train_batch
        patch.setattr(Trainer, "_train_batch", lambda self, batch: steps.append(self.step) or step(self, batch))
        ask(*call)
    assert steps == [5]  # of 4 in two epochs, 1 before it was stopped, 6 in all
    assert "resumed from" in (root / "moved/train.log").read_text()
    ask(*call)
    assert steps == [5]
    other = root / "exp/models/other.ckpt"
    other.write_bytes((root / "exp/models/last.ckpt").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_train_batch", lambda self, batch: steps.append(self.step) or step(self, batch))
        ask("--exp_dir", str(root / "moved"), "--checkpoint", str(other))
    assert steps == [5, 4, 5]  # another one is what was asked for
    assert json.loads((root / "moved/training.json").read_text())["checkpoint"] == str(other)


def noises_in(place: Path, level: float) -> str:
    """Recordings of noise in a folder, a table or a tar, as the name says."""
    folder = place.parent / "sounds"
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "noise-1.wav", level * np.random.default_rng(0).standard_normal(4000), 16000)
    if place.suffix == ".tar":
        pack(folder, place)
    elif place.suffix == ".scp":
        place.write_text(f"noise-1 {folder}/noise-1.wav\n")
    else:
        place = folder
    return str(place)


@pytest.mark.parametrize("place", ["sounds", "noise.scp", "noise.tar"])
@pytest.mark.parametrize("how", [
    lambda place: {"noise_data": place, "dataset_args__aug_prob": 1.0},
    lambda place: {"dataset_args__noise_args": {"data": place}, "dataset_args__aug_prob": 1.0},
    lambda place: {"dataset_args__augment": [{"type": "one_of", "steps": [{"type": "noise", "data": place}]}]}])
def test_recordings_to_augment_with_count_wherever_they_are_named_and_lie(tmp_path, place, how):
    train_data = str(make_list(tmp_path, utterances=4))
    config = load_config(write_config(tmp_path, train_data=train_data, **how(noises_in(tmp_path / place, 0.1))))
    before = lineage.training(config, 1).inputs
    assert lineage.training(config, 1).inputs == before
    noises_in(tmp_path / place, 0.2)
    changed = changes(before, lineage.training(config, 1).inputs)
    assert len(changed) == 1 and is_fingerprint(changed[0].new), changed


def test_a_table_of_speakers_to_draw_by_counts(tmp_path):
    path = make_list(tmp_path, utterances=4)
    config = load_config(write_config(tmp_path, train_data=str(path), dataset_args__sampling=[{"column": "speaker"}]))
    held = []
    for speakers in ("abab", "aabb"):
        write_table(path.parent / "utt2spk", {f"train_{number:04d}": one for number, one in enumerate(speakers)})
        held.append(lineage.trained_on(config))
    assert str(*changes(*held)) == "utt2spk changed"


@pytest.mark.parametrize("resolutions", [[], [20]])
def test_spans_count_where_they_are_trained_on(tmp_path, resolutions):
    path = make_list(tmp_path, utterances=4)
    config = load_config(write_config(tmp_path, train_data=str(path), localization_args={"resolutions": resolutions}))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = []
    for end in (0.1, 0.2, None):
        spans = {} if end is None else {"spans": [[0.0, end, "spoof"], [end, lines[0]["dur"], "bonafide"]]}
        path.write_text("".join(json.dumps(line | spans) + "\n" for line in lines))
        kept.append(lineage.training_data(config)["train_data"])
    spans = [data.pop("spans", None) for data in kept]
    assert kept[0] == kept[1] == kept[2] and len(set(spans)) == (3 if resolutions else 1)


def test_another_number_of_ranks_is_refused(again, monkeypatch):
    from wedefense.experiment import resume

    _, ask = again
    real = resume.settle
    monkeypatch.setattr("wedefense.train.run.settle", lambda config, ranks: real(config, 2))
    with pytest.raises(InputError, match=r"ranks 1 -> 2 \(batches, .* are those of 1; as many go on: --gpus '\[0\]'"):
        ask()


def test_a_finished_training_is_left_to_any_number_of_ranks(again, monkeypatch):
    """A recipe called again on a machine with fewer GPUs goes on to the stages that score."""
    from wedefense.experiment import resume

    root, ask = again
    ask()
    before, real = content(root / "exp"), resume.settle
    monkeypatch.setattr("wedefense.train.run.settle", lambda config, ranks: real(config, 2))
    ask()
    assert content(root / "exp") == before
    folder = ExperimentFolder(root / "exp")
    state = torch.load(folder.last, weights_only=False)
    torch.save(state | {"random": state["random"] * 2, "sums": state["sums"] * 2}, folder.last)
    ask()
    with pytest.raises(InputError, match="seed 7 -> 8"):
        ask("--seed", "8")


def test_another_number_of_ranks_is_refused_without_a_record_too(again):
    """In the middle of an epoch two ranks have heard twice as much as one, which would hear half of it again."""
    root, ask = again
    folder = ExperimentFolder(root / "exp")
    folder.training.unlink()
    state = torch.load(folder.last, weights_only=False)
    state["random"], state["sums"] = state["random"] * 2, state["sums"] * 2
    torch.save(state, folder.last)
    with pytest.raises(InputError, match=r"exp: its weights were trained otherwise: ranks 2 -> 1 .* --gpus '\[0,1\]'"):
        ask()


def test_what_changes_none_goes_on_to_the_same_weights(again, tmp_path):
    root, ask = again
    train.main(["--config", str(root / "config.yaml"), "--device", "cpu", "--exp_dir", str(tmp_path / "whole")])
    ask("--dataloader_args.num_workers", "1", "--log_batch_interval", "1", "--num_avg", "1", "--save_step_interval",
        "1", "--dataset_args.cache", "memory")
    weights, whole = (torch.load(folder / "models/model_3.pt", weights_only=True)
                      for folder in (root / "exp", tmp_path / "whole"))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights.items())


def test_more_epochs_where_the_schedule_does_not_span_them(tmp_path):
    config = write_config(tmp_path, num_epochs=1, dataloader_args__num_workers=0, dataset_args__num_frms=20,
                          train_data=str(make_list(tmp_path, utterances=8)), scheduler_args__final_lr=0.01)
    ask = ["--config", str(config), "--device", "cpu"]
    train.main(ask)
    train.main([*ask, "--num_epochs", "2"])
    rows = json.loads((tmp_path / "exp/history.json").read_text())["rows"]
    assert [row["epoch"] for row in rows] == [1, 2] and "num_epochs: 2" in (tmp_path / "exp/config.yaml").read_text()
    with pytest.raises(InputError, match="num_epochs 2 -> 1"):
        train.main([*ask, "--num_epochs", "1"])


def test_a_fork_begins_anew_from_these_weights(again, tmp_path):
    root, ask = again
    before = content(root / "exp")
    ask("--seed", "8", "--num_epochs", "1", "--fork", str(tmp_path / "fork"))
    assert content(root / "exp") == before
    record = json.loads((tmp_path / "fork/training.json").read_text())["inputs"]
    assert record["seed"] == 8 and record["model_init"]
    assert re.match(r"trained for 1 of 1 epochs, from the weights of \S*model_2\.pt, seed 8", sentence(
        provenance(tmp_path / "fork")))
    made = provenance(tmp_path / "fork")["trained_on"]
    assert made == {"utterances": 8, "classes": 2, "hours": made["hours"], "by_class": {"bonafide": 4, "spoof": 4}}
    assert f"from a list of 8 utterances, {made['hours']:.3g} h: 4 bonafide, 4 spoof." in training(
        ExperimentFolder(tmp_path / "fork"))
    assert "weights start from" in (log := (tmp_path / "fork/train.log").read_text()) and "model_2.pt" in log
    with pytest.raises(InputError, match="no epoch to fork from; --exp_dir is the folder that has the weights"):
        train.main(["--config", str(root / "config.yaml"), "--exp_dir", str(tmp_path / "none"), "--fork", "x"])


def test_other_code_trains_on_and_is_told(again, monkeypatch, capsys):
    from wedefense.experiment import resume

    root, ask = again
    monkeypatch.setattr(resume, "of_sources", lambda: "f" * 24)
    monkeypatch.setattr(resume, "code_state", lambda: {"version": "9.9"})
    ask()
    code = json.loads((root / "exp/training.json").read_text())["code"]
    assert [state["from_epoch"] for state in code] == [1, 3] and code[1]["version"] == "9.9"
    assert "then 9.9 from epoch 3" in sentence(provenance(root / "exp"))
    assert "the code is another than what trained so far" in (
        root / "exp/train.log").read_text() + capsys.readouterr().err


def test_two_trainings_do_not_share_a_folder(again):
    root, ask = again
    with owned(root / "exp"):
        before = content(root / "exp")
        with pytest.raises(InputError, match="is being worked on by process"):
            ask()
        assert content(root / "exp") == before


def test_dev_labels_that_training_lacks_are_told_before_the_first_epoch(again, tmp_path):
    root, ask = again
    lines = (root / "dev/raw.list").read_text()
    for text, told in ((lines.replace('"spoof"', '"fake"'), r"labels that training lacks: 'fake' \(2 utterances\).* in "
                        "stage 2: --labels 'fake=spoof', or"),
                       (lines.replace('"spoof"', '"odd"'), r"labels that training lacks: 'odd' .* Mend the labels"),
                       (lines.replace('"spoof"', '"bonafide"'), "all 4 utterances are labelled bonafide"),
                       (lines.replace(', "lab": "spoof"', ""), r"labels that training lacks: none \(2 utterances\)")):
        (tmp_path / "dev.list").write_text(text)
        with pytest.raises(InputError, match=f"dev.list: {told}.*--val_data"):
            ask("--exp_dir", str(tmp_path / "new"), "--val_data", str(tmp_path / "dev.list"))
        assert not list(tmp_path.glob("new/models/*")) and not (tmp_path / "new/config.yaml").exists()


def test_every_key_is_free_or_compared(tmp_path):
    """A new key counts until somebody says that it does not."""
    config = load_config(write_config(tmp_path, localization_args={"resolutions": [20]}))
    keys, compared = to_builtin(config), settings(config)
    assert not [key for key in keys if key not in compared and key not in FREE]
    assert not [key for key in FREE if key.split(".")[0] not in keys]


def repeated(tmp_path, times: int, ranks: int) -> set[bytes]:
    """The weights of so many starts of one frozen-to-full training of an SSL encoder."""
    found, train_data = set(), str(make_list(tmp_path, utterances=8, seconds=0.3))
    for number in range(times):
        config = write_config(
            tmp_path, num_epochs=1, dataset_args__num_frms=10, dataloader_args__num_workers=0, train_data=train_data,
            exp_dir=str(tmp_path / str(number)), gpus=list(range(ranks)), dataset_args__frontend="ssl",
            dataset_args__ssl_args={"upstream_args": {"name": "wavlm_tiny", "pruning_units": "head,interm"}},
            use_pruning_loss=True, target_sparsity=0.3, dataloader_args__batch_size=4 // ranks)
        done = run(ranks, "-m", "wedefense.bin.train", "--config", config, "--device", "cpu")
        assert done.returncode == 0, done.stderr
        found.add((tmp_path / str(number) / "models/model_1.pt").read_bytes())
    return found


@pytest.mark.parametrize("ranks", [1, 2])
def test_starts_give_equal_bits(tmp_path, ranks):
    assert len(repeated(tmp_path, 2, ranks)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_twenty_starts_give_equal_bits(tmp_path, ranks):
    assert len(repeated(tmp_path, 20, ranks)) == 1
