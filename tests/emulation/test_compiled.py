"""Every kernel compiles for cards that are not here, and wants no more shared memory than they have."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="kernels need Triton")
ROOT = Path(__file__).parents[2]


def compiled(*options: str) -> str:
    """Where kernels are compiled and not interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-m", "tests.emulation.compiled", *options], cwd=ROOT, env=environment,
                          capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr[-2000:]
    return done.stdout


def test_kernels_fit_a_card_of_little_shared_memory():
    wants = re.findall(r"^  (\w+) +([\d.]+) KiB", compiled("--cards", "86", "--cases", "large", "--precisions",
                                                           "bfloat16"), re.MULTILINE)
    assert len({kernel for kernel, _ in wants}) == 26 and max(float(size) for _, size in wants) <= 99
    for case, precision, kernel in (("large", "float32", "first_layer_gradient_kernel"),
                                    ("heads of 120", "tf32", "key_gradient_kernel")):
        assert kernel in compiled("--cards", "86", "--cases", case, "--precisions", precision, "--only", kernel)


def test_each_card_gets_its_own_programs_whose_loops_waste_little():
    """Those of the card before may even run there, and want something else. Biases of a tile that lie otherwise than
    its scores had cost 16 barriers for each tile, and guards of divisions a third of the GELU's gradient."""
    said = compiled("--cards", "80", "90", "--cases", "large", "--precisions", "bfloat16", "--only",
                    "query_gradient|gelu_gradient", "--loops")
    wants = re.findall(r"query_gradient_kernel +(.*)", said)
    assert len(wants) == len(set(wants)) == 2
    loops = dict(re.findall(r"(\w+)_kernel .*\n    a loop of (.*)", said))  # of the last card
    assert re.match(r"2\d\d: .* [1-4] BAR", loops["query_gradient"]) and re.match(r"[56]\d\d: ", loops["gelu_gradient"])


def test_a_program_that_spills_most_is_shown_beside_the_one_of_most_shared_memory():
    """Attention in float32 over heads of 80 spilled 1008 bytes, and its kernel's line had 32 of another program."""
    from tests.emulation.compiled import Compiled, most_of

    of_a, of_b = [("large", 900, 32), ("small", 100, 1008)], [("large", 900, 8), ("small", 900, 0)]
    programs = [Compiled(kernel, case, shared, 255, spilled, Counter())
                for kernel, group in (("a", of_a), ("b", of_b)) for case, shared, spilled in group]
    found = {kernel: [one.case for one in group] for kernel, group in most_of(programs).items()}
    assert found == {"a": ["large", "small"], "b": ["large"]}


@pytest.mark.slow  # a minute for each card
@pytest.mark.parametrize("card", [80, 86, 89, 90, 100, 120])
def test_every_kernel_fits_every_card(card):
    assert f"sm_{card}, " in compiled("--cards", str(card), "--precisions", "bfloat16", "tf32", "float32")
