"""The GPU to compute on; and what to say where there is none, or it does not compute."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from wedefense.utils.errors import InputError
from wedefense.utils.log import warn_once

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each of the machine's GPUs, wherever the driver is loaded


def wants_gpu(device: str) -> bool:
    """Whether to compute on GPUs: `cuda` asks for them, `auto` takes them where they can be used."""
    if device != "auto":
        return device == "cuda"
    if torch.cuda.is_available():
        return True
    idle = os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and DRIVER.is_dir() and any(DRIVER.iterdir())
    if idle and (fault := _fault(torch.cuda.init)):
        warn_once(f"this machine has a GPU, and PyTorch {torch.__version__} cannot use it ({fault}); computing on the "
                  "CPU. A newer driver may be the cure, a PyTorch for the CUDA that nvidia-smi names, or `--gpus all` "
                  "for a container")
    return False


def gpu_of_rank(gpus: tuple[int, ...], local_rank: int) -> torch.device:
    """The GPU of a rank, made the current one; it is there, and computes."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        fault = _fault(torch.cuda.init)
        raise InputError(f"--device cuda: PyTorch {torch.__version__} finds no GPU on this machine ({fault}; see "
                         "nvidia-smi); leave it out, or say --device cpu")
    absent = [gpu for gpu in gpus if gpu >= count]
    if absent:
        raise InputError(f"gpus: there is no GPU {absent[0]} here, there are 0 to {count - 1}; name some of these")
    chosen = torch.device("cuda", gpus[local_rank % len(gpus)])

    def compute() -> None:
        torch.cuda.set_device(chosen)
        torch.zeros(1, device=chosen)

    if fault := _fault(compute):
        raise InputError(f"gpus: GPU {chosen.index} ({torch.cuda.get_device_name(chosen)}) does not compute with "
                         f"PyTorch {torch.__version__}: {fault}. See in nvidia-smi whether somebody else has it, "
                         "install a PyTorch for GPUs of its age, name another, or say --device cpu")
    return chosen


def _fault(attempt: Callable[[], object]) -> str | None:
    """The first line of what PyTorch says against it."""
    try:
        attempt()
    except (RuntimeError, AssertionError) as error:
        return f"{error}".split("\n")[0].rstrip(".")
    return None
