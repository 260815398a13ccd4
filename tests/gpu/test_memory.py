"""That kernels touch only what is theirs is watched in every test of this folder; here, that the watch sees faults."""

import pytest
import torch

from tests.gpu.interpreter import DEVICE

if DEVICE == "cuda":
    pytest.skip("programs are watched one by one in the interpreter", allow_module_level=True)

import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError


@triton.jit
def copy_kernel(x, out, count, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    """out[i + SHIFT] = x[i], in blocks whose last is not whole."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place + SHIFT, tl.load(x + place, mask=place < count, other=0.0), mask=place < count)


@triton.jit
def overlapping_kernel(x, out, BLOCK: tl.constexpr):
    """Programs that write one place more than they own."""
    place = tl.program_id(0) * (BLOCK - 1) + tl.arange(0, BLOCK)
    tl.store(out + place, tl.load(x + place))


@triton.jit
def turned_kernel(x, out, BLOCK: tl.constexpr, WAITS: tl.constexpr):
    """Writes a line and reads it from its end on."""
    place = tl.arange(0, BLOCK)
    tl.store(out + place, tl.load(x + place))
    if WAITS:
        tl.debug_barrier()
    tl.store(x + place, tl.load(out + BLOCK - 1 - place))


def line(count=20):
    return torch.arange(count, dtype=torch.float32)


def test_what_is_right_is_let_through():
    x = line()
    out = torch.empty(21)
    copy_kernel[3,](x, out, 20, SHIFT=1, BLOCK=8)
    assert torch.equal(out[1:], x)
    turned_kernel[1,](x[:16], out[:16], BLOCK=16, WAITS=True)
    assert torch.equal(x[:16], line().flip(0)[4:])


@pytest.mark.parametrize("launch, fault", [
    (lambda x: copy_kernel[3,](x, torch.empty(20), 20, SHIFT=1, BLOCK=8), "outside of what it was given"),
    (lambda x: copy_kernel[3,](x, torch.empty(40)[:20], 20, SHIFT=1, BLOCK=8), "outside of what it was given"),
    (lambda x: copy_kernel[3,](x[:19], torch.empty(20), 20, SHIFT=0, BLOCK=8), "outside of what it was given"),
    (lambda x: copy_kernel[3,](x, x, 19, SHIFT=1, BLOCK=8), "reads what another writes"),
    (lambda x: copy_kernel[2,](x[4:], x[:16], 16, SHIFT=0, BLOCK=8), "writes what another reads"),
    (lambda x: overlapping_kernel[2,](x, torch.empty(20), BLOCK=8), "writes what another writes"),
    (lambda x: turned_kernel[1,](x[:16], torch.empty(16), BLOCK=16, WAITS=False), "without a barrier"),
], ids=["past the end", "past a view", "reads past", "ahead", "behind", "shared", "no barrier"])
def test_what_a_gpu_would_punish_is_a_fault(launch, fault):
    with pytest.raises(InterpreterError, match=fault):
        launch(line())


def test_fresh_memory_holds_no_numbers():
    assert torch.empty(3).isnan().all()
    assert torch.ones(3).new_empty(2, dtype=torch.bfloat16).isnan().all()
