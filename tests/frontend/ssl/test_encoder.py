"""The native encoder: exact on unequal lengths in every family and mode, with gradients and gates as promised."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch

from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.ssl.architecture import Architecture, BlockShape, full_blocks
from wedefense.frontend.ssl.encoder import Encoder, groups_of, pad_to_s3prl
from wedefense.frontend.ssl.extractor import conv_lengths
from wedefense.utils.errors import InputError

CONV = ((16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 2, 2), (16, 2, 2))
BASE = Architecture("wav2vec2", full_blocks(2, 4, 40), dim=24, total_heads=4, conv_layers=CONV,
                    pos_conv_kernel=16, pos_conv_groups=4)
LARGE = replace(BASE, extractor_norm="layer_norm", norm_first=True, conv_bias=True, normalize_waveform=True)
FAMILIES = {
    "base": BASE,
    "large": LARGE,
    "wavlm": replace(BASE, family="wavlm", rel_buckets=32, rel_max_distance=80),
    "wavlm_large": replace(LARGE, family="wavlm", rel_buckets=32, rel_max_distance=80, conv_bias=False),
    "data2vec": replace(LARGE, family="data2vec", norm_first=False, conv_bias=False, pos_conv_depth=3),
    "pruned": replace(
        BASE, family="wavlm", rel_buckets=32, conv_output_scale=True,
        conv_layers=((9, 10, 5), (16, 3, 2), (5, 3, 2), (16, 3, 2), (11, 3, 2), (16, 2, 2), (7, 2, 2)),
        blocks=(BlockShape((), 13), BlockShape((3, 1), 0), BlockShape((0, 2, 3), 40), BlockShape((), 0))),
}
LENGTHS = torch.tensor([7000, 5001, 400, 6400])


def encoder_of(architecture, seed=0, **modes):
    torch.manual_seed(seed)
    return Encoder(architecture, **modes).eval()


def batch_of(lengths, seed=0):
    """Noise with a trend, so that statistics over padding would show; garbage past the ends."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), int(max(lengths)), generator=generator).cumsum(1) * 0.01 + 0.3


def difference(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_utterance_alone_and_in_a_padded_batch_are_equal(family):
    encoder, wav = encoder_of(FAMILIES[family]), batch_of(LENGTHS)
    with torch.no_grad():
        together = encoder(wav, LENGTHS)
        assert len(together.layers) == 1 + len(encoder.architecture.blocks)
        assert together.lengths.tolist() == [21, 15, 1, 19]
        for i, samples in enumerate(LENGTHS.tolist()):
            alone = encoder(wav[i:i + 1, :samples])
            frames = int(alone.lengths[0])
            assert difference([x[i, :frames] for x in together.layers], [x[0] for x in alone.layers]) < 1e-4
            assert all(not x[i, frames:].any() for x in together.layers)


def test_what_is_kept_of_parameters_follows_them():
    encoder, wav = encoder_of(FAMILIES["wavlm"]), batch_of(LENGTHS)
    changes = {
        "in place": lambda: [p.mul_(1.1) for p in encoder.parameters()],
        "loaded": lambda: encoder.load_state_dict(encoder_of(FAMILIES["wavlm"], seed=1).state_dict()),
        "assigned": lambda: encoder.load_state_dict(encoder_of(FAMILIES["wavlm"], seed=2).state_dict(), assign=True),
        "rounded": lambda: encoder.bfloat16().float(),
        "behind the back": lambda: [p.data.mul_(1.1) for p in encoder.eval().parameters()] and encoder.eval(),
    }
    with torch.no_grad():
        for name, change in changes.items():
            before = encoder(wav, LENGTHS).layers
            change()
            after, fresh = encoder(wav, LENGTHS).layers, copy.deepcopy(encoder)(wav, LENGTHS).layers
            assert difference(after, fresh) == 0, name
            assert difference(before, after) > 1e-4, name
    assert pickle.loads(pickle.dumps(encoder.feature_extractor)).conv_layers[1].conv.kept.value is None


def test_groups_of_a_large_batch_come_back_in_order():
    encoder, lengths = encoder_of(FAMILIES["wavlm"]), torch.tensor([400, 90000, 3000, 123456, 60000])
    wav = batch_of(lengths)
    wav[0, 400:] = float("nan")  # what lies past an utterance's end is nobody's business
    assert len(groups_of(conv_lengths(lengths, CONV).tolist())) == 2
    with torch.no_grad():
        together = encoder(wav, lengths)
        for i, samples in enumerate(lengths.tolist()):
            alone = encoder(wav[i:i + 1, :samples])
            frames = int(alone.lengths[0])
            assert difference([x[i, :frames] for x in together.layers], [x[0] for x in alone.layers]) < 1e-4
            assert all(not x[i, frames:].any() for x in together.layers)


@pytest.mark.parametrize("family", ["base", "wavlm_large"])
def test_padding_does_not_matter_in_bfloat16(family):
    exact = encoder_of(FAMILIES[family])
    half, wav = encoder_of(FAMILIES[family]).bfloat16(), batch_of(LENGTHS)
    with torch.no_grad():
        reference = exact(wav, LENGTHS)
        together = half(wav, LENGTHS)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = exact(wav, LENGTHS)
        alone = half(wav[1:2, :5001])
    assert together.layers[0].dtype == torch.bfloat16
    assert difference([x[1, :15].float() for x in together.layers], [x[0].float() for x in alone.layers]) < 0.1
    assert difference([x.float() for x in together.layers], reference.layers) < 0.15
    assert difference([x.float() for x in mixed.layers], reference.layers) < 0.15


def test_gradients_do_not_depend_on_packing():
    lengths, wav = LENGTHS, batch_of(LENGTHS)
    encoder = encoder_of(FAMILIES["wavlm"])
    sum(x.sin().sum() for x in encoder(wav, lengths).layers).backward()
    together = {name: p.grad.clone() for name, p in encoder.named_parameters()}
    encoder.zero_grad()
    for i, samples in enumerate(lengths.tolist()):
        sum(x.sin().sum() for x in encoder(wav[i:i + 1, :samples]).layers).backward()
    for name, p in encoder.named_parameters():
        assert (p.grad - together[name]).abs().max() <= 1e-3 * p.grad.abs().max() + 1e-5, name


def test_too_short_audio_names_the_least_length():
    with pytest.raises(InputError, match="utterance 1 .* 399 samples.*400"):
        encoder_of(BASE)(torch.randn(2, 800), torch.tensor([800, 399]))


def test_checkpointing_changes_memory_and_not_gradients():
    wav = batch_of(LENGTHS)
    gradients = []
    for checkpointing in (False, True):
        encoder = encoder_of(replace(BASE, hidden_dropout=0.2), gradient_checkpointing=checkpointing).train()
        torch.manual_seed(1)
        encoder(wav, LENGTHS).layers[-1].sin().sum().backward()
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
    assert difference(*gradients) < 1e-5


def test_a_frozen_extractor_gets_no_gradient():
    encoder = encoder_of(BASE, freeze_extractor=True).train()
    encoder(batch_of(LENGTHS), LENGTHS).layers[-1].sin().sum().backward()
    assert all(p.grad is None for p in encoder.feature_extractor.parameters())
    assert encoder.encoder.feature_projection.projection.weight.grad.any()


def test_layer_drop_hands_on_the_input():
    encoder = encoder_of(replace(BASE, layer_drop=1.0, hidden_dropout=0.0, projection_dropout=0.0)).train()
    layers = encoder(batch_of(LENGTHS), LENGTHS).layers
    assert len(layers) == 3 and difference(layers[:1], layers[2:]) == 0
    assert difference(encoder.eval()(batch_of(LENGTHS), LENGTHS).layers[:1], layers[2:]) < 1e-5


def test_a_dropped_block_that_is_called_has_gradients_of_zero_whatever_it_holds():
    encoder = encoder_of(replace(BASE, layer_drop=1.0, hidden_dropout=0.0, projection_dropout=0.0)).train()
    layers = encoder(batch_of(LENGTHS), LENGTHS).layers
    transformer = encoder.encoder.transformer
    transformer.calls_dropped = True
    transformer.layers[1].layer_norm.weight.data.fill_(float("inf"))
    called = encoder(batch_of(LENGTHS), LENGTHS).layers
    assert difference(layers, called) == 0
    called[-1].sin().sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in transformer.layers.parameters())
    assert encoder.encoder.feature_projection.projection.weight.grad.any()


@pytest.mark.parametrize("family", ["base", "wavlm_large"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_no_further_than_the_wanted_layer(family, layer):
    whole, stopped, wav = encoder_of(FAMILIES[family]), encoder_of(FAMILIES[family]), batch_of(LENGTHS)
    stopped.stop_after(layer)
    assert stopped.state_dict().keys() == whole.state_dict().keys()
    stopped(wav, LENGTHS).layers[-1].sin().sum().backward()
    for name, parameter in stopped.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
    learnt = {name for name, parameter in stopped.named_parameters() if parameter.requires_grad}
    assert any("transformer.layers.1." in name for name in learnt) == (layer == 2)
    called = []
    for block in stopped.encoder.transformer.layers:
        block.register_forward_hook(lambda *_: called.append(1))
    with torch.no_grad():
        layers = stopped(wav, LENGTHS).layers
        assert len(layers) == layer + 1 == len(called) + 1
        assert difference(layers, whole(wav, LENGTHS).layers[:layer + 1]) == 0


def test_the_last_layer_of_a_norm_first_model_is_normalised_unless_told_otherwise():
    wav = batch_of(LENGTHS)
    normed, raw = (encoder_of(replace(LARGE, final_norm=norm))(wav, LENGTHS).layers for norm in (True, False))
    assert difference(normed[:-1], raw[:-1]) == 0
    assert difference([torch.nn.functional.layer_norm(raw[-1][0], (24,))], [normed[-1][0]]) < 1e-5


def test_s3prl_frame_count_repeats_each_utterances_last_frame():
    features = LayerFeatures([torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]])], torch.tensor([2, 1]))
    padded = pad_to_s3prl(features, torch.tensor([961, 640]))
    assert padded.lengths.tolist() == [4, 2]
    assert padded.layers[0].squeeze(2).tolist() == [[1, 2, 2, 2], [3, 3, 0, 0]]


def test_parameter_names_are_torchaudios():
    names = set(dict(encoder_of(FAMILIES["pruned"]).named_parameters()))
    attention = "encoder.transformer.layers.{}.attention."
    assert attention.format(0) + "rel_attn_embed.weight" in names  # though block 0 has no heads
    assert attention.format(1) + "gru_rel_pos_const" in names and attention.format(1) + "q_proj.bias" in names
    assert not any(name.startswith(attention.format(3)) for name in names)
    assert {"feature_extractor.dummy_weight", "feature_extractor.conv_layers.0.layer_norm.weight",
            "encoder.feature_projection.projection.weight", "encoder.transformer.layer_norm.bias",
            "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0",
            "encoder.transformer.layers.0.feed_forward.intermediate_dense.weight"} <= names
    stacked = set(dict(encoder_of(FAMILIES["data2vec"]).named_parameters()))
    assert "encoder.transformer.pos_conv_embed.layers.2.conv.weight" in stacked


@pytest.mark.parametrize("family", ["wavlm", "wavlm_large"])
def test_closed_gates_equal_the_model_without_the_units(family):
    """Gates of 0 and 0.5 at every place against a model built without the closed units, the halves folded in."""
    architecture = FAMILIES[family]
    whole = encoder_of(architecture)
    channels, heads, units = [1.0] * 15 + [0.0], [0.5, 0.0, 1.0, 1.0], [0.5] * 30 + [0.0] * 10
    for layer in whole.feature_extractor.conv_layers:
        layer.gate = lambda: torch.tensor(channels)
    for block in whole.encoder.transformer.layers:
        block.attention.gate = lambda: torch.tensor(heads)
        block.feed_forward.gate = lambda: torch.tensor(units)
        block.feed_forward.sublayer_gate = lambda: torch.tensor(0.5)
        block.attention.sublayer_gate = lambda: torch.tensor([0.5])
    cut = Encoder(replace(architecture, conv_layers=tuple((15, k, s) for _, k, s in CONV),
                          blocks=(BlockShape((0, 2, 3), 30),) * 2)).eval()
    cut.load_state_dict(cut_weights(whole, torch.tensor(heads), torch.tensor(units)))
    wav = batch_of(LENGTHS)
    with torch.no_grad():
        assert difference(whole(wav, LENGTHS).layers, cut(wav, LENGTHS).layers) < 1e-5


def cut_weights(encoder, heads, units):
    """The state of `encoder` without its last conv channel, its closed heads and units."""
    rows = heads.repeat_interleave(encoder.architecture.head_dim)
    state = {}
    for name, value in encoder.state_dict().items():
        if "conv_layers" in name:
            value = value[:15]
            value = value[:, :15] if value.dim() == 3 and value.shape[1] > 1 else value
        elif "feature_projection.layer_norm" in name or "feature_projection.projection.weight" in name:
            value = value[..., :15]
        elif any(f"{part}_proj" in name for part in "qkv"):
            value = value[rows > 0]
        elif "out_proj.weight" in name:
            value = 0.5 * (value * rows)[:, rows > 0]
        elif "intermediate_dense" in name:
            value = value[units > 0]
        elif "output_dense.weight" in name:
            value = 0.5 * (value * units)[:, units > 0]
        elif "out_proj.bias" in name or "output_dense.bias" in name:
            value = 0.5 * value
        state[name] = value
    return state


@pytest.mark.slow
def test_compiled_blocks_give_the_same_features():
    encoder, wav = encoder_of(FAMILIES["wavlm"]), batch_of(LENGTHS)
    with torch.no_grad():
        plain = encoder(wav, LENGTHS).layers
        for block in encoder.encoder.transformer.layers:
            block.compile()
        assert difference(plain, encoder(wav, LENGTHS).layers) < 1e-4
