"""The extractor's kernels beside their definitions; on a CPU by Triton's interpreter."""

import pytest
import torch
import torch.nn.functional as F

from tests.gpu.interpreter import DEVICE  # before Triton itself

# isort: split
import triton
import triton.language as tl

from wedefense.gpu.extractor import ConvLayer, Signal, conv_layer, folded_weights, window_products
from wedefense.gpu.extractor_kernels import gelu_into, gelu_slope

STRIDE, KERNEL, CHANNELS = 5, 10, 20
PER_SLOT = 16                     # windows that begin in a slot
SLOTS = [7, 3, 18]                # of each utterance: the longest takes two programs
WINDOWS = [110, 35, 286]          # valid ones of the first layer


def signal():
    torch.manual_seed(0)
    samples = torch.randn(sum(SLOTS), PER_SLOT * STRIDE, device=DEVICE)
    owner = torch.repeat_interleave(torch.arange(len(SLOTS)), torch.tensor(SLOTS))
    starts = torch.tensor([0, *SLOTS]).cumsum(0)
    return Signal(samples, owner.int().to(DEVICE), starts.int().to(DEVICE), max(SLOTS))


def windows(of):
    """Valid windows of each utterance, float64."""
    flat = F.pad(of.samples.double().cpu().flatten(), (0, KERNEL)).unfold(0, KERNEL, STRIDE)
    starts = of.slot_starts.tolist()
    return [flat[PER_SLOT * start:PER_SLOT * start + count] for start, count in zip(starts, WINDOWS)]


def test_products_of_windows_are_summed():
    own = signal()
    sums = window_products(own, torch.tensor(WINDOWS, dtype=torch.int32, device=DEVICE), KERNEL, STRIDE).double().sum(1)
    for found, x in zip(sums.cpu(), windows(own), strict=True):
        x = F.pad(x, (0, 1), value=1.0)
        torch.testing.assert_close(found[:KERNEL + 1, :KERNEL + 1], x.t() @ x, rtol=1e-5, atol=1e-4)


def test_the_norm_over_time_is_folded_into_the_weights():
    own, counts = signal(), torch.tensor(WINDOWS, dtype=torch.int32, device=DEVICE)
    weight, gain, shift = (torch.randn(CHANNELS, *rest, device=DEVICE) for rest in ((KERNEL,), (), ()))
    found = folded_weights(window_products(own, counts, KERNEL, STRIDE), weight, gain, shift, 1e-5).double().cpu()
    for folded, x in zip(found, windows(own), strict=True):
        y = x @ weight.double().cpu().t()                                    # (windows, channels)
        normed = (y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt() * gain.double().cpu() + shift.double().cpu()
        torch.testing.assert_close(F.pad(x, (0, 1), value=1.0) @ folded, normed, rtol=1e-4, atol=1e-4)


@triton.jit
def gelu_kernel(x, out, slope, KIND: tl.constexpr):
    place = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    tl.store(out + place, gelu_into(tl.load(x + place), KIND))
    tl.store(slope + place, gelu_slope(tl.load(x + place), KIND))


@pytest.mark.parametrize("kind, relative, absolute, of_slope", [(tl.float32, 1e-6, 3e-6, 3e-6),
                                                               (tl.bfloat16, 7e-4, 2e-5, 5.2e-4)], ids=str)
def test_gelu_is_as_fine_as_what_it_is_kept_in(kind, relative, absolute, of_slope):
    """bfloat16 itself rounds by up to 4e-3."""
    x = torch.linspace(-40, 40, 2**16, device=DEVICE)
    out, slope, wide = torch.empty_like(x), torch.empty_like(x), x.double().requires_grad_()
    gelu_kernel[(64,)](x, out, slope, KIND=kind)
    there = F.gelu(wide)
    torch.testing.assert_close(out.double(), there.detach(), rtol=relative, atol=absolute)
    torch.testing.assert_close(slope.double(), torch.autograd.grad(there.sum(), wide)[0], rtol=0, atol=of_slope)


def test_a_product_with_gelu_in_bfloat16():
    x = torch.linspace(-12, 12, 4096, device=DEVICE).bfloat16()[:, None] * torch.eye(16, device=DEVICE).bfloat16()[0]
    with torch.no_grad():
        found = conv_layer(1, 0.0, torch.eye(16, device=DEVICE).bfloat16(), x, torch.zeros(16, 16, 1), None, None, None)
    torch.testing.assert_close(found.double(), F.gelu(x.double()), rtol=5e-3, atol=2e-5)


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "norm over channels"])
@pytest.mark.parametrize("kernel, stride", [(3, 2), (2, 2)])
def test_a_layer_and_its_gradients(kernel, stride, normed):
    torch.manual_seed(0)
    x = torch.randn(37, 24, device=DEVICE, requires_grad=True)
    weight = torch.randn(32, 24, kernel, device=DEVICE, requires_grad=True)
    bias = torch.randn(32, device=DEVICE, requires_grad=True)
    norm = [torch.randn(32, device=DEVICE, requires_grad=True) for _ in "ab"] if normed else [None, None]
    product = weight.detach().transpose(1, 2).flatten(1)
    inputs = [tensor for tensor in (x, weight, bias, *norm) if tensor is not None]

    def of(y):
        return [y, *torch.autograd.grad(y.sin().sum(), inputs)]

    y = F.conv1d(x.t()[None], weight, bias, stride)[0].t()
    if normed:
        y = F.layer_norm(y, (32,), *norm, 1e-5)
    kernels = ConvLayer.apply(stride, 1e-5, product, x, weight, bias, *norm)
    for found, true in zip(of(kernels), of(F.gelu(y)), strict=True):
        torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-3)
