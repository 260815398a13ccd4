"""Kernels are compiled when training starts, and no length that comes later compiles one more."""

import random
from dataclasses import replace

import pytest
import torch

from tests.emulation.cuda import emulated_cuda
from tests.emulation.steps import run_step, sized_batch, ssl_frontend, step_on
from wedefense.frontend.ssl.zoo import find_model

CASES = {"wavlm_base_plus, frozen": 12, "wavlm_large, full": 26, "xls_r_300m, full": 22, "wavlm_base_plus, full": 24}
ALONE = [[48000], [720], [51311]]  # nothing trains on one


def lengths_of_batches(count: int) -> list[list[int]]:
    """Samples: crops, like those of a corpus, and the shortest there are."""
    rng = random.Random(0)
    drawn = [[round(16000 * min(max(rng.lognormvariate(1.2, 0.4), 0.6), 20)) for _ in range(8)] for _ in range(count)]
    return [[48000] * 8, *drawn, [400, 400], [720, 400]]


@pytest.mark.parametrize("case", CASES)
def test_lengths_compile_nothing(case):
    name, kind = case.split(", ")
    architecture = find_model(name).architecture
    architecture = replace(architecture, blocks=architecture.blocks[:2], layer_drop=0.0)
    with torch.device("meta"):
        frontend = ssl_frontend(architecture, frozen=kind == "frozen")
    step = step_on(frontend)
    with emulated_cuda(kernels=True, sizes=True) as cuda:
        step.to(cuda.device)
        for trained in (True, False):
            step.train(trained)
            known = None
            with cuda.watch() as seen:
                for lengths in lengths_of_batches(8) + ALONE * (not trained):
                    batch = sized_batch(lengths, cuda)
                    if trained:
                        run_step(step, batch)
                    else:
                        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
                            step.detector.embed(batch.wav, lengths)
                    known = known or set(seen.programs)
                    assert not set(seen.programs) - known, lengths
            if trained:
                assert len(known) == CASES[case]
