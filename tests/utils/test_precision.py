"""One choice of precision, and what it sets. No GPU is needed: PyTorch's switches can be read and written without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wedefense.train.optimizer import build_optimizer
from wedefense.train.parallel import Alone
from wedefense.utils import distributed
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError
from wedefense.utils.precision import Precision, resolve, resolve_for_inference

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


def switches():
    return (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.cudnn_sdp_enabled())


@pytest.fixture(autouse=True)
def unchanged():
    """As PyTorch starts: cuDNN's convolutions in TF32, products not."""
    before = switches()
    assert before == (False, True, True)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[:2]
    torch.backends.cuda.enable_cudnn_sdp(before[2])


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, as far as asking goes; a function that takes its bfloat16 away."""
    has = {"bfloat16": True}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has["bfloat16"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Example")
    return lambda: has.update(bfloat16=False)


def test_auto_is_bfloat16_on_gpus_that_have_it(gpu, caplog):
    assert str(resolve("auto", GPU)) == "bfloat16 on NVIDIA Example"
    assert resolve("auto", CPU).name == "float32" and resolve("tf32", CPU).name == "float32"
    assert resolve("bfloat16", CPU).name == "bfloat16"
    gpu()
    assert resolve("auto", GPU).name == "float32" and resolve("bfloat16", GPU).name == "float32"
    assert resolve("tf32", GPU).name == "tf32"
    with pytest.raises(InputError, match="unknown precision 'bfloat', did you mean 'bfloat16'"):
        resolve("bfloat", GPU)


def test_inference_follows_the_experiment_on_a_gpu_and_is_exact_on_a_cpu(gpu):
    assert resolve_for_inference("auto", "float32", GPU).name == "float32"
    assert resolve_for_inference("auto", "auto", GPU).name == "bfloat16"
    assert resolve_for_inference("tf32", "bfloat16", GPU).name == "tf32"
    assert resolve_for_inference("auto", "bfloat16", CPU).name == "float32"
    assert resolve_for_inference("bfloat16", "auto", CPU).name == "bfloat16"


@pytest.mark.parametrize("name, expected", [("float32", (False, False, False)), ("tf32", (True, True, False)),
                                            ("bfloat16", (False, False, False))])
def test_the_switches_of_each_precision(name, expected, monkeypatch):
    monkeypatch.setattr(Precision, "autocast", lambda self: torch.autocast("cpu", enabled=False))
    before = switches()
    with Precision(name, GPU).scope():
        assert switches() == expected
    assert switches() == before
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # a caller that uses the newer names
    with pytest.raises(ZeroDivisionError), Precision(name, GPU).scope():
        raise ZeroDivisionError
    assert torch.backends.cuda.matmul.fp32_precision == "tf32" and torch.backends.cudnn.conv.fp32_precision == "tf32"
    Precision(name, GPU).set_switches()
    assert switches() == expected


def test_a_cpu_has_no_switches_and_autocasts_on_demand():
    weight, x = torch.ones(2, 2), torch.ones(2, 2)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        made = Precision(name, CPU)
        made.set_switches()
        with torch.autocast("cpu", torch.bfloat16), made.scope():
            assert (x @ weight).dtype == dtype and switches() == (False, True, True)


class OnGpu(torch.nn.Parameter):
    is_cuda = True


def test_the_optimiser_is_fused_on_a_gpu_unless_told_otherwise(monkeypatch):
    made = {}
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, **arguments: made.update(arguments))
    monkeypatch.setattr(torch.optim, "Rprop", lambda groups, **arguments: made.update(arguments))

    def arguments(name, parameters, **given):
        made.clear()
        build_optimizer(name, given, [{"params": parameters}])
        return made

    here, there = torch.nn.Parameter(torch.ones(2)), OnGpu(torch.ones(2))
    assert there.is_cuda and not here.is_cuda
    assert arguments("AdamW", [there], eps=1e-6) == {"lr": 0.0, "eps": 1e-6, "fused": True}
    for given in ({"fused": False}, {"foreach": True}, {"differentiable": True}):
        assert arguments("AdamW", [there], **given) == {"lr": 0.0} | given
    assert "fused" not in arguments("AdamW", [there, here]) and "fused" not in arguments("Rprop", [there])


@pytest.mark.parametrize("here, there", [(True, None), (None, True)], ids=["from a CPU", "to a CPU"])
def test_a_training_that_moves_is_fused_where_it_is_now(here, there):
    def stepped(fused, state=None):
        parameter = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=fused)
        if state is not None:
            Alone(torch.nn.Identity(), World(0, 1, 0, CPU)).load_optimizer(optimizer, state)
        parameter.grad = torch.tensor([1.0, -2.0])
        optimizer.step()
        return optimizer

    moved = stepped(here, stepped(there).state_dict())
    assert moved.param_groups[0]["fused"] is here
    assert [float(state["step"]) for state in moved.state.values()] == [2.0]


def of_gpus(monkeypatch, count):
    """A machine of so many, all of which compute."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: None)


def test_a_process_group_of_gpus_knows_its_device(monkeypatch):
    started = {}
    of_gpus(monkeypatch, 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(distributed, "_die_with_launcher", lambda: None)
    monkeypatch.setattr(distributed.dist, "init_process_group",
                        lambda backend, **arguments: started.update(arguments, backend=backend))
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    distributed.start((2, 3), "cuda")
    patience = started.pop("timeout")
    assert patience.total_seconds() == 7200  # NCCL's own 10 minutes are less than a first look at a corpus may take
    assert started == {"backend": "nccl", "rank": 1, "world_size": 2, "device_id": torch.device("cuda", 3)}
    distributed.start((2, 3), "cpu")
    assert started["backend"] == "gloo" and started["device_id"] is None


def test_deterministic_kernels_are_chosen_before_a_gpu_is_touched(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    seen = []
    of_gpus(monkeypatch, 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: seen.append(
        (os.environ.get("CUBLAS_WORKSPACE_CONFIG"), torch.are_deterministic_algorithms_enabled(),
         torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.deterministic)))
    try:
        distributed.start((0,), "cuda")
        distributed.start((0,), "cpu", deterministic=True)
        assert not torch.are_deterministic_algorithms_enabled()
        distributed.start((0,), "cuda", deterministic=True)
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # the user's own
        distributed.start((0,), "cuda", deterministic=True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen == [(None, False, False, False), (":4096:8", True, False, True), (":16:8", True, False, True)]


@pytest.mark.parametrize("given, expected", [({}, "expandable_segments:True"),
                                             ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, "max_split_size_mb:64"),
                                             ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, None)])
def test_commands_let_memory_grow_in_place_unless_the_user_says_how(given, expected):
    clean = {name: value for name, value in os.environ.items() if not name.endswith("ALLOC_CONF")}
    code = ("import os, sys; from wedefense.cli import run\n"
            "run(lambda: print(os.environ.get('PYTORCH_ALLOC_CONF')) or 0)")
    done = subprocess.run([sys.executable, "-c", code], env=clean | given, cwd=Path(__file__).parents[2],
                          capture_output=True, text=True)
    assert done.stdout.strip() == str(expected) and done.returncode == 0, done.stderr
