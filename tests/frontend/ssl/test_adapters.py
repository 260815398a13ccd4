"""Adapters of every encoder: what they compute, what learns, and that they begin as nothing."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.pruning.helpers import BASE, FAMILIES, LENGTHS, batch, encoder_of
from wedefense.config.adapters import AdapterOptions
from wedefense.config.explain import commented
from wedefense.config.frontend import SSLOptions, UpstreamOptions
from wedefense.frontend.ssl.adapters import Bottleneck, adapt, adapted_products, is_adapter, merge
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.utils.errors import InputError, OptionError

ALL = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")
KINDS = {
    "lora": AdapterOptions("lora", r=3, targets=ALL), "rank-stabilised": AdapterOptions(
        "lora", r=4, alpha=6.0, rank_stabilised=True, targets=("k_proj", "out_proj", "output_dense")),
    "dora": AdapterOptions("lora", r=3, dora=True, targets=ALL), "bottleneck": AdapterOptions("bottleneck", dim=5),
    "some layers": AdapterOptions("lora", r=2, layers=(2,), norms=True)}


def adapted(family: str, options: AdapterOptions, moved: bool = True):
    """An encoder with adapters that are away from where they begin."""
    encoder = encoder_of(family)
    adapt(encoder, options)
    if moved:
        move(encoder)
    return encoder


@torch.no_grad()
def move(encoder) -> None:
    generator = torch.Generator().manual_seed(5)
    for name, parameter in encoder.named_parameters():
        if is_adapter(name):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def layers_of(encoder, wav=None) -> list[Tensor]:
    return encoder(batch() if wav is None else wav, LENGTHS).layers


def by_hand(product, options: AdapterOptions) -> Tensor:
    """The weight of a product row by row, in float64."""
    own, down, up = (tensor.detach().double() for tensor in (product.weight, product.adapter.down, product.adapter.up))
    scale = options.alpha / (options.r ** 0.5 if options.rank_stabilised else options.r)
    rows = []
    for number, row in enumerate(own):
        new = row.clone()
        for rank in range(options.r):
            new += scale * up[number, rank] * down[rank]
        if options.dora:
            new *= (1 + product.adapter.gain[number].double()) * row.norm() / new.norm()
        rows.append(new)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_they_begin_as_no_change_at_all(family, kind):
    before = encoder_of(family)
    encoder = adapted(family, KINDS[kind], moved=False)
    state = encoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.state_dict().items())
    for there, here in zip(layers_of(before), layers_of(encoder.eval()), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)  # other kernels where less wants a gradient
    with torch.no_grad():
        for there, here in zip(layers_of(before), layers_of(encoder), strict=True):
            assert torch.equal(there, here)


@pytest.mark.parametrize("kind", ["lora", "rank-stabilised", "dora", "some layers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_path_computes_with_the_weights_that_a_loop_makes(family, kind):
    """Training and evaluation, in float64, in float32 and under autocast, against an encoder that has those weights
    itself."""
    options = KINDS[kind]
    encoder, plain = adapted(family, options), encoder_of(family)
    plain.freeze_extractor = True
    exact, exact_plain = copy.deepcopy(encoder).double(), copy.deepcopy(plain).double()
    for adapters, own in ((encoder, plain), (exact, exact_plain)):
        products, blocks = adapted_products(adapters), own.get_submodule(own.blocks_at)
        assert products
        for (number, name), product in products.items():
            blocks[number].linears()[name].weight.data.copy_(by_hand(product, options))
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            for there, here in zip(layers_of(exact_plain), layers_of(exact), strict=True):
                torch.testing.assert_close(here, there, rtol=0, atol=1e-11)
            for there, here in zip(layers_of(plain), layers_of(encoder), strict=True):
                assert (here - there).norm() <= 5e-6 * there.norm()  # each is as far from float64
            with torch.autocast("cpu", torch.bfloat16):
                for there, here in zip(layers_of(plain), layers_of(encoder), strict=True):
                    assert (here - there).norm() <= 0.01 * there.norm()
    together = copy.deepcopy(encoder)
    merge(together)
    assert not any(is_adapter(name) for name in together.state_dict())
    assert together.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        for there, here in zip(layers_of(encoder), layers_of(together), strict=True):
            assert torch.equal(there, here)


@pytest.mark.parametrize("family", ["wavlm", "wavlm_large", "whisper"])
def test_gradients_are_those_of_the_weights_taken_through_the_two_factors(family):
    """The gradient G of a whole weight gives scale * up.T @ G and scale * G @ down.T."""
    options = KINDS["lora"]
    encoder, plain = adapted(family, options), encoder_of(family)
    blocks = plain.get_submodule(plain.blocks_at)
    for (number, name), product in adapted_products(encoder).items():
        blocks[number].linears()[name].weight.data.copy_(product.adapted().detach())
    for one in (encoder, plain):
        sum(layer.square().sum() for layer in layers_of(one)).backward()
    scale = options.alpha / options.r
    for (number, name), product in adapted_products(encoder).items():
        whole, own = blocks[number].linears()[name].weight.grad, product.adapter
        torch.testing.assert_close(own.down.grad, scale * own.up.detach().t() @ whole, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(own.up.grad, scale * whole @ own.down.detach().t(), rtol=1e-3, atol=1e-3)
    assert all(parameter.grad is None for name, parameter in encoder.named_parameters() if not is_adapter(name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_adapters_and_nothing_else(kind, checkpointing):
    encoder = adapted("wavlm", KINDS[kind]).train()
    encoder.gradient_checkpointing = checkpointing
    layers_of(encoder)[-1].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        norm = KINDS[kind].norms and ".2." in name and "layer_norm" in name
        assert (parameter.grad is not None) == parameter.requires_grad == (is_adapter(name) or norm), name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_how_many_numbers_are_trained():
    """Three blocks of 24 dimensions and 20 hidden units."""
    def count(**options):
        encoder = Encoder(BASE)
        adapt(encoder, AdapterOptions(**options))
        return sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)

    assert count(type="lora", r=4) == 3 * 2 * 4 * (24 + 24)
    assert count(type="lora", r=4, layers=(0, 2), targets=("intermediate_dense",)) == 2 * 4 * (24 + 20)
    assert count(type="lora", r=1, dora=True, targets=("q_proj",)) == 3 * (24 + 24 + 24)
    assert count(type="lora", r=1, targets=("q_proj",), norms=True) == 3 * (24 + 24 + 2 * 2 * 24)
    assert count(type="bottleneck", dim=6) == 3 * 2 * (24 * 6 + 6 + 6 * 24 + 24)


@pytest.mark.parametrize("family", ["wavlm", "wavlm_large", "pruned before"])
def test_a_bottleneck_is_a_detour_after_each_sum(family):
    """Block by block beside hooks on a block without one."""
    encoder = adapted(family, KINDS["bottleneck"])
    plain = copy.deepcopy(encoder)
    for block in plain.get_submodule(plain.blocks_at):
        block.bottlenecks = None
    with torch.no_grad():
        expected, given = layers_of(encoder), layers_of(plain)
    assert not torch.allclose(expected[-1], given[-1], atol=1e-2)
    x, detour = torch.randn(7, 24), Bottleneck(24, 5)
    assert torch.equal(detour(x), x)
    torch.nn.init.normal_(detour.up.weight)
    hidden = x @ detour.down.weight.t() + detour.down.bias
    hidden = hidden * (1 + torch.erf(hidden / 2 ** 0.5)) / 2
    torch.testing.assert_close(detour(x), x + hidden @ detour.up.weight.t(), rtol=1e-5, atol=1e-5)


def test_what_drops_out_is_computed_beside_the_product(monkeypatch):
    options = replace(KINDS["lora"], dropout=0.3)
    encoder, weights = adapted("wavlm_large", options), adapted("wavlm_large", KINDS["lora"])
    with torch.no_grad():
        for there, here in zip(layers_of(weights), layers_of(encoder.eval()), strict=True):
            assert torch.equal(there, here)

    def run(seed, gradients=True):
        torch.manual_seed(seed)
        with torch.set_grad_enabled(gradients):
            return layers_of(encoder)[-1]

    for part in encoder.modules():  # what else drops out keeps still
        part.train(hasattr(part, "down"))
    first = run(1)
    assert torch.equal(first, run(1)) and not torch.equal(first, run(2))
    encoder.gradient_checkpointing = True
    grads = []
    for _ in range(2):
        run(1).square().sum().backward()
        grads.append([product.adapter.up.grad for product in adapted_products(encoder).values()])
        encoder.zero_grad()
        encoder.gradient_checkpointing = False
    for there, here in zip(*grads, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr("torch.nn.functional.dropout", lambda x, *_: x)
    for gradients in (True, False):
        torch.testing.assert_close(run(1, gradients), layers_of(weights)[-1], rtol=1e-4, atol=1e-4)


def test_what_evaluation_keeps_follows_the_adapter():
    """The joined weights of queries, keys and values are made anew after a step."""
    encoder = adapted("wavlm", KINDS["lora"])
    with torch.no_grad():
        before, again = layers_of(encoder)[-1], layers_of(encoder)[-1]
        product = adapted_products(encoder)[1, "q_proj"]
        product.adapter.up.mul_(1.5)
        after = layers_of(encoder)[-1]
    assert torch.equal(before, again) and not torch.equal(before, after)
    torch.testing.assert_close(after, layers_of(encoder)[-1], rtol=1e-5, atol=1e-5)  # with gradients


@pytest.mark.parametrize("kind", ["none", "lora", "bottleneck"])
@pytest.mark.parametrize("family", ["wavlm", "whisper"])
def test_evaluation_follows_a_fused_step(family, kind):
    """It leaves the version of a parameter as it was, so that nothing but the change of mode tells of it."""
    encoder = encoder_of(family) if kind == "none" else adapted(family, KINDS[kind])
    learnt = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    with torch.no_grad():
        before = layers_of(encoder)[-1]
    layers_of(encoder.train())[-1].square().sum().backward()
    torch.optim.AdamW(learnt, lr=0.05, fused=True).step()
    with torch.no_grad():
        after = layers_of(encoder.eval())[-1]
    assert not torch.allclose(after, before, atol=0.1)
    torch.testing.assert_close(after, layers_of(encoder)[-1], rtol=1e-4, atol=1e-4)  # with gradients


@pytest.mark.parametrize("family", ["wavlm", "whisper"])
def test_what_drops_out_is_not_kept_for_evaluation(family):
    encoder, other = (adapted(family, replace(KINDS["lora"], dropout=0.3)) for _ in range(2))
    with torch.no_grad():
        expected, dropped = layers_of(other.eval())[-1], layers_of(encoder.train())[-1]
        assert torch.equal(layers_of(encoder.eval())[-1], expected) and not torch.equal(dropped, expected)


def test_the_rest_of_a_detector_begins_as_without():
    torch.manual_seed(3)
    plain = Encoder(BASE)
    expected = torch.randn(4)
    torch.manual_seed(3)
    encoder = Encoder(BASE)
    adapt(encoder, KINDS["lora"])
    assert torch.equal(torch.randn(4), expected)
    assert torch.equal(plain.encoder.transformer.layers[0].attention.q_proj.weight,
                       encoder.encoder.transformer.layers[0].attention.q_proj.weight)


@pytest.mark.parametrize("options, told", [
    ({"layers": (1, 3)}, "adapters.layers: block 3 does not run; this encoder has blocks 0 to 2 "),
    ({"layers": (2,), "targets": ("output_dense",)}, "adapters.targets: no block has output_dense: they were pruned"),
    ({"r": 0}, "r: must lie between 1 and 4096"), ({"layers": ()}, "layers: name blocks from 0"),
    ({"layers": (1, 1)}, "each once"), ({"targets": ()}, "targets: name products"),
    ({"dora": True, "dropout": 0.1}, "dropout: DoRA scales the changed weight"),
    ({"alpha": float("nan")}, "alpha: must lie between"), ({"dropout": 1.5}, "dropout: must lie between"),
    ({"alpha": 0.0}, "alpha: must be greater than 0"), ({"dropout": 1.0}, "dropout: must be below 1"),
    ({"type": "bottleneck", "path": "x"}, "path: names an adapter of low rank; set type: lora")])
def test_what_cannot_be_is_refused(options, told):
    with pytest.raises(OptionError, match=told):
        encoder = encoder_of("pruned before")
        encoder.get_submodule(encoder.blocks_at)[2].feed_forward = None
        adapt(encoder, AdapterOptions(**{"type": "lora", **options}))


def test_only_blocks_that_run_have_them_and_nothing_is_frozen_twice():
    upstream = UpstreamOptions(name="wavlm_tiny")
    chosen = {"upstream_args": upstream, "layer": 2, "multilayer_feature": False}
    frontend = SSLFrontend(SSLOptions(adapters=AdapterOptions("lora"), **chosen))
    assert {number for number, _ in adapted_products(frontend.upstream)} == {0, 1}
    with pytest.raises(OptionError, match="adapters.layers: block 2 does not run"):
        SSLFrontend(SSLOptions(adapters=AdapterOptions("lora", layers=(2,)), **chosen))
    with pytest.raises(OptionError, match="frozen: adapters are trained.*set frozen: False"):
        SSLOptions(frozen=True, adapters=AdapterOptions("lora"))
    with pytest.raises(InputError, match="adapters.type: units are pruned of an encoder that is trained itself"):
        SSLOptions(upstream_args=UpstreamOptions(pruning_units="head"), adapters=AdapterOptions("lora"))


def test_a_config_is_printed_with_what_counts():
    assert commented(AdapterOptions()).startswith("type: none") and "dim" not in commented(AdapterOptions())
    lora, bottleneck = commented(KINDS["lora"]), commented(KINDS["bottleneck"])
    assert "r: 3" in lora and "dim:" not in lora and "dim: 5" in bottleneck and "alpha" not in bottleneck
    assert KINDS["bottleneck"].computes_as(replace(KINDS["bottleneck"], r=99))
    assert not KINDS["bottleneck"].computes_as(replace(KINDS["bottleneck"], dim=6))
    assert "LoRA of rank 2, scale 8, on q_proj, v_proj of blocks 2, and their layer norms" == KINDS[
        "some layers"].in_words()
