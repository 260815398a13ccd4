"""Many tensors in another precision by one launch; on a CPU by Triton's interpreter."""

import pytest
import torch

from tests.gpu.interpreter import DEVICE, gpu  # noqa: F401
from wedefense.gpu import passes
from wedefense.gpu.block import Products
from wedefense.gpu.cast_kernels import BLOCK, MOST

SIZES = [BLOCK, 5, 2 * BLOCK + 7, 1, BLOCK - 1, 16]
LOW = torch.bfloat16


def values(size, dtype=torch.float32):
    """Of all magnitudes, halves between two of bfloat16, and what is no number of its own."""
    torch.manual_seed(size)
    x = torch.randn(size) * 10.0 ** torch.randint(-44, 39, (size,))
    halves = torch.randint(0x3F80, 0x4000, x[::7].shape, dtype=torch.int32) * 0x10000 + 0x8000
    x[::7] = halves.view(torch.float32)
    x[::11], x[::13] = float("inf"), -0.0
    return x.to(DEVICE, dtype)


def bits(x):
    return x.view(torch.int16 if x.element_size() == 2 else torch.int32)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("given, wanted", [(torch.float32, LOW), (torch.float32, torch.float32), (LOW, torch.float32),
                                           (torch.float32, torch.float16)], ids=str)
def test_values_are_rounded_as_pytorch_rounds_them_and_nothing_else_is_written(monkeypatch, given, wanted):
    monkeypatch.setattr(torch.Tensor, "copy_", None, raising=False)  # by which others are written
    sources = [values(size, given) for size in SIZES]
    around = torch.full((sum(SIZES) + 2 * len(SIZES),), 3.0, device=DEVICE, dtype=wanted)  # a value after each
    outs = [part[:-2] for part in around.split([size + 2 for size in SIZES])]
    passes.copy_together(list(zip(outs, sources)))
    expected = [torch.cat([source.to(wanted), torch.full((2,), 3.0, device=DEVICE, dtype=wanted)])
                for source in sources]
    assert torch.equal(bits(around), bits(torch.cat(expected)))


@pytest.mark.parametrize("sources", [
    [torch.randn(3, dtype=torch.float64), torch.randn(2).half()], [torch.arange(3), torch.randn(2)],
    [torch.randn(4, 3).t(), torch.randn(2)],
    [torch.full((3,), float(n)) for n in range(MOST + 1)], []], ids=["float64", "whole", "turned", "many", "none"])
def test_what_the_kernel_cannot_take_is_copied_all_the_same(sources):
    sources = [source.to(DEVICE) for source in sources]
    outs = [torch.empty(source.shape, dtype=LOW, device=DEVICE) for source in sources]
    passes.copy_together(list(zip(outs, sources)))
    for out, source in zip(outs, sources):
        assert torch.equal(out, source.to(LOW))


@pytest.mark.parametrize("dtype", [LOW, torch.float32], ids=str)
def test_weights_of_a_block_s_products_are_its_parameters_joined(gpu, dtype):  # noqa: F811
    rows, dim, units = 24, 40, 53
    shapes = {"q": (rows, dim), "k": (rows, dim), "v": (rows, dim), "out": (dim, rows), "inner": (units, dim),
              "outer": (dim, units)}
    p = {f"{name}.{kind}": torch.randn(shape if kind == "weight" else shape[:1]).to(gpu)
         for name, shape in shapes.items() for kind in ("weight", "bias")}
    with torch.no_grad():
        products = Products.of(p, dtype)
    for side, names in {"qkv": "qkv", "out": ["out"], "inner": ["inner"], "outer": ["outer"]}.items():
        for found, kind in zip(getattr(products, side), ("weight", "bias")):
            assert torch.equal(found.cpu(), torch.cat([p[f"{name}.{kind}"].to(dtype) for name in names]).cpu())
