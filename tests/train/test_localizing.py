"""A detector learns where utterances are fake, goes on as if it had not stopped, and is judged by the stages."""

import json

import numpy as np
import pytest
import soundfile
import torch

from tests.corpus import make_list, make_partial, write_config
from tests.train.test_ranks import run
from wedefense.bin import average, embed, logits, prune
from wedefense.bin.train import main as train
from wedefense.config.loader import load_config
from wedefense.detect.about import rows as about
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.experiment.arks import read_scp
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.load import load_experiment
from wedefense.metrics.segments import read_frame_scores
from wedefense.report.localization import heads_text, save_heads
from wedefense.scoring.segments import localize_sets
from wedefense.train.trainer import Trainer
from wedefense.utils.errors import InputError, OptionError

MHFA = {"model": "SSL_BACKEND_MHFA", "model_args": {"embed_dim": 16, "head_nb": 4, "compression_dim": 8},
        "dataset_args__fbank_args": {"num_mel_bins": 20, "dither": 0.0}, "dataloader_args__num_workers": 0,
        "localization_args": {"resolutions": [20, 160], "balance": True, "boundary_weight": 0.2},
        "monitor": "segment_eer", "scheduler_args__initial_lr": 0.03}


@pytest.fixture
def lists(tmp_path):
    return {"train_data": str(make_partial(tmp_path)), "val_data": str(make_partial(tmp_path, "dev", 12))}


def config_of(folder, lists, **changes):
    return str(write_config(folder, **{**lists, **MHFA, **changes}))


def weights(path):
    return torch.load(path, weights_only=True)


def test_it_learns_where_and_goes_on_exactly(lists, tmp_path, monkeypatch):
    path, options = config_of(tmp_path, lists, num_epochs=8), ["--device", "cpu", "--exp_dir"]
    train(["--config", path, *options, str(tmp_path / "whole")])
    history = json.loads((tmp_path / "whole/history.json").read_text())
    first, last = history["rows"][0], history["rows"][-1]
    assert {"val_segment_eer", "val_segment_eer_20", "val_segment_eer_160", "val_segment_loss_20", "val_eer",
            "segment_loss_160", "segment_accuracy_20", "boundary_loss"} <= last.keys()
    assert history["best"]["metric"] == "val_segment_eer" and history["best"]["value"] < 0.1
    assert last["val_segment_loss_20"] < 0.8 * first["val_segment_loss_20"]

    save, saved = Trainer._save_last, [0]

    def save_and_stop(self):
        save(self)
        saved[0] += 1
        if saved[0] == 9:  # in the second epoch
            raise KeyboardInterrupt

    again = ["--config", path, *options, str(tmp_path / "again"), "--save_step_interval", "1"]
    monkeypatch.setattr(Trainer, "_save_last", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train(again)
    monkeypatch.undo()
    train(again)
    whole, again = (weights(tmp_path / name / "models/model_8.pt") for name in ("whole", "again"))
    assert whole.keys() == again.keys() and any(name.startswith("localizer.heads.160") for name in whole)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_stages_score_and_judge_segments(lists, tmp_path):
    path, exp = config_of(tmp_path, lists, num_epochs=3), tmp_path / "exp"
    train(["--config", path, "--device", "cpu"])
    average.main(["--config", path])
    make_list(tmp_path, "plain", 6)  # nobody knows where
    sets = ["--exp_dir", str(exp), "--sets", "dev", "train", "plain"]
    data = [str(tmp_path / f"{name}/raw.list") for name in ("dev", "train", "plain")]
    for _ in range(2):
        embed.main([*sets, "--data", *data, "--device", "cpu"])
    found = localize_sets(ExperimentFolder(exp), tmp_path, ["dev", "train", "plain"], "dev", 20)
    where = found["train"]
    assert set(where) == {"20", "160"} and "plain" not in found
    assert set(where["20"]["rows"]) == {"0.02", "0.04", "0.08", "0.16", "0.32", "0.64", "time", "utterance"}
    assert {"eer", "f1", "dev_threshold"} <= where["20"]["rows"]["time"].keys()
    assert where["20"]["boundaries"] and "time" in where["20"]["confidence"]
    assert list(where["160"]["rows"]) == ["0.16", "time", "utterance"]
    told = {"sets": {name: {"localization": own} for name, own in found.items()}}
    assert heads_text(told).count("by the thresholds of these EERs the other sets are decided") == 2
    assert "train, head of 20 ms\nwhere" in heads_text(told) and "dev, head of 160 ms" in heads_text(told)

    assert save_heads(ExperimentFolder(exp), told) and "dev, head of 160 ms" in ExperimentFolder(exp).where.read_text()
    assert not save_heads(ExperimentFolder(exp), {"sets": {"dev": {}}}) and not ExperimentFolder(exp).where.exists()

    scores = read_frame_scores(exp / "embeddings/dev/segments_20ms.txt")
    detector = load_experiment(exp).detector
    for key in list(scores)[:3]:
        wav = torch.from_numpy(soundfile.read(tmp_path / f"dev/{key}.wav", dtype="float32")[0])[None]
        _, segments = detector.embed_and_locate(wav, [wav.shape[1]])
        alone = segments.scores(20)[0].detach().numpy()
        assert len(alone) == len(scores[key]) and np.abs(alone - scores[key]).max() < 1e-3


@pytest.mark.parametrize("how", ["min", "mean"])
def test_the_score_of_an_utterance_may_be_that_of_its_segments(lists, tmp_path, how):
    told = {"resolutions": [20], "utterance": how, "utterance_weight": 0.5}
    path = config_of(tmp_path, lists, num_epochs=2, localization_args=told)
    train(["--config", path, "--device", "cpu"])
    average.main(["--config", path])
    embed.main(["--exp_dir", str(tmp_path / "exp"), "--sets", "dev", "--data", lists["val_data"], "--device", "cpu"])
    logits.main(["--exp_dir", str(tmp_path / "exp"), "--sets", "dev"])
    scores = read_frame_scores(tmp_path / "exp/embeddings/dev/segments_20ms.txt")
    for key, row in zip(*read_scp(tmp_path / "exp/posteriors/dev/logits.scp")):
        assert row[0] - row[1] == pytest.approx(getattr(scores[key], how)(), abs=1e-3)


def test_what_segments_lack_is_told_before_training(lists, tmp_path):
    plain = str(make_list(tmp_path, "plain"))
    with pytest.raises(InputError, match="plain/raw.list: says of no utterance where it is fake"):
        train(["--config", config_of(tmp_path, lists, train_data=plain), "--device", "cpu"])
    with pytest.raises(InputError, match="monitor: 'segment_eer' needs to know where"):
        train(["--config", config_of(tmp_path, lists, val_data=plain), "--device", "cpu"])
    with pytest.raises(OptionError, match="SSL_BACKEND_MHFA"):
        train(["--config", config_of(tmp_path, lists, model="SSL_BACKEND_MEAN", model_args={"embed_dim": 8}),
               "--device", "cpu"])
    nothing = {"resolutions": [20], "utterance_weight": 0.0}
    with pytest.raises(OptionError, match="utterance_weight: nothing would train the head"):
        train(["--config", config_of(tmp_path, lists, localization_args=nothing), "--device", "cpu"])
    with pytest.raises(InputError, match="monitor: segment_eer is of a detector that localises"):
        load_config(config_of(tmp_path, lists, localization_args={}))
    with pytest.raises(InputError, match="set dataset_args.eval_frms: 0"):
        load_config(config_of(tmp_path, lists, dataset_args__eval_frms=50))
    records = [json.loads(line) for line in open(lists["val_data"])]
    for record in records:  # as if somebody had marked nothing
        record["spans"] = [[0, record["dur"], "bonafide"]]
    whole = tmp_path / "whole.list"
    whole.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    with pytest.raises(InputError, match="needs bona fide segments and fake ones"):
        train(["--config", config_of(tmp_path, lists, val_data=str(whole), exp_dir=str(tmp_path / "marked")),
               "--device", "cpu"])
    table = tmp_path / "attacks"
    keys = [line.split()[0] for line in (tmp_path / "train/utt2lab").read_text().splitlines()]
    table.write_text("".join(f"{key} A{number % 3}\n" for number, key in enumerate(keys)))
    told = {"resolutions": [20], "utterance": "min"}
    with pytest.raises(InputError, match="the classes are A0, A1, A2; set it to head"):
        train(["--config", config_of(tmp_path, lists, train_label=str(table), localization_args=told), "--device",
               "cpu"])


def assert_ran(ranks, module, *arguments):
    done = run(ranks, "-m", module, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["head", "min"])
def test_two_ranks(lists, tmp_path, how):
    told = {"resolutions": [20, 160], "utterance": how}
    path = config_of(tmp_path, lists, num_epochs=2, gpus=[0, 1], dataloader_args__batch_size=2, localization_args=told)
    assert_ran(2, "wedefense.bin.train", "--config", path, "--device", "cpu")
    assert "val_segment_eer_160" in json.loads((tmp_path / "exp/history.json").read_text())["rows"][-1]
    average.main(["--config", path])
    found = []
    for ranks in (2, 1):
        assert_ran(ranks, "wedefense.bin.embed", "--exp_dir", str(tmp_path / "exp"), "--sets", "dev", "--data",
            lists["val_data"], "--device", "cpu")
        found.append(read_frame_scores(tmp_path / "exp/embeddings/dev/segments_20ms.txt"))
        (tmp_path / "exp/embeddings/dev/source.json").unlink()
    assert list(found[0]) == list(found[1]) and not list((tmp_path / "exp/embeddings/dev").glob("*.part"))
    assert all(np.abs(found[0][key] - found[1][key]).max() < 1e-3 for key in found[0])


@pytest.mark.slow
def test_a_pruned_detector_still_says_where(lists, tmp_path):
    path = config_of(tmp_path, lists, num_epochs=2, num_avg=1, use_pruning_loss=True, target_sparsity=0.3,
                     sparsity_warmup_epochs=1, initial_reg_lr=0.2, scheduler_args__initial_lr=0.002,
                     dataset_args__frontend="ssl", dataset_args__num_frms=20, dataset_args__ssl_args={
                         "upstream_args": {"name": "wavlm_tiny", "pruning_units": "head,interm,ffnlayer"}})
    train(["--config", path, "--device", "cpu"])
    average.main(["--config", path])
    prune.main(["--exp_dir", str(tmp_path / "exp"), "--trust"])
    embed.main(["--exp_dir", str(tmp_path / "exp"), "--trust", "--sets", "dev", "--data", lists["val_data"], "--device",
                "cpu"])
    found = load_experiment(tmp_path / "exp", trust=True)
    assert found.weights.parent.parent.name == "pruned_model"
    assert about(LoadedDetector(found.detector, found.labels, found.weights))["segments"].startswith("of 20, 160 ms")
    scores = read_frame_scores(tmp_path / "exp/embeddings/dev/segments_160ms.txt")
    assert len(scores) == 12 and all(np.isfinite(row).all() for row in scores.values())
