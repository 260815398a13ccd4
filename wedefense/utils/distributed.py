"""Ranks: one process for each device, started by torchrun; a lone process is rank 0 of 1."""

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from wedefense.utils.determinism import use_deterministic_kernels
from wedefense.utils.errors import InputError
from wedefense.utils.hardware import gpu_of_rank, wants_gpu

_LAUNCHER_SECONDS = 60   # that it may take to answer
_PATIENCE = timedelta(hours=2)  # with the first rank, which looks at the files of a whole corpus while the others wait
_FORKING_SECONDS = 0.05  # in which the threads of the last exchange are done with the interpreter


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def start(gpus: tuple[int, ...] = (0,), device: str = "auto", deterministic: bool = False) -> World:
    """Join the process group that torchrun describes in the environment, NCCL on GPUs, gloo on CPUs.

    `deterministic`: on GPUs, see `wedefense.utils.determinism`; a CPU is.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    use_cuda, chosen = wants_gpu(device), torch.device("cpu")
    if use_cuda:
        if deterministic:
            use_deterministic_kernels()
        chosen = gpu_of_rank(gpus, local_rank)
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        _die_with_launcher()
        _require_launcher(rank)
        importlib.import_module("torch.distributed.nn.functional")  # imported later, its defaults would keep the group
        dist.init_process_group("nccl" if use_cuda else "gloo", rank=rank, world_size=size, timeout=_PATIENCE,
                                device_id=chosen if use_cuda else None)  # told at once, NCCL need not guess it later
    return World(rank, size, local_rank, chosen)


def _die_with_launcher() -> None:
    """A killed torchrun would leave ranks behind that go on writing into the experiment."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _require_launcher(rank: int) -> None:
    """One that was killed before this rank could tie itself to it left it to wait for ever for the others."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # rank 0 is where all meet, and may come later
        return
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        socket.create_connection((host, port), timeout=_LAUNCHER_SECONDS).close()
    except OSError as error:
        raise InputError(f"rank {rank}: its launcher does not answer at {host}:{port} ({error.strerror or error}); "
                         "if it was stopped, start the stage again") from None


def stop() -> None:
    """Leave the group, which ends its threads once nothing keeps it, such as a trained module that is over."""
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def before_fork() -> None:
    """Let the threads of the last exchange leave the interpreter.

    Before Python 3.12 a child that is forked while another thread enters or leaves it waits for ever for its lock.
    """
    if dist.is_initialized() and sys.version_info < (3, 12):
        time.sleep(_FORKING_SECONDS)


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def gather(item) -> list:
    """The item of every rank, on every rank, in rank order."""
    if not dist.is_initialized():
        return [item]
    items = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items
