"""Started by torchrun, one process for each GPU: do the ranks see one another, and do they train as one?

Rank 0 prints a line of JSON: what was found, and whether it is right.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
import torch.distributed as dist

from tools.bench.steps import architecture_of_size, built_on, detector_on, noise, our_frontend
from tools.bench.timing import median_seconds, precision, seconds_of
from wedefense.config.heads import LossOptions
from wedefense.gpu import kernels_run_on
from wedefense.models.losses import CrossEntropyLoss
from wedefense.train.modes import Mode
from wedefense.train.parallel import Replicated, Sharded
from wedefense.train.recording import record
from wedefense.train.step import TrainStep
from wedefense.utils import distributed
from wedefense.utils.distributed import World, gather
from wedefense.utils.ending import end_rank, is_rank


def say(world: World, what: str, value, right: bool) -> None:
    """A row, right on all ranks or not at all."""
    together = all(gather(bool(right)))
    if world.is_main:
        print(json.dumps({"what": what, "value": value, "verdict": "OK" if together else "FAIL"}), flush=True)


def collectives(world: World, size: int) -> None:
    x = torch.full((size,), float(world.rank + 1), device=world.device)
    dist.all_reduce(x)
    say(world, f"sum over {world.size} ranks", x[0].item(), bool((x == world.size * (world.size + 1) / 2).all()))
    seconds = median_seconds(lambda: dist.all_reduce(x), world.device)
    moved = 2 * (world.size - 1) / world.size * x.numel() * 4 / seconds / 1e9
    say(world, f"all-reduce of {x.numel() * 4 / 2**20:.0f} MiB", f"{1e3 * seconds:.2f} ms, bus {moved:.1f} GB/s", True)
    objects = gather({"rank": world.rank, "x": torch.ones(2)})
    say(world, "objects of all ranks", len(objects), [one["rank"] for one in objects] == list(range(world.size)))


def whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Of one in shares all of it, on every rank."""
    return parameter.detach().full_tensor() if hasattr(parameter, "full_tensor") else parameter.detach()


def training(world: World, size: str, samples: int) -> None:
    """Two steps with other audio on each rank: afterwards all hold the same parameters, and they have moved."""
    ways = [(Replicated, False), (Sharded, False)]
    if kernels_run_on(world.device):
        ways.insert(1, (Replicated, True))
    for kind, recorded in ways:
        started = time.perf_counter()
        detector = built_on(world.device, lambda: detector_on(our_frontend(architecture_of_size(size), False)))
        before = detector.backend.weights_k.detach().clone()
        step = TrainStep(detector, CrossEntropyLoss(LossOptions(), ()), Mode()).to(world.device).train()
        parallel = kind(step, world)
        if recorded:
            record(detector.frontend.upstream, 4, samples + 400 * world.rank, world)
        trained = [parameter for parameter in step.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        batch = noise([samples + 400 * world.rank] * 4, world.device)

        def one_step() -> torch.Tensor:
            with precision("bfloat16", world.device) as forward:
                with forward():
                    loss, _ = parallel.module(batch)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        loss = [one_step() for _ in range(2)][-1]
        weights = {name: whole(parameter) for name, parameter in detector.named_parameters()}
        sums = gather([value.double().sum().item() for value in weights.values()])
        moved = not torch.equal(weights["backend.weights_k"].cpu(), before.cpu())
        took = time.perf_counter() - started
        many = [seconds_of(one_step, world.device) for _ in range(5)]  # as many on every rank
        name = kind.__name__ + ", recorded" * recorded
        say(world, f"{name}: two steps of {size} in bfloat16, the same weights on all ranks",
            f"loss {loss.item():.3f}, {took:.1f} s; later {1e3 * statistics.median(many):.1f} ms a step",
            moved and bool(torch.isfinite(loss)) and all(one == sums[0] for one in sums))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="base")
    parser.add_argument("--samples", type=int, default=16000)
    arguments = parser.parse_args()
    count = torch.cuda.device_count() if arguments.device == "cuda" else 1
    world = distributed.start(tuple(range(count)), arguments.device)
    try:
        wanted = "nccl" if arguments.device == "cuda" else "gloo"
        say(world, "backend", dist.get_backend(), dist.get_backend() == wanted)
        collectives(world, 2**26 if arguments.device == "cuda" else 2**10)
        training(world, arguments.size, arguments.samples)
    finally:
        distributed.stop()


if __name__ == "__main__":
    main()
    if is_rank():
        end_rank(0)
