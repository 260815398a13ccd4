"""What only CUDA devices use: Triton kernels, and the operators that call them.

Everything here equals some plain torch code elsewhere, which serves all other devices and says what is computed;
`WEDEFENSE_KERNELS=0` in the environment makes GPUs run that too.
"""

import functools
import importlib.util
import os

import torch

LEAST_CAPABILITY = (8, 0)  # of the device: bfloat16 and the wide products of Ampere


def kernels_run_on(device: torch.device) -> bool:
    return device.type == "cuda" and os.environ.get("WEDEFENSE_KERNELS") != "0" and _capable(device)


@functools.lru_cache
def _capable(device: torch.device) -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
