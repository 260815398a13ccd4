"""Where kernels are not run: Triton cannot build one, or another device is the current one. Both are told."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

import wedefense.gpu
from tests.gpu.interpreter import DEVICE, gpu  # noqa: F401
from wedefense.gpu import kernels_run_on, trial

CAPABLE = wedefense.gpu._capable.__wrapped__  # without what it found before


def test_where_a_kernel_can_be_launched_there_is_no_fault(gpu):  # noqa: F811
    assert trial.fault(gpu) is None and CAPABLE(gpu)


@pytest.mark.parametrize("error, told", [
    (RuntimeError("Failed to find C compiler.\nPlease specify"), "(RuntimeError: Failed to find C compiler.)"),
    (subprocess.CalledProcessError(1, ["gcc", "main.c"]), "(CalledProcessError: Command '['gcc', 'main.c']' returned"),
    (PermissionError(13, "Permission denied", "/.triton"), "(PermissionError: [Errno 13] Permission denied")])
def test_a_fault_is_told_with_its_cure(gpu, monkeypatch, caplog, error, told):  # noqa: F811
    class Kernel:
        def __getitem__(self, grid):
            raise error

    monkeypatch.setattr(trial, "trial_kernel", Kernel())
    wedefense.gpu.warn_once.cache_clear()
    with caplog.at_level("WARNING"):
        assert not CAPABLE(gpu)
    (message,) = [record.getMessage() for record in caplog.records]
    assert told in message and "PyTorch's own kernels" in message and "gcc" in message and "TRITON_CACHE_DIR" in message


@pytest.mark.skipif(DEVICE == "cuda", reason="Triton works here")
def test_triton_itself_without_a_driver():
    script = """
        from tests.emulation.cuda import emulated_cuda
        import wedefense.gpu
        capable = wedefense.gpu._capable
        with emulated_cuda() as cuda:
            print(capable(cuda.device))
        """
    own = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=own)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert "this GPU runs PyTorch's own kernels" in done.stderr


@pytest.mark.parametrize("given, expected", [(None, "1"), ("0", "0")])
def test_products_and_sums_are_one_instruction_unless_the_user_says_otherwise(given, expected):
    name = "TRITON_DEFAULT_FP_FUSION"
    own = {key: value for key, value in os.environ.items() if key != name} | ({name: given} if given else {})
    script = f"import os, wedefense.gpu; print(os.environ['{name}'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=own)
    assert done.stdout.strip() == expected


def test_a_device_that_is_not_the_current_one(gpu, monkeypatch, caplog):  # noqa: F811
    monkeypatch.delenv("WEDEFENSE_KERNELS", raising=False)
    with caplog.at_level("WARNING"):
        monkeypatch.setattr(wedefense.gpu, "_capable", lambda device: True)
        assert kernels_run_on(torch.device("cuda")) and kernels_run_on(torch.device("cuda", 0))
        assert not caplog.records
        assert not kernels_run_on(torch.device("cuda", 7))
    assert "torch.cuda.set_device(7)" in caplog.text


def test_a_compiler_takes_the_answer_for_a_constant(monkeypatch):
    monkeypatch.delenv("WEDEFENSE_KERNELS", raising=False)
    answers = iter([True, False])
    monkeypatch.setattr(wedefense.gpu, "_capable", lambda device: next(answers))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def chosen(x):
        return x + 1 if kernels_run_on(torch.device("cuda", 0)) else x + 2

    compiled = torch.compile(chosen, fullgraph=True, backend="eager")
    assert [compiled(torch.zeros(2))[0] for _ in range(3)] == [1, 1, 1]
