"""What may change, times the stage from which one starts again: made again or refused, never old.

Whatever goes through must say what an experiment says that is made anew from the changed data, settings and code.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.recipes.stages_here import PRUNED, SSL, Stages
from wedefense.experiment import lineage
from wedefense.experiment.record import read
from wedefense.utils.errors import InputError


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
    for path in sorted((stages.data / name).glob("*.wav")):
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
}
STARTS = range(2, 8)
NEVER_RETRAINED = {"train audio", "train labels", "train list", "dev audio", "dev labels", "seed", "batch size",
                   "more epochs"}  # what weights, or the choice of them, rest on: refused from any stage


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
    result = cell(raw, change, start)
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
