"""The published format of pruned models: ours read back, and one that was sliced by hand with torchaudio."""

import pytest
import torch

from tests.pruning.helpers import BASE, FAMILIES, batch, difference, gated, randomly, set_gates
from wedefense.frontend.ssl.formats.read import load_encoder, read_checkpoint
from wedefense.pruning.public_form import public_checkpoint, public_form
from wedefense.pruning.surgery import cut


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "whisper"])
@pytest.mark.parametrize("first_block", ["some heads", "no heads"])
def test_what_is_written_reads_back_as_it_was(tmp_path, family, first_block):
    encoder = gated(family)
    others = randomly(4, 0.6)

    def decide(site):
        is_open = others(site)
        if first_block == "no heads" and site.layer == 0 and site.unit == "head":
            return torch.zeros_like(is_open)
        return is_open
    set_gates(encoder, decide)
    small = cut(encoder)
    torch.save(public_checkpoint(public_form(small)), tmp_path / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path / "pytorch_model.bin")
    assert checkpoint.architecture.num_blocks == small.architecture.num_blocks
    assert difference(load_encoder(checkpoint).eval(), encoder) < 1e-5
    content = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    if small.architecture.rel_buckets:  # readers of the format find the bias in an attention of block 0
        assert content["config"]["encoder_use_attention"][0]
        assert "encoder.transformer.layers.0.attention.rel_attn_embed.weight" in content["state_dict"]


HEADS = [[0, 2, 3], [1], [0, 1, 2, 3]]
UNITS = [[0, 3, 4, 9], list(range(20)), []]


def hand_sliced(norm_first: bool):
    """A torchaudio WavLM: the model with removed units zeroed, and its state without them, made independently."""
    torchaudio = pytest.importorskip("torchaudio")
    torch.manual_seed(3)
    layer_norm = "layer_norm" if norm_first else "group_norm"
    model = torchaudio.models.wavlm_model(
        extractor_mode=layer_norm, extractor_conv_layer_config=[list(row) for row in BASE.conv_layers],
        extractor_conv_bias=False, encoder_embed_dim=24, encoder_projection_dropout=0.0, encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4, encoder_num_layers=3, encoder_num_heads=4, encoder_num_buckets=32,
        encoder_max_distance=80, encoder_attention_dropout=0.0, encoder_ff_interm_features=20,
        encoder_ff_interm_dropout=0.0, encoder_dropout=0.0, encoder_layer_norm_first=norm_first,
        encoder_layer_drop=0.0, aux_num_out=None).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        state = {name: value.clone() for name, value in model.state_dict().items()}
        for i, (heads, units) in enumerate(zip(HEADS, UNITS)):
            name = f"encoder.transformer.layers.{i}."
            closed = [head for head in range(4) if head not in heads]
            rows = [6 * head + k for head in heads for k in range(6)]
            out = state[name + "attention.attention.out_proj.weight"]
            for head in closed:
                model.encoder.transformer.layers[i].attention.attention.out_proj.weight[:, 6 * head:6 * head + 6] = 0
            weight, bias = (state.pop(f"{name}attention.attention.in_proj_{kind}").chunk(3)
                            for kind in ("weight", "bias"))
            for part, w, b in zip("qkv", weight, bias):
                state[f"{name}attention.{part}_proj.weight"] = w[rows]
                state[f"{name}attention.{part}_proj.bias"] = b[rows]
            del state[name + "attention.attention.out_proj.weight"]
            state[name + "attention.out_proj.weight"] = out[:, rows]
            state[name + "attention.out_proj.bias"] = state.pop(name + "attention.attention.out_proj.bias")
            feed_forward = model.encoder.transformer.layers[i].feed_forward
            gone = [unit for unit in range(20) if unit not in units]
            feed_forward.output_dense.weight[:, gone] = 0
            if not units:
                feed_forward.output_dense.bias.zero_()
            for kind, index in (("intermediate_dense.weight", (units,)), ("intermediate_dense.bias", (units,)),
                                ("output_dense.weight", (slice(None), units)), ("output_dense.bias", ())):
                key = f"{name}feed_forward.{kind}"
                state[key] = state[key][index]
                if not units:
                    del state[key]
    state["feature_extractor.dummy_weight"] = torch.ones(16)
    config = {"extractor_mode": layer_norm, "extractor_conv_layer_config": [list(row) for row in BASE.conv_layers],
              "extractor_conv_bias": False, "encoder_embed_dim": 24, "encoder_projection_dropout": 0.0,
              "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 4, "encoder_num_layers": 3,
              "encoder_use_attention": [True] * 3, "encoder_use_feed_forward": [bool(units) for units in UNITS],
              "encoder_total_num_heads": [4] * 3, "encoder_remaining_heads": HEADS, "encoder_num_buckets": 32,
              "encoder_max_distance": 80, "encoder_ff_interm_features": [len(units) for units in UNITS],
              "encoder_layer_norm_first": norm_first, "normalize_waveform": False, "aux_num_out": None}
    return model, {"state_dict": state, "config": config}


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_torchaudio_model_sliced_by_hand_equals_it_with_the_units_zeroed(tmp_path, norm_first):
    model, content = hand_sliced(norm_first)
    torch.save(content, tmp_path / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path / "pytorch_model.bin")
    assert [list(block.heads) for block in checkpoint.architecture.blocks] == HEADS
    encoder = load_encoder(checkpoint).eval()
    wav = batch()[:1]
    with torch.no_grad():
        theirs, _ = model.extract_features(wav)
        ours = encoder(wav).layers[1:]
    assert max((a - b).abs().max().item() for a, b in zip(theirs, ours, strict=True)) < 1e-4
