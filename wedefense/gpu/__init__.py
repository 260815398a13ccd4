"""What only CUDA devices use: Triton kernels, and the operators that call them.

Everything here equals some plain torch code elsewhere, which serves all other devices and says what is computed.
The environment decides, where it says so: `WEDEFENSE_KERNELS=0`, and GPUs run that plain code too; `interpret`, and
CPUs run the kernels, by Triton's interpreter, as tests do.

Triton compiles a kernel anew for an argument that is 1 or divisible by 16, as what changes with the lengths of a batch
is by chance: `do_not_specialize` names such arguments, so that a run compiles in its first step alone.
"""

import functools
import importlib.util
import os

import torch

from wedefense.utils.log import warn_once

LEAST_CAPABILITY = (8, 0)  # of the device: bfloat16 and the wide products of Ampere
MOST_PROGRAMS = 2 ** 16 - 1  # that a launch has in its second and its third direction

# products and sums as one instruction, with which everything was measured: Triton 3.9 warns that 3.10 will ask for it
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")


@torch.compiler.assume_constant_result
def kernels_run_on(device: torch.device) -> bool:
    setting = os.environ.get("WEDEFENSE_KERNELS")
    if setting == "interpret":
        return True
    return device.type == "cuda" and setting != "0" and _capable(device) and _is_current(device)


def _is_current(device: torch.device) -> bool:
    """Triton launches on the current device alone."""
    if device.index in (None, torch.cuda.current_device()):
        return True
    warn_once(f"{device} runs PyTorch's own kernels, which are slower: ours run on the current device, which "
              f"torch.cuda.set_device({device.index}) would make it")
    return False


@functools.lru_cache
def _capable(device: torch.device) -> bool:
    if importlib.util.find_spec("triton") is None or not torch.cuda.is_available() or torch.version.hip is not None:
        return False
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return False
    from wedefense.gpu import trial

    fault = trial.fault(device)
    if fault is not None:
        warn_once(f"this GPU runs PyTorch's own kernels, which are slower: ours cannot be built here ({fault}). "
                  f"{trial.WANTS}; WEDEFENSE_KERNELS=0 asks for PyTorch's without this warning")
    return fault is None


@functools.lru_cache
def shared_memory(device: torch.device) -> int:
    """Bytes of it that one program may have: 227 KiB on an H100, 99 on an RTX 4090; no bound for the interpreter."""
    if device.type != "cuda":
        return 2 ** 40
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin
