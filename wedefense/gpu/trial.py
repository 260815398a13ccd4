"""Whether Triton gets as far as a launch here: for that it needs more of a machine than PyTorch does."""

import torch
import triton
import triton.language as tl

WANTS = ("Triton wants a C compiler (gcc, or the one that CC names), Python's headers (python3-dev or the like), a "
         "driver of this CUDA, and a folder to write to (TRITON_CACHE_DIR, else .triton in the home folder)")


@triton.jit
def trial_kernel(out):
    tl.store(out, 1.0)


def fault(device: torch.device) -> str | None:
    """What went wrong when a kernel of one line was built and launched."""
    out = torch.zeros(1, device=device)
    try:
        with torch.cuda.device(device):
            trial_kernel[(1,)](out)
    except Exception as error:  # of a compiler, a file system, a driver: any of them, and all mean the same
        return f"{type(error).__name__}: {error}".split("\n")[0][:300]
    return None
