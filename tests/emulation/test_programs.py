"""Kernels are compiled when training starts, and no length that comes later compiles one more."""

import random
from dataclasses import replace

import pytest
import torch

from tests.emulation.cuda import emulated_cuda
from tests.emulation.steps import run_step, sized_batch, ssl_frontend, step_on
from wedefense.frontend.ssl.zoo import find_model

CASES = {"wavlm_base_plus, frozen": 17, "wavlm_large, full": 38, "xls_r_300m, full": 35, "wavlm_base_plus, full": 36}
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


def test_weights_of_blocks_that_were_pruned_otherwise_are_cast_by_one_program():
    architecture = find_model("wavlm_base_plus").architecture
    blocks = tuple(replace(block, heads=block.heads[:12 - number], ff_dim=block.ff_dim - 37 * number)
                   for number, block in enumerate(architecture.blocks[:4]))
    with torch.device("meta"):
        step = step_on(ssl_frontend(replace(architecture, blocks=blocks, layer_drop=0.0)))
    with emulated_cuda(kernels=True, sizes=True) as cuda:
        step.to(cuda.device)
        with cuda.watch() as seen:
            run_step(step, sized_batch([48000] * 2, cuda))
    assert seen.launches["cast_kernel"] == 4 and len([name for name, _ in seen.programs if name == "cast_kernel"]) == 1


@pytest.mark.parametrize("name, width", [("xls_r_1b", "DIM=80, LANES=128"), ("xls_r_2b", "DIM=120, LANES=128"),
                                         ("wavlm_base_plus", None)])
def test_heads_of_any_width_and_rounded_weights_attend_by_the_kernels(name, width):
    architecture = find_model(name).architecture
    with torch.device("meta"):
        frontend = ssl_frontend(replace(architecture, blocks=architecture.blocks[:2], layer_drop=0.0))
    step = step_on(frontend)
    with emulated_cuda(kernels=True, sizes=True) as cuda:
        step.to(cuda.device)
        if width is None:
            step.detector.frontend.bfloat16()
        with cuda.watch() as seen:
            run_step(step, sized_batch([48000, 40000], cuda), amp=width is not None)
    assert not seen.launches["attention"]
    if width is None:  # a block of its own parts, and attention as an operator
        assert seen.launches["packed_attention"] == seen.launches["packed_attention_backward"] == 2
        return
    assert seen.launches["forward_kernel"] == seen.launches["key_gradient_kernel"] == 2
    assert all(width in kinds and "qkv=('*bf16', 'D')" in kinds for kernel, kinds in seen.programs
               if kernel in ("forward_kernel", "key_gradient_kernel"))
