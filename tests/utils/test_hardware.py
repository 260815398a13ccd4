"""Which GPU, and what is said where there is none that computes."""

import pytest
import torch

from wedefense.utils import hardware
from wedefense.utils.errors import InputError


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A machine with a GPU and its driver, which PyTorch cannot use."""
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12040).\nPlease update it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(hardware, "DRIVER", tmp_path / "gpus")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hardware.warn_once.cache_clear()
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    return tmp_path / "gpus"


def test_a_gpu_that_lies_idle_is_told(driver, caplog):
    assert not hardware.wants_gpu("auto")
    assert f"PyTorch {torch.__version__} cannot use it (The NVIDIA driver on your system is too old (found version " \
           "12040)); computing on the CPU" in caplog.text


@pytest.mark.parametrize("hidden", ["", "-1", None])
def test_a_gpu_that_was_hidden_or_is_not_there_is_not_told(driver, caplog, monkeypatch, hidden):
    if hidden is None:
        (driver / "0000:01:00.0").rmdir()
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not hardware.wants_gpu("auto") and not hardware.wants_gpu("cpu")
    assert not caplog.records


def test_one_that_was_asked_for_and_cannot_be_used(driver):
    assert hardware.wants_gpu("cuda")
    with pytest.raises(InputError, match=r"finds no GPU on this machine \(The NVIDIA driver on your system is too old"):
        hardware.gpu_of_rank((0,), 0)


@pytest.fixture
def two(monkeypatch):
    """GPUs, the second of which PyTorch was not built for; -> those made current."""
    def zeros(*_, device):
        if device.index == 1:
            raise torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\nSee", 0)

    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla K80")
    monkeypatch.setattr(torch, "zeros", zeros)
    return chosen


def test_one_that_computes_is_made_the_current_one(two):
    assert hardware.gpu_of_rank((0,), 3) == torch.device("cuda", 0)
    assert two == [torch.device("cuda", 0)]


def test_one_that_does_not_compute_is_told_by_name(two):
    with pytest.raises(InputError, match=r"GPU 1 \(Tesla K80\) does not compute .*no kernel image .*--device cpu"):
        hardware.gpu_of_rank((0, 1), 1)


def test_one_that_is_not_there(two):
    with pytest.raises(InputError, match="gpus: there is no GPU 5 here, there are 0 to 1; name some of these"):
        hardware.gpu_of_rank((0, 5), 0)
