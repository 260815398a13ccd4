"""What may change, times the stage from which one starts again: made again or refused, never old.

Whatever goes through must say what an experiment says that is made anew from the changed data, settings and code.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.corpus import make_list, make_partial
from tests.detect.experiments import SSL as TINY
from tests.detect.experiments import make_experiment, make_pruned
from tests.recipes.stages_here import PRUNED, SETS, SSL, Stages
from wedefense.bin import check
from wedefense.experiment import lineage
from wedefense.experiment.record import read
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table, write_table


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wedefense.report.write.write_report", lambda *arguments: None)
        yield


def made(tmp_path_factory, data_type: str, **changes) -> Stages:
    stages = Stages(tmp_path_factory.mktemp("stale"), data_type, **changes)
    stages.run(2)
    stages.keep()
    return stages


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return made(tmp_path_factory, "raw")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return made(tmp_path_factory, "shard")


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    return made(tmp_path_factory, "raw", **SSL, **PRUNED)


def turn(stages: Stages, name: str) -> None:
    """Every recording of a set backwards, of the same size and with the time it had."""
    turn_files((stages.data / name).glob("*.wav"))


def turn_files(paths) -> None:
    for path in sorted(paths):
        status, (wav, rate) = path.stat(), soundfile.read(path, dtype="int16")
        soundfile.write(path, np.ascontiguousarray(wav[::-1]), rate, subtype="PCM_16")
        assert path.stat().st_size == status.st_size
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit(path: Path, change) -> None:
    """A table with other lines, and the time it had."""
    status = path.stat()
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flip(lines: list[str]) -> list[str]:
    return [line.replace("spoof", "?").replace("bonafide", "spoof").replace("?", "bonafide") for line in lines]


def flip_one(lines: list[str]) -> list[str]:
    return flip(lines[:1]) + lines[1:]


def drop(stages: Stages, name: str) -> None:
    for table in ("wav.scp", "utt2lab"):
        edit(stages.data / name / table, lambda lines: lines[:-2])


def rewrite_shards(stages: Stages, name: str) -> None:
    """Other audio in the shards themselves, by a tool that knows nothing of their indices."""
    other = stages.root / "other"
    shutil.copytree(stages.data / name, other)
    for path in (stages.data / name).glob("*.wav"):
        wav, rate = soundfile.read(path, dtype="int16")
        soundfile.write(other / path.name, np.ascontiguousarray(wav[::-1]), rate, subtype="PCM_16")
    scp = other / "wav.scp"
    scp.write_text(scp.read_text().replace(f"/{name}/{name}_", f"/../other/{name}_"))
    from wedefense.bin.make_list import main

    main(["--data_dir", str(other), "--data_type", "shard", "--num_workers", "1", "--num_utts_per_shard", "5"])
    for tar in (other / "shards").glob("*.tar"):
        shutil.copyfile(tar, stages.data / name / "shards" / tar.name)


# name -> (what to do to the data, settings of the next call)
CHANGES = {
    "train audio": (lambda stages: turn(stages, "train"), ()),
    "dev audio": (lambda stages: turn(stages, "dev"), ()),
    "eval audio": (lambda stages: turn(stages, "eval"), ()),
    "train labels": (lambda stages: edit(stages.data / "train/utt2lab", flip_one), ()),
    "dev labels": (lambda stages: edit(stages.data / "dev/utt2lab", flip), ()),
    "eval labels": (lambda stages: edit(stages.data / "eval/utt2lab", flip_one), ()),
    "train list": (lambda stages: drop(stages, "train"), ()),
    "eval list": (lambda stages: drop(stages, "eval"), ()),
    "eval_frms": (None, ("--dataset_args.eval_frms", "12")),
    "num_avg": (None, ("--num_avg", "1")),
    "average": (None, ("--average", "best", "--num_avg", "1")),
    "seed": (None, ("--seed", "43")),
    "batch size": (None, ("--dataloader_args.batch_size", "2")),
    "more epochs": (None, ("--num_epochs", "4")),
    "head": (None, ("--projection_args.project_type", "softmax")),
    "back-end": (None, ("--model_args.embed_dim", "8")),
}
STARTS = range(2, 8)
NEVER_RETRAINED = {"train audio", "train labels", "train list", "dev audio", "dev labels", "seed", "batch size",
                   "more epochs", "head", "back-end"}  # what weights, or the choice of them, rest on: always refused


def cell(stages: Stages, change: str, start: int) -> str:
    stages.restore()
    alter, settings = CHANGES[change]
    if alter:
        alter(stages)
    return outcome(stages, start, settings)


def outcome(stages: Stages, start: int, settings: tuple[str, ...]) -> str:
    before = {path: path.read_bytes() for path in stages.exp.rglob("*") if path.is_file()}
    try:
        stages.run(start, *settings)
    except InputError as error:
        if start > 2 or "Nothing was touched" in str(error):
            assert before == {path: path.read_bytes() for path in stages.exp.rglob("*") if path.is_file()}, str(error)
        return f"refused: {error}"
    fresh = stages.root / "fresh"
    stages.run(2, *settings, exp=fresh)
    assert stages.found() == stages.found(fresh), "old"
    return "made again"


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("change", CHANGES)
def test_raw_lists(raw, change, start):
    judged(cell(raw, change, start), change, start)


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("change", CHANGES)
def test_shards(shard, change, start):
    judged(cell(shard, change, start), change, start)


def judged(result: str, change: str, start: int) -> None:
    if change in NEVER_RETRAINED:
        assert result.startswith("refused"), result
    elif start == 2 or (start <= 4 and change in ("eval_frms", "num_avg", "average")):
        assert result == "made again"
    else:
        assert result.startswith("refused") and "--stage" in result, result


@pytest.mark.parametrize("start", [2, 3, 4, 7])
@pytest.mark.parametrize("change", ["train audio", "eval audio", "eval labels", "eval list"])
def test_shards_of_what_changed(shard, change, start):
    result = cell(shard, change, start)
    assert result == "made again" if start == 2 and change != "train audio" else result.startswith("refused"), result


@pytest.mark.parametrize("start", [2, 3, 4, 5, 7])
def test_audio_in_the_shards_themselves(shard, start):
    shard.restore()
    rewrite_shards(shard, "eval")
    result = outcome(shard, start, ())
    assert result == "made again" if start == 2 else "go back to --stage 2" in result, result


@pytest.mark.parametrize("start", STARTS)
def test_pruning_off(pruned, start):
    pruned.restore()
    result = outcome(pruned, start, ("--use_pruning_loss", "false", "--target_sparsity", "0"))
    assert "use_pruning_loss True -> False" in result and "--fork" in result


def test_once_pruned_then_trained_without(pruned):
    """In the same folder, from which the checkpoints were taken away."""
    pruned.restore()
    shutil.rmtree(pruned.exp / "models")
    assert outcome(pruned, 3, ("--use_pruning_loss", "false", "--target_sparsity", "0")) == "made again"


@pytest.mark.parametrize("start", STARTS)
def test_code(raw, start, monkeypatch):
    """A training goes on under other code and says so; what is computed from its weights is made again."""
    raw.restore()
    real = lineage.of_sources
    monkeypatch.setattr(lineage, "of_sources", lambda *parts: real(*parts)[::-1])
    if start <= 4:
        raw.run(start)
        assert read(raw.exp / "embeddings/eval/source.json")["inputs"]["code"] == real(*lineage.COMPUTING)[::-1]
    else:
        with pytest.raises(InputError, match="code changed.*go back to --stage 4"):
            raw.run(start)


LOCALISING = {"model": "SSL_BACKEND_MHFA", "model_args": {"embed_dim": 16, "head_nb": 4, "compression_dim": 8},
              "localization_args": {"resolutions": [20]}}


class Partial(Stages):
    """Of recordings with spans, of which the list tells."""

    def make_data(self) -> None:
        for name in SETS:
            make_partial(self.data, name, 8).unlink()


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """It hears of spans, augments with noises and draws by a table: what else a training may rest on."""
    root = tmp_path_factory.mktemp("rich")
    noises = make_list(root / "noises", "noise", 4, 0.3, seed=5).parent / "wav.scp"
    stages = Partial(root, "raw", **LOCALISING, dataset_args__aug_prob=1.0, noise_data=str(noises),
                    dataset_args__sampling=[{"column": "corpus", "weights": {"a": 3, "b": 1}}])
    keys = read_table(stages.data / "train/utt2lab")
    write_table(stages.data / "train/utt2corpus", {key: "ab"[number % 4 == 0] for number, key in enumerate(keys)})
    shutil.move(root / "noises", stages.root / "noises")
    scp = stages.root / "noises/noise/wav.scp"
    scp.write_text(scp.read_text().replace(f"{root}/noises", f"{stages.root}/noises"))
    stages.config.write_text(stages.config.read_text().replace(str(noises), str(scp)))
    stages.run(2)
    stages.keep()
    return stages


def moved_spans(stages: Stages, name: str) -> None:
    """The first fake stretch of every recording begins a little later."""
    def later(lines):
        changed = [line.split() for line in lines]
        for one, other in zip(changed, changed[1:]):
            if one[0] == other[0]:
                one[2] = other[1] = f"{float(other[1]) + 0.004:.3f}"
        return [" ".join(fields) + "\n" for fields in changed]

    edit(stages.data / name / "segments", later)


RICH = {
    "train spans": lambda stages: moved_spans(stages, "train"), "dev spans": lambda stages: moved_spans(stages, "dev"),
    "eval spans": lambda stages: moved_spans(stages, "eval"),
    "noises": lambda stages: turn_files((stages.root / "noises/noise").glob("*.wav")),
    "sampling table": lambda stages: edit(stages.data / "train/utt2corpus", lambda lines: [
        line.replace(" a", " c").replace(" b", " a").replace(" c", " b") for line in lines])}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("change", RICH)
def test_spans_noises_and_tables_to_draw_by(rich, change, start):
    rich.restore()
    RICH[change](rich)
    result = outcome(rich, start, ())
    if change == "eval spans" and start == 2:
        assert result == "made again"
    else:
        assert result.startswith("refused"), result


@pytest.mark.parametrize("gone", ["noises/noise/wav.scp", "data/train/raw.list", "data/train/utt2corpus"])
def test_what_the_training_had_may_be_gone_where_weights_are_scored(rich, gone):
    rich.restore()
    (rich.root / gone).unlink()
    with pytest.raises(InputError, match="--as_trained true"):
        rich.run(5)
    folder = ["--data", str(rich.data), "--train_sets", "train", "--sets", "dev", "eval"]
    settings = ["--config", str(rich.config), "--exp_dir", str(rich.exp), "--train_data", rich.list("train"),
                "--val_data", rich.list("dev")]
    assert check.main(["--stage", "5", "--as_trained", *folder, *settings]) == 0


def test_segments_are_judged_by_the_spans_that_are_there(rich):
    rich.restore()
    before = rich.found()["sets"]["eval"]["localization"]
    moved_spans(rich, "eval")
    rich.run(2)
    assert rich.found()["sets"]["eval"]["localization"] != before


@pytest.mark.parametrize("start", STARTS)
def test_the_weights_of_an_encoder(tmp_path_factory, start, pretrained):
    stages, file = pretrained
    stages.restore()
    weights = torch.load(file)
    weights["state_dict"] = {name: 1.01 * tensor if tensor.is_floating_point() else tensor
                             for name, tensor in weights["state_dict"].items()}
    torch.save(weights, file)
    assert "path_or_url changed" in outcome(stages, start, ())


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained")
    file = root / "work/encoder/pytorch_model.bin"
    make_pruned(file.parent, make_experiment(root / "encoder_of", **TINY))
    stages = Stages(root, "raw", **{**SSL, "dataset_args__ssl_args": {"upstream_args": {
        "name": "wavlm_tiny", "path_or_url": str(file)}, "frozen": True}}, num_epochs=1, num_avg=1)
    stages.run(2)
    stages.keep()
    return stages, file


@pytest.mark.parametrize("settings", [("--target_sparsity", "0.5"), ("--sparsity_warmup_epochs", "0")])
@pytest.mark.parametrize("start", STARTS)
def test_pruning_otherwise(pruned, start, settings):
    pruned.restore()
    result = outcome(pruned, start, settings)
    assert f"{settings[0][2:]} " in result and "--fork" in result


def test_another_set_to_calibrate_on(raw):
    """Stage 7 is never left out, and what it fits goes into the experiment."""
    raw.restore()
    raw.run(7, dev_set="eval")
    one = json.loads((raw.exp / "results.json").read_text())
    fresh = raw.root / "fresh"
    raw.run(2, exp=fresh, dev_set="eval")
    assert one["dev_set"] == "eval" and one["sets"] == json.loads((fresh / "results.json").read_text())["sets"]
    assert one["calibration"] == json.loads((fresh / "results.json").read_text())["calibration"]
