"""Multiply-adds against what other implementations do, and against figures that were published."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.pruning.helpers import BASE, RELATIVE
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.zoo import find_model
from wedefense.frontend.whisper import WhisperEncoder
from wedefense.models.cost import encoder_multiply_adds


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("relative", [{}, RELATIVE])
def test_torchaudio_does_as_many(relative):
    torchaudio = pytest.importorskip("torchaudio")
    extra = dict(encoder_num_buckets=32, encoder_max_distance=80) if relative else {}
    model = (torchaudio.models.wavlm_model if relative else torchaudio.models.wav2vec2_model)(
        extractor_mode="group_norm", extractor_conv_layer_config=[list(row) for row in BASE.conv_layers],
        extractor_conv_bias=False, encoder_embed_dim=24, encoder_projection_dropout=0.0, encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4, encoder_num_layers=3, encoder_num_heads=4, encoder_attention_dropout=0.0,
        encoder_ff_interm_features=20, encoder_ff_interm_dropout=0.0, encoder_dropout=0.0,
        encoder_layer_norm_first=False, encoder_layer_drop=0.0, aux_num_out=None, **extra).eval()
    dropped = 24 * (24 // 4) * 16  # the frame too many that an even kernel makes
    assert counted(lambda: model(torch.randn(1, 12345))) - dropped == encoder_multiply_adds(
        Encoder(replace(BASE, **relative)), 12345)


def test_transformers_whisper_does_as_many():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Peer

    shape = Architecture("whisper", full_blocks(1, 2, 12), dim=8, total_heads=2, conv_bias=True, norm_first=True,
                         conv_layers=((8, 3, 1), (8, 3, 2)), mel_bins=10)
    peer = Peer(WhisperConfig(d_model=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=12,
                              num_mel_bins=10)).eval()
    window = counted(lambda: peer(torch.randn(1, 10, 3000)))
    encoder = WhisperEncoder(shape)
    assert encoder_multiply_adds(encoder, 480000) == window
    assert encoder_multiply_adds(encoder, 480000 + 6400) == window + encoder_multiply_adds(encoder, 6400)


@pytest.mark.parametrize("name, whole, published", [("wavlm_base_plus", 14.01, 11.05), ("wavlm_large", 36.19, 25.79)])
def test_published_figures_leave_the_attention_out(monkeypatch, name, whole, published):
    """Hooks on the modules of the original WavLM give the figures of the CA-MHFA paper."""
    wavlm = pytest.importorskip("s3prl.upstream.wavlm.WavLM")
    modules = pytest.importorskip("s3prl.upstream.wavlm.modules")
    for place in (wavlm, modules):
        monkeypatch.setattr(place, "init_bert_params", lambda module: None)
    shape, found = find_model(name).architecture, 0
    with torch.device("meta"):
        model = wavlm.WavLM(wavlm.WavLMConfig({
            "extractor_mode": "layer_norm" if shape.norm_first else "default", "encoder_layers": shape.num_blocks,
            "encoder_embed_dim": shape.dim, "encoder_ffn_embed_dim": shape.blocks[0].ff_dim,
            "encoder_attention_heads": shape.total_heads, "layer_norm_first": shape.norm_first,
            "relative_position_embedding": True, "num_buckets": 320, "max_distance": 800, "gru_rel_pos": True})).eval()
        assert encoder_multiply_adds(Encoder(shape), 32000) / 1e9 == pytest.approx(whole, abs=0.005)

    def hook(module, _, output):
        nonlocal found
        per_output = module.weight[0].numel() + (module.bias is not None)
        found += output.numel() * per_output

    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model.extract_features(torch.empty(1, 32000, device="meta"))
    back_end = 2 * 100 * 128 * (shape.dim + 1) + 256 * (64 * 128 + 1)  # keys, values, the last layer
    assert round((found + back_end) / 1e9, 2) == published
