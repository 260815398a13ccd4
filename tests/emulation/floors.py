"""What a step launches at its real size, and the least time that a card's memory and products leave it.

    python -m tests.emulation.floors [frozen full evaluation]

The cases of tools/gpu_check.sh in bfloat16. Bytes are those of the tensors that a kernel is given and gives, each once
a launch, over 3.35 TB/s; operations of products over 790 TFLOP/s, which an H100 was measured to reach; a launch takes
the larger of both. What a kernel reads again from the cache, and how well it fills the card, is not in it.
"""

import argparse
from dataclasses import replace

import torch

from tests.emulation.cuda import emulated_cuda
from tests.emulation.device import Seen
from tests.emulation.steps import run_step, sized_batch, ssl_frontend, step_on
from wedefense.frontend.ssl.zoo import find_model
from wedefense.train.optimizer import build_optimizer

BYTES, OPERATIONS = 3.35e12, 790e12  # a second
CASES = {"frozen": ("wavlm_base_plus", 128, 48000, False), "full": ("wavlm_large", 32, 48000, True),
         "evaluation": ("wavlm_base_plus", 16, 320000, False)}


def step_at_size(case: str) -> Seen:
    name, batch, samples, trained = CASES[case]
    with torch.device("meta"):
        frontend = ssl_frontend(replace(find_model(name).architecture, layer_drop=0.0), frozen=not trained)
    step = step_on(frontend)
    with emulated_cuda(kernels=True, sizes=True) as cuda:
        step.to(cuda.device).train(case != "evaluation")
        optimizer = build_optimizer("AdamW", {}, [{"params": [p for p in step.parameters() if
                                                                        p.requires_grad]}])
        given = sized_batch([samples] * batch, cuda)
        for _ in range(2):  # the first makes what is kept
            with cuda.watch() as seen:
                if case == "evaluation":
                    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
                        step.detector.embed(given.wav, [samples] * batch)
                else:
                    run_step(step, given)
                    optimizer.step()
    return seen


def table(seen: Seen) -> list[tuple]:
    """name, launches, GB, TFLOP, least milliseconds; the longest first."""
    rows = [(name, count, seen.bytes[name] / 1e9, seen.flops[name] / 1e12,
             1e3 * max(seen.bytes[name] / BYTES, seen.flops[name] / OPERATIONS))
            for name, count in seen.launches.items()]
    return sorted(rows, key=lambda row: -row[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=", ".join(CASES))
    for case in parser.parse_args().cases:
        seen = step_at_size(case)
        rows = table(seen)
        whole = [sum(row[i] for row in rows) for i in range(1, 5)]
        print(f"\n{case}: {CASES[case]}\n{'':34}launches      GB   TFLOP  least ms")
        for name, count, size, work, least in [("all", *whole), *rows]:
            print(f"{name:34}{count:8d}{size:8.2f}{work:8.3f}{least:10.3f}", flush=True)


if __name__ == "__main__":
    import tests.gpu.interpreter  # noqa: F401  kernels are noted by their interpreter

    main()
