"""The fused block beside the plain one; on a CPU by Triton's interpreter."""

import pytest
import torch

from tests.gpu.interpreter import DEVICE
from wedefense.config.adapters import AdapterOptions
from wedefense.frontend.ssl.adapters import LowRank
from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.frontend.ssl.attention import distance_buckets
from wedefense.frontend.ssl.fusing import fuses
from wedefense.frontend.ssl.packing import Packing
from wedefense.frontend.ssl.transformer import Block
from wedefense.gpu.block import Products, Rows, Shape, fused_block, parameters_of

COUNTS, DIM, TOTAL = [12, 5, 35], 32, 2  # more frames than a tile has keys


@pytest.fixture(autouse=True)
def plain_reference(monkeypatch):
    monkeypatch.setenv("WEDEFENSE_KERNELS", "0")


def block_of(norm_first, relative, heads):
    torch.manual_seed(0)
    architecture = Architecture(
        family="wavlm", blocks=(BlockShape(heads, 48),), dim=DIM, total_heads=TOTAL, norm_first=norm_first,
        rel_buckets=32 * relative, hidden_dropout=0.0, attention_dropout=0.0)
    block = Block(architecture, architecture.blocks[0], first=True).to(DEVICE)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block


def fused(block, x, dropouts=(0.0, 0.0, 0.0), dtype=torch.float32, begun=None, following=None):
    attention, heads = block.attention, list(block.attention.kept or range(TOTAL))
    place = torch.full((TOTAL,), -1, dtype=torch.int32)
    place[heads] = torch.arange(len(heads), dtype=torch.int32)
    shape = Shape(len(heads), DIM // TOTAL, block.norm_first, attention.relative, 1e-5, dropouts, place.to(DEVICE),
                  torch.tensor(heads, device=DEVICE))
    table = None
    if attention.relative:
        buckets = distance_buckets(max(COUNTS), 32, 800).to(DEVICE)
        table = attention.rel_attn_embed.weight[buckets].t()[heads].contiguous()
    rows = Rows(torch.tensor([0, *COUNTS]).cumsum(0).int().to(DEVICE), max(COUNTS), table)
    parameters = parameters_of(block)
    return fused_block(parameters, shape, x, begun, rows, Products.of(parameters, dtype), following)


@pytest.mark.parametrize("heads", [(0, 1), (1,)], ids=["whole", "cut"])
@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_values_and_gradients_are_those_of_the_plain_block(norm_first, relative, heads):
    block = block_of(norm_first, relative, heads)
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE, requires_grad=True)
    packing = Packing.of(COUNTS, x.device)
    spans = packing.spans(torch.float32, block.attention.rel_attn_embed if relative else None)
    there, (here, begun) = block(x, spans), fused(block, x)
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)
    assert begun is None if norm_first else torch.equal(here, begun[1])
    weight = torch.randn_like(there)
    names, given = zip(("x", x), *block.named_parameters())
    found, expected = (torch.autograd.grad(out, given, weight) for out in (here, there))
    for name, one, other in zip(names, found, expected, strict=True):
        difference = (one - other).norm()
        # softmax does not see what shifts all keys alike: the gradient of their bias is but rounding
        absolute = 1e-3 if name == "attention.k_proj.bias" else 1e-4
        assert difference <= 1e-4 * other.norm() + absolute, (name, difference / other.norm())
    with torch.no_grad():
        torch.testing.assert_close(fused(block, x)[0], there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_the_way_back_sees_the_dropout_of_the_way_there(norm_first):
    block = block_of(norm_first, True, (0, 1))
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE, requires_grad=True)

    def out(shift=0.0):
        torch.manual_seed(3)
        return fused(block, x + shift, dropouts=(0.2, 0.3, 0.1))[0]

    first = out()
    assert torch.equal(first, out()) and not torch.allclose(first, fused(block, x)[0])
    weight, step = torch.randn_like(first), 3e-3 * torch.randn_like(x)
    gradient = torch.autograd.grad(first, x, weight)[0]
    expected = ((out(step) - out(-step)).double() * weight).sum().item() / 2
    assert (gradient * step).sum().item() == pytest.approx(expected, rel=3e-2)


@pytest.mark.parametrize("norm_first, dtype", [(True, torch.float32), (True, torch.bfloat16), (False, torch.float32)],
                         ids=str)
def test_a_block_begins_with_what_the_one_before_left_to_the_last_bit(norm_first, dtype):
    one, two = block_of(norm_first, False, (0, 1)), block_of(norm_first, False, (1,))
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE, requires_grad=True)
    norm, weights = two.layer_norm, torch.randn(2, sum(COUNTS), DIM, device=DEVICE)
    given, found = [x, *one.parameters(), *two.parameters()], []
    for hands_on in (True, False):
        torch.manual_seed(4)
        options = dict(dropouts=(0.2, 0.3, 0.1), dtype=dtype)
        first, begun = fused(one, x, **options, following=(norm.weight, norm.bias) if hands_on else None)
        assert (begun is None) == (norm_first and not hands_on)
        second, _ = fused(two, first, **options, begun=begun if hands_on else None)
        gradients = torch.autograd.grad([first, second], given, [*weights])  # of the first, by a mix of layers too
        found.append([first, second, *gradients])
    for here, there in zip(*found, strict=True):
        assert torch.equal(here, there) and there.norm() > 0


def test_a_frozen_parameter_gets_no_gradient_and_the_others_the_same():
    block = block_of(False, True, (0, 1))
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE)
    fused(block, x)[0].sin().sum().backward()
    everything = {name: parameter.grad.clone() for name, parameter in block.named_parameters()}
    block.zero_grad()
    frozen = ("attention.q_proj.weight", "layer_norm.bias", "attention.gru_rel_pos_const")
    for name in frozen:
        block.get_parameter(name).requires_grad_(False)
    fused(block, x)[0].sin().sum().backward()
    for name, parameter in block.named_parameters():
        assert (parameter.grad is None) == (name in frozen)
        assert parameter.grad is None or torch.equal(parameter.grad, everything[name])


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_products_in_bfloat16_round_what_they_multiply_and_no_more(norm_first, relative):
    """The residual stream, norms and gradients of parameters stay in float32."""
    block = block_of(norm_first, relative, (0, 1))
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE, requires_grad=True)
    (here, begun), (there, _) = fused(block, x, dtype=torch.bfloat16), fused(block, x)
    assert here.dtype == torch.float32
    assert begun is None if norm_first else torch.equal(here.bfloat16(), begun[1])
    weight = torch.randn_like(there)
    names, given = zip(("x", x), *block.named_parameters())
    found, expected = (torch.autograd.grad(out, given, weight) for out in (here, there))
    for name, one, other in zip(("out", *names), (here, *found), (there, *expected), strict=True):
        assert one.dtype == torch.float32
        if name == "attention.k_proj.bias":  # softmax does not see what shifts all keys alike
            other, scale = torch.zeros_like(one), dict(zip(names, expected))["attention.q_proj.bias"].norm()
        else:
            scale = other.norm()
        assert (one - other).norm() <= 0.05 * scale, (name, (one - other).norm() / scale)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_adapted_products_are_fused_with_the_weights_that_adapters_make(norm_first, dora):
    """Values, and the gradients of adapters and rows, in a block whose own weights stay as they are."""
    block = block_of(norm_first, True, (0, 1)).requires_grad_(False)
    for name, product in block.linears().items():
        if name in ("q_proj", "v_proj", "output_dense"):
            product.adapter = LowRank(product, AdapterOptions("lora", r=3, dora=dora))
            torch.nn.init.normal_(product.adapter.up, std=0.2)
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE, requires_grad=True)
    spans = Packing.of(COUNTS, x.device).spans(torch.float32, block.attention.rel_attn_embed)
    there, (here, _) = block(x, spans), fused(block, x)
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)
    names, given = zip(("x", x), *((name, own) for name, own in block.named_parameters() if own.requires_grad))
    assert len(names) == 1 + 3 * (3 if dora else 2)
    weight = torch.randn_like(there)
    for name, one, other in zip(names, *(torch.autograd.grad(out, given, weight) for out in (here, there))):
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-4, name
        assert other.norm() > 0.1, name


@pytest.mark.parametrize("changed", ["q_proj.adapter.up", "output_dense.weight", "intermediate_dense.bias"])
@pytest.mark.parametrize("replaced", [False, True], ids=["written to", "replaced"])
def test_weights_that_evaluation_keeps_are_made_anew_when_theirs_change(monkeypatch, changed, replaced):
    """Of the whole call, which looks at the block's parameters each time."""
    block = block_of(True, True, (0, 1)).eval()
    linears = block.linears()
    linears["q_proj"].adapter = LowRank(linears["q_proj"], AdapterOptions("lora", r=3))
    x = torch.randn(sum(COUNTS), DIM, device=DEVICE)
    name, *path, last = changed.split(".")
    owner = linears[name].get_submodule(".".join(path))
    with torch.no_grad():
        monkeypatch.setenv("WEDEFENSE_KERNELS", "interpret")
        span, = Packing.of(COUNTS, x.device).spans(torch.float32, block.attention.rel_attn_embed, packed=True)
        assert fuses(block, x, span)
        before = block(x, [span])
        assert torch.equal(before, block(x, [span]))
        new = torch.randn_like(getattr(owner, last))
        if replaced:
            setattr(owner, last, torch.nn.Parameter(new))
        else:
            getattr(owner, last).copy_(new)
        after = block(x, [span])
        monkeypatch.setenv("WEDEFENSE_KERNELS", "0")
        plain = block(x, Packing.of(COUNTS, x.device).spans(torch.float32, block.attention.rel_attn_embed))
    assert (after - before).norm() > 0.01 * before.norm()
    torch.testing.assert_close(after, plain, rtol=1e-3, atol=1e-3)
