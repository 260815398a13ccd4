import errno
import pickle

import pytest
import torch
from torch import nn

from wedefense.experiment import checkpoint
from wedefense.experiment.folder import ExperimentFolder
from wedefense.utils.errors import InputError


def test_average_by_epoch_number_whatever_else_lies_there(tmp_path):
    for epoch, value in ((1, 1.0), (2, 2.0), (10, 6.0)):
        checkpoint.save(ExperimentFolder(tmp_path).epoch(epoch),
                        {"w": torch.full((2,), value), "seen": torch.tensor(epoch)})
    for name in ("best_model.pt", "avg_model.pt", "model_x.pt", "model_3.pt.tmp", "last.ckpt"):
        (tmp_path / "models" / name).write_text("something else")
    assert ExperimentFolder(tmp_path).epochs() == [1, 2, 10]
    mean = checkpoint.average(tmp_path, ExperimentFolder(tmp_path).epochs()[-2:])
    assert torch.equal(mean["w"], torch.full((2,), 4.0)) and mean["seen"].item() == 10


def test_averaging_nothing_or_different_models_is_an_error(tmp_path):
    with pytest.raises(InputError, match="train first"):
        checkpoint.average(tmp_path, [])
    checkpoint.save(ExperimentFolder(tmp_path).epoch(1), {"a": torch.zeros(1)})
    checkpoint.save(ExperimentFolder(tmp_path).epoch(2), {"b": torch.zeros(1)})
    with pytest.raises(InputError, match="model_2.pt: tensor 'a'"):
        checkpoint.average(tmp_path, [1, 2])


@pytest.mark.parametrize("weights, message", [
    ({"weight": torch.zeros(2, 3)}, "tensor 'bias' is missing"),
    ({"weight": torch.zeros(2, 3), "b": torch.zeros(2)}, r"tensor 'bias' is missing \(the file has 'b'\)"),
    ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, r"'weight' has shape \(2, 4\), .* wants \(2, 3\)"),
    ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "x": torch.zeros(1)}, "'x' is not part"),
])
def test_another_architecture_names_the_first_differing_tensor(weights, message):
    with pytest.raises(InputError, match=message):
        checkpoint.load_weights(nn.Linear(3, 2), weights, "f.pt")


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_that_executes_is_refused(tmp_path, capsys):
    with open(tmp_path / "evil.pt", "wb") as stream:
        pickle.dump({"weights": Evil()}, stream)
    with pytest.raises(InputError, match="evil.pt"):
        checkpoint.load(tmp_path / "evil.pt")
    torch.save({"weights": Evil()}, tmp_path / "evil2.pt")
    with pytest.raises(InputError, match="evil2.pt"):
        checkpoint.load(tmp_path / "evil2.pt")
    assert "executed" not in capsys.readouterr().out


def test_a_truncated_file_is_named(tmp_path):
    checkpoint.save(tmp_path / "a.pt", {"w": torch.zeros(100)})
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[:len(data) // 2])
    with pytest.raises(InputError, match="a.pt: truncated or damaged"):
        checkpoint.load(tmp_path / "a.pt")


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, {"w": torch.ones(1)})

    def full(state, stream):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left on device.; what was there before is untouched"):
        checkpoint.save(path, {"w": torch.zeros(1)})
    assert checkpoint.load(path)["w"].item() == 1 and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
