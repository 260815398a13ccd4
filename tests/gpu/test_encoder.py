"""Whole encoders by the kernels, beside the same encoders by plain torch; on a CPU by Triton's interpreter."""

from dataclasses import replace

import pytest
import torch

from tests.gpu.interpreter import DEVICE
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.zoo import find_model
from wedefense.frontend.whisper import WhisperEncoder
from wedefense.models.mix import mix_layers

LENGTHS, SHORT = [2700, 1900, 401], [1300, 801]
NAMES = ["wavlm_base_plus", "wavlm_large", "xls_r_300m", "hubert_base", "data2vec_base_960", "unispeech_sat_base"]
SMALL = dict(dim=32, total_heads=2, pos_conv_groups=4)


@pytest.fixture
def both(monkeypatch):
    """Calls something by plain torch, then by the kernels."""
    def run(what):
        found = []
        for kernels in ("0", "1" if DEVICE == "cuda" else "interpret"):
            monkeypatch.setenv("WEDEFENSE_KERNELS", kernels)
            found.append(what())
        return found

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield run
    torch.backends.cudnn.allow_tf32 = before


def encoder_of(name, blocks=2, **options):
    """Narrow and shallow, and with every other switch of the real one."""
    torch.manual_seed(0)
    architecture = find_model(name).architecture
    conv = tuple((24, kernel, stride) for _, kernel, stride in architecture.conv_layers)
    encoder = Encoder(replace(architecture, conv_layers=conv, blocks=full_blocks(blocks, 2, 48), **SMALL), **options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.to(DEVICE)


def audio(lengths=LENGTHS):
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), device=DEVICE)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_plain_torch(both, name):
    encoder, wav = encoder_of(name).eval(), audio()
    with torch.no_grad():
        plain, kernels = both(lambda: encoder(wav, LENGTHS).layers)
        alone = encoder(wav[1:2, :LENGTHS[1]], LENGTHS[1:2]).layers
    for there, here, one in zip(plain, kernels, alone, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(here[1:2, :one.shape[1]], one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name, options", [
    ("wavlm_base_plus", {}), ("wavlm_base_plus", {"freeze_extractor": True}),
    ("wavlm_large", {"freeze_extractor": True}),
    ("wavlm_base_plus", {"gradient_checkpointing": True}), ("wavlm_large", {}),
    ("wavlm_large", {"gradient_checkpointing": True})], ids=str)
def test_gradients_are_those_of_plain_torch(both, name, options):
    encoder, wav = encoder_of(name, **options).eval(), audio(SHORT)  # without dropout

    def gradients():
        encoder.zero_grad()
        sum(layer.float().sin().sum() for layer in encoder(wav, SHORT).layers).backward()
        return {name: parameter.grad for name, parameter in encoder.named_parameters()}

    plain, kernels = both(gradients)
    for name, there in plain.items():
        assert (there is None) == (kernels[name] is None), name
        if there is not None:
            difference = (kernels[name] - there).norm()
            assert difference <= 1e-3 * there.norm() + 1e-4, (name, difference / there.norm())


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_as_near_to_float32_as_that_of_plain_torch(both, name):
    encoder, wav = encoder_of(name).eval(), audio()

    def layers():
        encoder.forget()
        return encoder(wav, LENGTHS).layers

    with torch.no_grad():
        expected = both(layers)[0]
        with torch.autocast(DEVICE, torch.bfloat16):
            plain, kernels = both(layers)
    for exact, there, here in zip(expected, plain, kernels, strict=True):
        assert here.dtype == torch.float32
        error, of_plain = ((low - exact).norm() / exact.norm() for low in (here, there))
        assert 1e-4 < error <= 2 * of_plain


@pytest.mark.parametrize("name", ["wavlm_base_plus", pytest.param("wavlm_large", marks=pytest.mark.slow)])
def test_gradients_in_bfloat16_are_as_near_to_float32_as_those_of_plain_torch(both, name):
    encoder, wav = encoder_of(name).eval(), audio(SHORT)  # without dropout

    def gradients():
        encoder.zero_grad()
        sum(layer.float().sin().sum() for layer in encoder(wav, SHORT).layers).backward()
        return torch.cat([parameter.grad.flatten() for parameter in encoder.parameters() if parameter.grad is not None])

    expected = both(gradients)[0]
    with torch.autocast(DEVICE, torch.bfloat16):
        plain, kernels = both(gradients)
    error, of_plain = ((low - expected).norm() / expected.norm() for low in (kernels, plain))
    assert 1e-4 < error <= 2 * of_plain


@pytest.mark.parametrize("name", ["wavlm_large", "hubert_base"])
def test_gradients_where_layers_drop_are_those_of_plain_torch(both, name):
    """A block whose next one may be left out prepares nothing for it."""
    encoder, wav = encoder_of(name, blocks=3, freeze_extractor=True).train(), audio(SHORT)
    transformer = encoder.encoder.transformer
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    for block in transformer.layers:
        block.attention.dropout = 0.0
    transformer.layer_drop = 0.5

    def gradients():
        encoder.zero_grad()
        torch.manual_seed(2)
        layers = encoder(wav, SHORT).layers
        assert [torch.equal(one, other) for one, other in zip(layers, layers[1:])] == [False, True, False]
        sum(layer.float().sin().sum() for layer in layers).backward()
        return torch.cat([p.grad.flatten() for p in transformer.parameters() if p.grad is not None])

    there, here = both(gradients)
    assert (here - there).norm() <= 1e-3 * there.norm()


def test_training_draws_anew_and_layer_drop_leaves_blocks_out(both):
    encoder, wav = encoder_of("wavlm_base_plus").train(), audio()
    encoder.encoder.transformer.layer_drop = 1.0

    def layers():
        torch.manual_seed(5)
        return encoder(wav, LENGTHS).layers

    for found in both(layers):
        assert all(torch.equal(layer, found[0]) for layer in found)
    encoder.encoder.transformer.layer_drop = 0.0
    one, other = layers(), encoder(wav, LENGTHS).layers
    assert not torch.allclose(one[-1], other[-1]) and torch.equal(one[-1], layers()[-1])


def test_whisper(both):
    torch.manual_seed(0)
    architecture = Architecture(
        family="whisper", blocks=full_blocks(2, 2, 64), dim=32, total_heads=2, conv_layers=((32, 3, 1), (32, 3, 2)),
        conv_bias=True, norm_first=True, mel_bins=80)
    encoder, wav = WhisperEncoder(architecture).eval().to(DEVICE), audio()
    with torch.no_grad():
        plain, kernels = both(lambda: encoder(wav, LENGTHS).layers)
        alone = both(lambda: encoder(wav[1:2, :LENGTHS[1]], LENGTHS[1:2]).layers)  # its frames lie along the rows
    for there, here, *singles in zip(plain, kernels, *alone, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)
        for one in singles:
            torch.testing.assert_close(one[0], here[1, :one.shape[1]], rtol=1e-4, atol=1e-4)


def test_the_mix_of_layers(both):
    layers = [torch.randn(3, 40, 16, device=DEVICE, requires_grad=True) for _ in range(4)]
    weights = torch.rand(2, 4, device=DEVICE, requires_grad=True)

    def mixed():
        mixes = mix_layers(layers, *weights)
        return [*mixes, *torch.autograd.grad(sum(mix.sin().sum() for mix in mixes), [weights, *layers])]

    for there, here in zip(*both(mixed), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-4)
