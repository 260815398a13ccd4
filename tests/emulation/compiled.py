"""What Triton makes of every kernel for a card, compiled without one: registers, spills, shared memory.

    python -m tests.emulation.compiled [--cards 80 86 89 90 100 120] [--cases base large ...] [--precisions bfloat16]

A line for each program that does not fit, and for each kernel the program that wants most shared memory, and the one
that spills most where that is another. Without TRITON_INTERPRET in the environment. Ends with 1 where one does not
compile or wants more shared memory than a program gets there.
`--loops` shows the instructions of each kernel's loop, by kind: what a kernel does for each tile is there.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from tests.emulation import programs
from tests.emulation.cuda import SHARED, emulated_cuda
from tests.emulation.device import each
from tests.emulation.steps import run_step, sized_batch, ssl_frontend, step_on
from wedefense.frontend.ssl.zoo import find_model

CASES = {  # model, whether it is trained
    "base, frozen": ("wavlm_base_plus", False), "base": ("wavlm_base_plus", True), "large": ("wavlm_large", True),
    "heads of 80": ("xls_r_1b", True), "heads of 120": ("xls_r_2b", True)}
PRECISIONS = {"bfloat16": (True, False), "tf32": (False, True), "float32": (False, False)}  # autocast, TF32


@dataclass(frozen=True)
class Compiled:
    kernel: str
    case: str
    shared: int     # bytes
    registers: int  # of a thread
    spilled: int    # bytes of a thread
    loop: Counter   # instructions of the longest loop that has no other in it, by kind


class Card:
    """As Triton's driver, of a card that is not here."""

    def __init__(self, capability: int):
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_device(self) -> int:
        """Each card another one: Triton compiles a program once for a device."""
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return self.target


def launched_programs(case: str, precision: str, capability: int) -> dict:
    """Every program of a training step and an embedding batch, with what its kernel is given."""
    name, trained = CASES[case]
    architecture = find_model(name).architecture
    architecture = replace(architecture, blocks=architecture.blocks[:2], layer_drop=0.0)
    with torch.device("meta"):
        frontend = ssl_frontend(architecture, frozen=not trained)
    step, found, note = step_on(frontend), {}, programs.note
    amp, tf32 = PRECISIONS[precision]

    def keep(kernel, args, kwargs, emulation):
        found[programs.program_of(kernel, args, kwargs)] = (
            kernel, each(programs.Pointer, args), {key: each(programs.Pointer, value) for key, value in kwargs.items()})
        note(kernel, args, kwargs, emulation)

    with emulated_cuda(kernels=True, sizes=True, capability=capability) as cuda, \
            mock.patch.object(programs, "note", keep):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        step.to(cuda.device)
        with cuda.watch():
            batch = sized_batch([48000] * 4, cuda)
            run_step(step, batch, amp=amp)
            with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=amp):
                step.eval().detector.embed(batch.wav, [48000] * 4)
    return found


def compiled(case: str, precision: str, capability: int, only: str = "", loops: bool = False) -> Iterator[Compiled]:
    """The programs of a case for a card; raises where one cannot be compiled. Without `loops`, which take their time,
    they are empty."""
    found = launched_programs(case, precision, capability)
    driver.set_active(Card(capability))
    for (name, _), (kernel, args, kwargs) in found.items():
        if re.search(only, name):
            made = JITFunction.run(kernel, *args, grid=(1,), warmup=True, **kwargs)
            wants = resources(told(made.asm["cubin"], "--dump-resource-usage"))
            loop = longest_loop(told(made.asm["cubin"], "--dump-sass")) if loops else Counter()
            yield Compiled(name, f"{case}, {precision}", made.metadata.shared, *wants, loop)


def told(binary: bytes, option: str) -> str:
    """What NVIDIA's tool says of compiled code: what it wants, or its instructions."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        return subprocess.run([tool, option, file.name], capture_output=True, text=True).stdout


def resources(said: str) -> tuple[int, int]:
    """Registers of a thread, and bytes of it that lie in memory for want of more."""
    sizes = {name: int(size) for name, size in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said)}
    return sizes.get("REG", 0), sizes.get("STACK", 0) + sizes.get("LOCAL", 0)


def longest_loop(said: str) -> Counter:
    code = {int(place, 16): (kind, rest) for place, kind, rest in re.findall(
        r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ +)?([A-Z0-9_]+)(.*?);", said, re.MULTILINE)}
    loops = []
    for place, (kind, rest) in code.items():
        target = re.search(r"0x([0-9a-f]+)", rest)
        if kind == "BRA" and target and int(target[1], 16) < place:
            loops.append((int(target[1], 16), place))
    inner = [(first, last) for first, last in loops
             if not any((first, last) != other and first <= other[0] and other[1] <= last for other in loops)]
    first, last = max(inner, key=lambda loop: loop[1] - loop[0], default=(0, -1))
    return Counter(kind for place, (kind, _) in code.items() if first <= place <= last)


def most_of(programs: Iterable[Compiled]) -> dict[str, list[Compiled]]:
    """Of each kernel the program that wants most shared memory, and the one that spills most where it spills more."""
    kernels: dict[str, list[Compiled]] = {}
    for one in programs:
        kernels.setdefault(one.kernel, []).append(one)
    found = {}
    for name, group in kernels.items():
        shares = max(group, key=lambda one: (one.shared, one.spilled))
        spills = max(group, key=lambda one: (one.spilled, one.shared))
        found[name] = [shares, spills] if spills.spilled > shares.spilled else [shares]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", nargs="+", type=int, default=[80, 86, 89, 90, 100, 120], choices=SHARED)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"], choices=PRECISIONS)
    parser.add_argument("--only", default="", help="kernels whose names have this regular expression in them")
    parser.add_argument("--loops", action="store_true", help="show the instructions of loops")
    arguments = parser.parse_args()
    too_large = 0
    for capability in arguments.cards:
        programs = []
        for case in arguments.cases:
            for precision in arguments.precisions:
                for one in compiled(case, precision, capability, arguments.only, arguments.loops):
                    programs.append(one)
                    if one.shared > 1024 * SHARED[capability]:
                        too_large += 1
                        print(f"sm_{capability} TOO LARGE {one}", flush=True)
        print(f"sm_{capability}, {SHARED[capability]} KiB of shared memory a program:")
        for one in (one for group in most_of(programs).values() for one in group):
            print(f"  {one.kernel:<30} {one.shared / 1024:6.1f} KiB {one.registers:4d} registers "
                  f"{one.spilled:4d} bytes spilled  {one.case}", flush=True)
            if arguments.loops and one.loop:
                kinds = ", ".join(f"{count} {kind}" for kind, count in one.loop.most_common())
                print(f"    a loop of {one.loop.total()}: {kinds}", flush=True)
    return int(too_large > 0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
