"""Weights that are no numbers, or not what was written, never judge: refused wherever a file of weights is read."""

import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from tests.detect.experiments import SSL, make_experiment, make_pruned
from tests.security.pickles import corrupt
from wedefense import load_detector
from wedefense.data.labels import Labels
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.share import write_folder
from wedefense.experiment import checkpoint
from wedefense.experiment.arks import read_scp, write_ark
from wedefense.frontend import load_frontend
from wedefense.utils.errors import InputError
from wedefense.utils.tables import write_table


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("whole"), **SSL)


@pytest.fixture
def exp(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "exp")


def spoil(tensors: dict, value: float = float("nan")) -> str:
    """Put a value into one tensor; its name."""
    name = sorted(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel() > 100)[0]
    tensors[name].view(-1)[17] = value
    return name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_checkpoint_of_an_experiment(exp, value):
    path = exp / "models/avg_model.pt"
    tensors = torch.load(path)
    name = spoil(tensors, value)
    torch.save(tensors, path)
    with pytest.raises(InputError, match=f"avg_model.pt: tensor '{name}' holds NaN or infinite.*earlier epoch"):
        load_detector(exp)


@pytest.mark.parametrize("load", [load_detector, checkpoint.load], ids=["as a model", "to resume"])
def test_what_a_resume_takes(exp, load):
    path = exp / "models/last.ckpt"
    weights = torch.load(exp / "models/avg_model.pt")
    momentum = {"state": {0: {"exp_avg": torch.tensor([0.0, float("nan")])}}}
    torch.save({"weights": weights, "optimizer": momentum}, path)
    with pytest.raises(InputError, match="last.ckpt: tensor 'optimizer.state.0.exp_avg' holds NaN"):
        load(path)


def test_the_average_of_an_epoch_that_is_spoilt(exp):
    tensors = torch.load(exp / "models/avg_model.pt")
    torch.save(tensors, exp / "models/model_1.pt")
    name = spoil(tensors)
    torch.save(tensors, exp / "models/model_2.pt")
    with pytest.raises(InputError, match=f"model_2.pt: tensor '{name}'"):
        checkpoint.average(exp, [1, 2])


def test_a_shared_folder(exp, tmp_path):
    write_folder(load_detector(exp), tmp_path / "shared")
    path = tmp_path / "shared/model.safetensors"
    tensors = load_file(path)
    name = spoil(tensors)
    save_file(tensors, path)
    with pytest.raises(InputError, match=f"model.safetensors: tensor '{name}'"):
        load_detector(tmp_path / "shared")


def test_a_pruned_model_s_two_files(exp, tmp_path):
    folder = make_pruned(tmp_path / "pruned", exp)
    for file in ("pytorch_model.bin", "whole_pytorch_model.bin"):
        kept = (folder / file).read_bytes()
        content = torch.load(folder / file)
        spoil(content.get("state_dict", content))
        torch.save(content, folder / file)
        with pytest.raises(InputError, match=f"{file}: tensor '.*' holds NaN"):
            load_detector(folder)
        (folder / file).write_bytes(kept)


def test_a_pretrained_encoder(exp, tmp_path):
    file = make_pruned(tmp_path / "pruned", exp) / "pytorch_model.bin"
    content = torch.load(file)
    spoil(content["state_dict"])
    torch.save(content, file)
    with pytest.raises(InputError, match="pytorch_model.bin: tensor '.*' holds NaN"):
        load_frontend(str(file))


@pytest.mark.parametrize("load", [load_detector, checkpoint.load])
def test_a_byte_that_changed_is_found_by_its_checksum(exp, load):
    path = exp / "models/avg_model.pt"
    corrupt(path)
    with pytest.raises(InputError, match="avg_model.pt: truncated or damaged .*checksum of its part '.*/data/.*'"):
        load(path)


def test_numbers_whose_sum_is_too_large_are_numbers(exp):
    path = exp / "models/avg_model.pt"
    tensors = torch.load(path)
    name = spoil(tensors, 3e38)
    tensors[name].view(-1)[:2] = 3e38
    torch.save(tensors, path)
    load_detector(exp)
    assert checkpoint.load(path)[name].view(-1)[:2].tolist() == tensors[name].view(-1)[:2].tolist()


def test_an_archive_of_embeddings(tmp_path):
    with pytest.raises(InputError, match="the model gives NaN or infinite values for 'a'"):
        write_ark(tmp_path / "x.ark", [("a", np.array([1.0, np.nan]))])
    entries = write_ark(tmp_path / "x.ark", [("a", np.ones(4)), ("b", np.ones(4))])
    write_table(tmp_path / "x.scp", entries)
    assert read_scp(tmp_path / "x.scp")[1].shape == (2, 4)
    content = bytearray((tmp_path / "x.ark").read_bytes())
    content[-4:] = np.float32("nan").tobytes()
    (tmp_path / "x.ark").write_bytes(content)
    with pytest.raises(InputError, match="x.scp: 'b': .* cannot be read .NaN"):
        read_scp(tmp_path / "x.scp")


def test_embeddings_of_a_copied_folder_are_its_own(tmp_path):
    """Its table says where the original has its arks, in which others may be by now."""
    for folder, value in ((tmp_path / "one", 1.0), (tmp_path / "one", 2.0)):
        if value == 2.0:
            shutil.copytree(folder, tmp_path / "copy")
        write_table(folder / "x.scp", write_ark(folder / "x.ark", [("a", np.full(4, value))]))
    assert read_scp(tmp_path / "copy/x.scp")[1].tolist() == [[1.0] * 4]
    (tmp_path / "copy/x.ark").unlink()
    assert read_scp(tmp_path / "copy/x.scp")[1].tolist() == [[2.0] * 4]


@pytest.mark.parametrize("entry, reason", [
    ("touch {}/pwned |", "cannot be read"), ("{}/x.ark:touch {}/pwned |", "invalid literal"),
    ("{}/x.ark:9999", "no vector"), ("{}/x.ark", "cannot be read"), ("{}/fifo:2", "pipe"), ("{}/x.ark:-3", "cannot be"),
    ("{}/x.ark:0", "no vector")])
def test_an_entry_of_a_table_of_embeddings_is_a_place_in_a_file_and_nothing_else(tmp_path, entry, reason):
    os.mkfifo(tmp_path / "fifo")
    write_ark(tmp_path / "x.ark", [("a", np.ones(4))])
    write_table(tmp_path / "x.scp", {"a": entry.replace("{}", str(tmp_path))})
    with pytest.raises(InputError, match=f"x.scp: 'a': .*{reason}"):
        read_scp(tmp_path / "x.scp")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("table, reason", [
    ("bonafide 0 3\nspoof 0 4\n", "ids must be 0 to 1"), ("bonafide -1 3\nspoof 0 4\n", "ids must be 0 to 1"),
    ("bonafide 0 3\nspoof 7 4\n", "ids must be 0 to 1"), ("bonafide 0 0\nspoof 1 4\n", "counts must be 1 or more"),
    ("bonafide 0 3\nspoof one 4\n", "expected lines"), ("bonafide 0\nspoof 1\n", "expected lines"),
    ("bonafide 0 3 4\nspoof 1 4\n", "expected lines")])
def test_labels_of_a_model(exp, table, reason):
    (exp / "label2id").write_text(table)
    with pytest.raises(InputError, match=f"label2id: .*{reason}"):
        load_detector(exp)
    with pytest.raises(InputError, match=f"label2id: .*{reason}"):
        Labels.load(exp / "label2id")


def test_a_score_that_is_no_number_is_no_score(exp, tmp_path):
    """Finite weights can still overflow: the recording is told with the others that have no score."""
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    model: LoadedDetector = load_detector(exp)
    with torch.no_grad():
        model.detector.backend.pooling_fc.weight.fill_(3e38)
    scores, failures = model.score_files({"a": tmp_path / "a.wav"})
    assert not scores and "no finite score" in failures["a"]
    with pytest.raises(InputError, match="no finite score"):
        model.score(tmp_path / "a.wav")
