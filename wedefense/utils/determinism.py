"""The same bits from the same work on a GPU, run after run."""

import os

import torch


def use_deterministic_kernels() -> None:
    """For the whole process; call before anything is computed on a GPU.

    An operation that has no such kernel raises, rather than warns: only then PyTorch's own attention is deterministic.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it has not written
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
