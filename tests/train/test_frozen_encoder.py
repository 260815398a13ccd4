"""Checkpoints of a training over a frozen encoder hold what is trained, and are whole again when they are read."""

import shutil

import numpy as np
import pytest
import torch

from tests.corpus import make_list, write_config
from tests.detect.experiments import wave
from tests.train.test_ranks import run
from wedefense import load_detector
from wedefense.bin.average import main as average
from wedefense.config.loader import load_config, save_config
from wedefense.detect.share import write_folder
from wedefense.experiment import checkpoint, frozen
from wedefense.experiment.folder import ExperimentFolder
from wedefense.models.detector import own_weights, public_weights
from wedefense.train.run import build_trainer
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError

ALONE = World(0, 1, 0, torch.device("cpu"))


def config_of(folder, **changes):
    ssl = {"upstream_args": {"name": changes.pop("name", "wavlm_tiny")}, "frozen": True, **changes.pop("ssl", {})}
    return load_config(write_config(
        folder, train_data=str(make_list(folder, utterances=8)), val_data=str(make_list(folder, "dev", utterances=6)),
        dataset_args__frontend="ssl", dataset_args__num_frms=20, dataset_args__ssl_args=ssl,
        model="SSL_BACKEND_MHFA", model_args={"embed_dim": 8, "head_nb": 2, "compression_dim": 8}, **{
            "dataloader_args__num_workers": 0, "num_epochs": 2, **changes}))


def trained(folder, **changes) -> ExperimentFolder:
    config = config_of(folder, **changes)
    into = ExperimentFolder(config.exp_dir)
    into.models.mkdir(parents=True, exist_ok=True)
    save_config(config, into.config)
    build_trainer(config, ALONE).fit()
    return into


def test_sizes_and_wholes(tmp_path):
    into = trained(tmp_path)
    whole = config_of(tmp_path)
    expected = public_weights(build_trainer(whole, ALONE).detector)
    encoder = {name for name in expected if name.startswith("frontend.upstream.")}
    own = checkpoint.trained_part(into.epoch(2))
    assert set(own) == set(expected) - encoder | {frozen.FINGERPRINT, frozen.SOURCE}
    assert frozen.source_of(own) == "wavlm_tiny" and not encoder & set(checkpoint.load(into.last)["weights"])
    place = into.frozen(frozen.mark_of(own))
    assert [path.name for path in into.models.glob("frozen_*")] == [place.name]
    for path in (into.epoch(1), into.epoch(2), into.best, into.last):
        assert path.stat().st_size < 0.2 * place.stat().st_size, path
        assert set(checkpoint.load_model(path)) == set(expected)
    average(["--config", str(into.config)])
    mean = checkpoint.load(into.average)
    assert set(mean) == set(expected) and all(torch.equal(mean[name], expected[name]) for name in encoder)


def test_what_was_trained_scores_from_every_file(tmp_path):
    """The average, an epoch, a shared folder, and an epoch whose encoder is made again from the config."""
    into, wav = trained(tmp_path, num_avg=1), wave(1.0)
    average(["--config", str(into.config)])
    expected = load_detector(into).score(wav, 16000).llr
    assert load_detector(into, weights=into.epoch(2)).score(wav, 16000).llr == expected
    write_folder(load_detector(into), tmp_path / "shared")
    assert load_detector(tmp_path / "shared").score(wav, 16000).llr == pytest.approx(expected, abs=1e-5)
    for path in into.models.glob("frozen_*"):
        path.unlink()
    assert load_detector(into, weights=into.epoch(2)).score(wav, 16000).llr == expected
    with pytest.raises(InputError, match=r"not its frozen encoder \(from wavlm_tiny\), which should lie in .*frozen_"):
        checkpoint.load_model(into.epoch(2))


def test_another_frozen_encoder_is_refused(tmp_path):
    into, other = trained(tmp_path / "a"), trained(tmp_path / "b", name="hubert_tiny")
    mark = frozen.mark_of(checkpoint.trained_part(into.epoch(2)))
    shutil.copy(next(other.models.glob("frozen_*")), into.frozen(mark))
    with pytest.raises(InputError, match=f"over a frozen encoder of fingerprint {mark[:12]} .from wavlm_tiny., but "):
        checkpoint.load_model(into.epoch(2))
    again = trained(tmp_path / "c")
    config = config_of(tmp_path / "c", num_epochs=3, name="wavlm_tiny")
    trainer = build_trainer(config, ALONE)
    with torch.no_grad():  # another file under the same name
        next(trainer.detector.frontend.upstream.parameters()).add_(1e-4)
    with pytest.raises(InputError, match="last.ckpt: was trained over a frozen encoder of fingerprint"):
        trainer.fit()
    assert again.last.is_file()


def goes_on_to_the_same_bits(folder, **changes):
    """Interrupted after its third batch and started again, a training ends with the weights of an undisturbed one."""
    whole = trained(folder, **changes)
    config = config_of(folder, save_step_interval=1, exp_dir=str(folder / "parts"), **changes)
    (folder / "parts/models").mkdir(parents=True)
    trainer = build_trainer(config, ALONE)
    seen = []

    def stop_after_the_third(batch, train=trainer._train_batch):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(train(batch))
        return seen[-1]

    trainer._train_batch = stop_after_the_third
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    build_trainer(config, ALONE).fit()
    expected, found = (checkpoint.load(into.epoch(2)) for into in (whole, ExperimentFolder(config.exp_dir)))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path):
    goes_on_to_the_same_bits(tmp_path)


def test_files_that_hold_everything_still_load(tmp_path):
    """As they were written before."""
    into, wav = trained(tmp_path, num_avg=1), wave(1.0)
    average(["--config", str(into.config)])
    expected = load_detector(into).score(wav, 16000).llr
    state = checkpoint.load(into.last)
    state["weights"] = checkpoint.load_model(into.last)
    checkpoint.save(into.last, state)
    checkpoint.save(into.epoch(1), checkpoint.load_model(into.epoch(2)))
    checkpoint.save(into.epoch(2), checkpoint.load_model(into.epoch(2)))
    for path in into.models.glob("frozen_*"):
        path.unlink()
    average(["--config", str(into.config)])
    assert load_detector(into).score(wav, 16000).llr == expected
    trainer = build_trainer(config_of(tmp_path, num_epochs=3), ALONE)
    trainer.fit()
    assert trainer.epoch == 3 and len(trainer.history) == 3


def test_what_is_trained_stays_whole(tmp_path):
    into = trained(tmp_path, ssl={"frozen": False}, num_epochs=1)
    weights = checkpoint.load(into.epoch(1))
    assert frozen.mark_of(weights) is None and not list(into.models.glob("frozen_*"))
    assert any(name.startswith("frontend.upstream.") for name in weights)
    detector = build_trainer(config_of(tmp_path, ssl={"frozen": False}), ALONE).detector
    assert detector.state_dict().keys() == own_weights(weights).keys()


def test_an_encoder_whose_statistics_move_is_not_left_out(tmp_path):
    """A Conformer's batch norms follow the batches where frozen_dropout lets it train along."""
    from tests.frontend.nemo import write_nemo
    from wedefense.config.loader import load_config as load
    from wedefense.models.detector import build_detector

    path = write_nemo(tmp_path / "tiny.nemo")
    for moving in (False, True):
        config = load(write_config(tmp_path, dataset_args__frontend="conformer", dataset_args__conformer_args={
            "upstream_args": {"name": str(path)}, "frozen": True, "frozen_dropout": moving}))
        names = frozen.frozen_names(build_detector(config, 2))
        assert bool(names) is not moving and (moving or any(name.endswith("running_mean") for name in names))


@pytest.mark.parametrize("average_by, kept", [("last", {3, 4}), ("best", None)])
def test_only_so_many_epochs_are_kept(tmp_path, average_by, kept):
    changes = {"num_avg": 2, "average": average_by, "keep_last": 2, "num_epochs": 4}
    into = trained(tmp_path, **changes)
    epochs = set(into.epochs())
    if kept is None:  # the two best are wanted, and the last two
        rows = load_history(into)
        best = set(sorted(rows, key=rows.get)[:2])
        kept = best | {3, 4}
    assert epochs == kept and into.best.is_file() and into.last.is_file()
    average(["--config", str(into.config)])
    assert np.isfinite(load_detector(into).score(wave(1.0), 16000).llr)
    with pytest.raises(InputError, match=r"keep_last: must be at least num_avg \(2\)"):
        config_of(tmp_path / "few", num_avg=2, keep_last=1)


def load_history(into: ExperimentFolder) -> dict[int, float]:
    import json

    rows = json.loads(into.history.read_text())["rows"]
    return {row["epoch"]: row["val_min_dcf"] for row in rows}


def test_ranks_that_share_a_training_leave_it_out_too(tmp_path):
    """Replicated and in shares: two epochs, the second in another start."""
    sizes = {}
    for sharding in ("none", "full"):
        folder = tmp_path / sharding
        config = write_config_of(folder, sharding)
        for epochs in ("1", "2"):
            done = run(2, "-m", "wedefense.bin.train", "--config", config, "--num_epochs", epochs,
                       "--scheduler_args.final_lr", "0.01")
            assert done.returncode == 0, done.stderr
        into = ExperimentFolder(folder / "exp")
        assert "resumed from" in into.log.read_text()
        whole = checkpoint.load_model(into.epoch(2))
        sizes[sharding] = {name: tensor.shape for name, tensor in whole.items()}
        assert into.epoch(2).stat().st_size < 0.2 * next(into.models.glob("frozen_*")).stat().st_size
    assert sizes["none"] == sizes["full"] and any(name.startswith("frontend.upstream.") for name in sizes["none"])


def write_config_of(folder, sharding: str):
    folder.mkdir()
    config_of(folder, gpus=[0, 1], sharding=sharding, dataloader_args__batch_size=2, scheduler_args__initial_lr=0.01)
    return folder / "config.yaml"
