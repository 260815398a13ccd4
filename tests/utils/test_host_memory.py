"""Memory that a batch frees stays for the next one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
import torch
from wedefense.utils.host_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        tensors = [torch.ones(2**20 * million) for million in (3, 5, 16)]  # 12 to 64 MiB
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


def counted(**environment: str) -> tuple[int, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env={**clean, **environment}, capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], check=True)
    before, after = map(int, done.stdout.split())
    return before, after


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_was_freed_is_taken_again():
    before, after = counted()
    assert before > 100 and after < before / 5, (before, after)  # few where the system hands out large pages


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_the_environment_says_holds():
    before, after = counted(MALLOC_TOP_PAD_="131072")
    assert after > before / 2 > 50, (before, after)
