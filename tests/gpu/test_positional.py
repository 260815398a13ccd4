"""The positional convolution by its kernels beside its definition; on a CPU by Triton's interpreter."""

import pytest
import torch
import torch.nn.functional as F

from tests.gpu.interpreter import DEVICE
from wedefense.frontend.ssl.fusing import fused_positions, positions_fused
from wedefense.frontend.ssl.packing import Packing
from wedefense.frontend.ssl.positional import PositionalConv
from wedefense.gpu import positional
from wedefense.gpu.positional import Tile

UNEQUAL, EQUAL, ONE, SINGLE = [70, 1, 13, 3], [21, 21], [30], [1, 1, 1]
CASES = {  # dim, kernel, groups, frames of the utterances
    "unequal": (24, 128, 4, UNEQUAL), "equal": (24, 128, 4, EQUAL), "one utterance": (24, 128, 4, ONE),
    "one frame each": (24, 128, 4, SINGLE), "odd": (24, 37, 2, UNEQUAL), "least": (24, 32, 3, UNEQUAL),
    "wide groups": (40, 33, 1, UNEQUAL), "a power of two": (16, 64, 1, UNEQUAL)}
NAMES = ("x", "bias", "length", "direction")
ROUNDING = {torch.bfloat16: 2 ** -8, torch.float16: 2 ** -11}


@pytest.fixture(autouse=True)
def kernels_run(monkeypatch):
    monkeypatch.setenv("WEDEFENSE_KERNELS", "1" if DEVICE == "cuda" else "interpret")


@pytest.fixture(params=["tiles", "few rows a tile", "tiles of small cards"])
def tiles(request, monkeypatch):
    if request.param == "few rows a tile":  # so that a batch takes many, and a group's channels more than one
        small = Tile(16, 32, 16, 1, 2)
        monkeypatch.setattr(positional, "TILES", (small, small))
    elif request.param == "tiles of small cards":
        monkeypatch.setattr(positional, "shared_memory", lambda device: 99 * 1024)


def given(dim, kernel, groups, counts):
    """A convolution all of whose parameters matter, rows, and their packing."""
    torch.manual_seed(0)
    embed = PositionalConv(dim, kernel, groups)
    length, direction = embed.conv.parametrizations.weight.parameters()
    with torch.no_grad():
        length.copy_((3 + torch.rand_like(length)) * (dim / kernel) ** 0.5)
        direction.copy_(torch.randn_like(direction))
        embed.conv.bias.normal_()
    embed, x = embed.to(DEVICE), torch.randn(sum(counts), dim, device=DEVICE, requires_grad=True)
    return embed, x, Packing.of(counts, x.device)


def inputs_of(embed, x):
    return x, embed.conv.bias, *embed.conv.parametrizations.weight.parameters()


def defined(embed, x, packing, dtype=None):
    """By a convolution of each utterance in float64; what is multiplied is rounded to `dtype` before."""
    def rounded(value):
        return value if dtype is None else value + (value.to(dtype).double() - value).detach()

    kernel, found = embed.conv.kernel_size[0], []
    x, bias, length, direction = (value.double() for value in inputs_of(embed, x))
    weight = rounded(direction * length / direction.square().sum((0, 1), keepdim=True).sqrt())
    for rows, frames in zip(x.split(packing.counts), packing.counts, strict=True):
        y = F.conv1d(rounded(rows).t()[None], weight, bias, padding=kernel // 2, groups=embed.conv.groups)
        found.append(rows + F.gelu(y[0, :, :frames].t()))
    return torch.cat(found)


def by_kernels(embed, x, packing, dtype=torch.bfloat16):
    with torch.autocast(DEVICE, dtype):
        assert positions_fused(embed, x)
        return fused_positions(embed, x, packing)


def distance(here, there, dims=None):
    """The largest of the parts that are left when norms run over `dims`."""
    here, there = here.detach().double(), there.detach().double()
    return ((here - there).norm(dim=dims) / there.norm(dim=dims).clamp(min=1e-30)).max().item()


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_definition(case, dtype):
    check(*CASES[case], dtype)


@pytest.mark.parametrize("case", ["unequal", "odd", "wide groups"])
def test_tiles_of_other_sizes(tiles, case):
    check(*CASES[case], torch.bfloat16)


def check(dim, kernel, groups, counts, dtype):
    """Of each row, and of each tap: one that is wrong is not lost among the others."""
    embed, x, packing = given(dim, kernel, groups, counts)
    out, exact, weight = by_kernels(embed, x, packing, dtype), defined(embed, x, packing, dtype), torch.randn_like(x)
    assert out.dtype == torch.float32
    assert distance(out - x, exact - x, 1) <= ROUNDING[dtype] / 4
    assert 0 < distance(out - x, defined(embed, x, packing) - x) <= ROUNDING[dtype]
    found, expected = (torch.autograd.grad(y, inputs_of(embed, x), weight.to(y.dtype)) for y in (out, exact))
    for name, here, there in zip(NAMES, found, expected, strict=True):
        assert here.dtype == torch.float32 and here.shape == there.shape
        dims = {"x": (1,), "direction": (0, 1)}.get(name)
        assert distance(here, there, dims) <= 1.5 * ROUNDING[dtype], (name, distance(here, there, dims))
    with torch.no_grad():
        torch.testing.assert_close(by_kernels(embed, x, packing, dtype), out, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("wanted", [("x",), ("bias",), ("direction",), ("x", "length")], ids="+".join)
def test_who_learns_gets_the_gradient_it_had_among_all(wanted):
    embed, x, packing = given(*CASES["unequal"])
    weight, inputs = torch.randn_like(x), dict(zip(NAMES, inputs_of(embed, x)))
    every = dict(zip(NAMES, torch.autograd.grad(by_kernels(embed, x, packing), inputs.values(), weight)))
    for name, value in inputs.items():
        value.requires_grad_(name in wanted)
    out = by_kernels(embed, x, packing)
    learning = [inputs[name] for name in wanted]
    for name, found in zip(wanted, torch.autograd.grad(out, learning, weight), strict=True):
        assert torch.equal(found, every[name]), name
    assert (embed.taps.value is None) == bool({"length", "direction"} & {*wanted})


def test_weights_that_do_not_learn_are_made_once_and_follow_their_parameters():
    embed, x, packing = given(*CASES["unequal"])
    embed.requires_grad_(False)
    first, kept = by_kernels(embed, x, packing), embed.taps.value
    assert kept.back is not None and torch.equal(by_kernels(embed, x, packing), first) and embed.taps.value is kept
    embed.conv.parametrizations.weight.original0.mul_(2)
    found, exact = by_kernels(embed, x, packing), defined(embed, x, packing)
    assert distance(found - x, exact - x) <= ROUNDING[torch.bfloat16] < distance(first - x, exact - x)
    with torch.no_grad():
        by_kernels(embed, x, packing)
    assert embed.taps.value.back is None


def test_no_utterance_sees_another():
    """Not even what is no number, which zeros of the weights would hand on."""
    embed, x, packing = given(24, 32, 4, [9, 5, 40])
    with torch.no_grad():
        clean = by_kernels(embed, x, packing)
        for rows in (slice(0, 9), slice(9, 14), slice(14, 54)):
            dirty = x.clone()
            dirty[rows] = float("nan")
            same = (by_kernels(embed, dirty, packing) == clean).all(1)
            assert not same[rows].any() and same.sum() == len(x) - len(x[rows])


def test_other_precisions_kernels_and_devices_go_through_frequencies(monkeypatch):
    embed, x, _ = given(24, 128, 4, ONE)
    narrow, _, _ = given(24, 31, 4, ONE)
    assert not positions_fused(embed, x)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert positions_fused(embed, x) and not positions_fused(narrow, x) and not positions_fused(embed, x.bfloat16())
        monkeypatch.setenv("WEDEFENSE_KERNELS", "0")
        assert not positions_fused(embed, x)
