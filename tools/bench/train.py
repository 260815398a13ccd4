"""Training speed: hours of audio per second, and peak memory, of MHFA on WavLM, frozen and trained.

    python tools/bench/train.py --device cuda                        # base and large, batches of 32 and 128, bfloat16
    python tools/bench/train.py --device cpu --sizes tiny --batches 4 --threads 1

Weights are random, audio is noise; no layer is dropped but in the mode `dropped`, one of twenty, and `pruned` has gates
on all units. Each row comes from a process of its own: the first step by itself (it compiles what is compiled), then
the median of the repeats of a whole training step (forward, backward, optimiser), and where kernels run that of a step
of which nothing is recorded (`cuda_graphs: False`). Peak memory holds weights, gradients and optimiser states too.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from tools.bench.steps import (
    RATE,
    architecture_of_size,
    built_on,
    detector_on,
    noise,
    our_frontend,
    pruned,
    training_step,
)
from tools.bench.timing import PRECISIONS, median_seconds, seconds_of
from wedefense.gpu import kernels_run_on

MODES = ("frozen", "full", "dropped", "pruned")


def measure(args) -> dict:
    """`first`, `step` (seconds) and `peak` (bytes), or `out_of_memory`."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    architecture, frozen = architecture_of_size(args.size), args.mode == "frozen"
    if args.mode == "dropped":
        architecture = replace(architecture, layer_drop=0.05)
    try:
        detector = built_on(device, lambda: detector_on(
            our_frontend(architecture, frozen, gradient_checkpointing=args.checkpointing)))
        mode = pruned(detector.to(device)) if args.mode == "pruned" else None
        step = training_step(detector, args.dtype, device, mode)
        batch = noise([int(args.seconds * RATE)] * args.batch, device)
        first = seconds_of(lambda: step(batch), device)
        middle = median_seconds(lambda: step(batch), device, args.repeats, args.repeats, warm=2)
    except torch.cuda.OutOfMemoryError:
        return {"out_of_memory": True}
    if args.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"first": first, "step": middle, "peak": peak}
    if kernels_run_on(device):  # else nothing is recorded
        with contextlib.suppress(torch.cuda.OutOfMemoryError):  # what was measured stands
            step = training_step(detector, args.dtype, device, mode, records=False)
            found["launched"] = median_seconds(lambda: step(batch), device, args.repeats, args.repeats, warm=2)
    return found


def row(command: list[str]) -> dict:
    """What a process of its own measured; where it fails, its words are shown."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"'{' '.join(command)}' ended with exit code {done.returncode}; its words stand above")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dtype", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--sizes", nargs="+", choices=("tiny", "base", "large"), default=["base", "large"])
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["frozen", "full"])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each utterance")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true", help="recompute each block in the backward pass")
    parser.add_argument("--one", nargs=3, metavar=("SIZE", "MODE", "BATCH"), help="measure one row and print JSON")
    args = parser.parse_args()
    if args.one:
        args.size, args.mode, args.batch = args.one[0], args.one[1], int(args.one[2])
        print(json.dumps(measure(args)))
        return
    device = torch.cuda.get_device_name() if args.device == "cuda" else \
        f"cpu, {args.threads or torch.get_num_threads()} threads"
    print(f"WavLM + MHFA, {args.seconds:g} s each, {args.dtype}, {device}, torch {torch.__version__}")
    print(f"{'size':<7}{'mode':<8}{'batch':>6}{'first s':>9}{'step s':>9}{'audio h/s':>11}{'peak GiB':>10}"
          f"{'launched s':>12}")
    same = [f"--{name}={getattr(args, name)}" for name in ("device", "dtype", "seconds", "repeats", "threads")]
    same += ["--checkpointing"] * args.checkpointing
    for size in args.sizes:
        for mode in args.modes:
            for batch in args.batches:
                found = row([sys.executable, __file__, *same, "--one", size, mode, str(batch)])
                speed = "out of memory" if "step" not in found else \
                    f"{found['first']:>9.3f}{found['step']:>9.3f}{batch * args.seconds / 3600 / found['step']:>11.3f}" \
                    f"{found['peak'] / 2**30:>10.2f}" + (f"{found['launched']:>12.3f}" if "launched" in found else "")
                print(f"{size:<7}{mode:<8}{batch:>6}{speed}", flush=True)


if __name__ == "__main__":
    main()
