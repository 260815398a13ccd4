"""Training speed: hours of audio per second, and peak memory, of MHFA on WavLM, frozen and trained.

    python tools/bench/train.py --device cuda                        # base and large, batches of 32 and 128, bfloat16
    python tools/bench/train.py --device cpu --sizes tiny --batches 4 --threads 1

Weights are random, audio is noise. Each row comes from a process of its own: the best of the repeats of a whole
training step (forward, backward, optimiser). Peak memory holds weights, gradients and optimiser states too.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from wedefense.frontend.options import SSLOptions
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.ssl.names import find_model
from wedefense.models.detector import Cmvn, Detector
from wedefense.models.mhfa import MHFA
from wedefense.models.options import HEADS, MHFAOptions
from wedefense.train.modes import Mode
from wedefense.train.trainer import TrainStep

MODELS = {"tiny": "wavlm_tiny", "base": "wavlm_base_plus", "large": "wavlm_large"}
RATE = 16000


def training_step(args):
    """A callable that makes one step on a batch of noise."""
    torch.manual_seed(0)
    options = SSLOptions(frozen=args.mode == "frozen", gradient_checkpointing=args.checkpointing)
    frontend = SSLFrontend(options, RATE, find_model(MODELS[args.size]).architecture)
    backend = MHFA(MHFAOptions(head_nb=32), frontend.feat_dim, frontend.num_layers)
    head = HEADS.load("softmax")(HEADS.options("softmax")(), backend.embed_dim, 2)
    detector = Detector(frontend, backend, head, Cmvn(True, False, over_time=False))
    step = TrainStep(detector, torch.nn.CrossEntropyLoss(), Mode()).to(args.device).train()
    optimizer = torch.optim.AdamW([p for p in step.parameters() if p.requires_grad], lr=1e-4)
    samples = int(args.seconds * RATE)
    wav = 0.1 * torch.randn(args.batch, samples, device=args.device)
    lengths = [samples] * args.batch
    labels = torch.arange(args.batch, device=args.device) % 2

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.dtype == "bfloat16"):
            loss, _ = step(wav, lengths, labels)
        loss.backward()
        optimizer.step()
        if args.device == "cuda":
            torch.cuda.synchronize()

    return run


def measure(args) -> dict:
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        run, times = training_step(args), []
        for _ in range(args.repeats + 1):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    except torch.cuda.OutOfMemoryError:
        return {"out_of_memory": True}
    if args.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"step": min(times[1:]), "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--sizes", nargs="+", choices=tuple(MODELS), default=["base", "large"])
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--modes", nargs="+", choices=("frozen", "full"), default=["frozen", "full"])
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
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"cpu, {args.threads or torch.get_num_threads()} threads"
    print(f"WavLM + MHFA, {args.seconds:g} s each, {args.dtype}, {device}, torch {torch.__version__}")
    print(f"{'size':<7}{'mode':<8}{'batch':>6}{'step s':>9}{'audio h/s':>11}{'peak GiB':>10}")
    same = [f"--{name}={getattr(args, name)}" for name in ("device", "dtype", "seconds", "repeats", "threads")]
    same += ["--checkpointing"] * args.checkpointing
    for size in args.sizes:
        for mode in args.modes:
            for batch in args.batches:
                command = [sys.executable, __file__, *same, "--one", size, mode, str(batch)]
                row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                speed = "out of memory" if "step" not in row else \
                    f"{row['step']:>9.3f}{batch * args.seconds / 3600 / row['step']:>11.3f}{row['peak'] / 2**30:>10.2f}"
                print(f"{size:<7}{mode:<8}{batch:>6}{speed}", flush=True)


if __name__ == "__main__":
    main()
