"""Every layer of the native encoder against transformers, torchaudio and s3prl on the same weights.

Batches of unequal lengths, which the peers get wrong, are compared with the peer run on each utterance alone.
"""

from dataclasses import replace

import pytest
import torch

from tools.bench.ssl_peers import of_s3prl, of_torchaudio, of_transformers
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.encoder import Encoder

pytestmark = pytest.mark.filterwarnings("ignore")

CONV = ((32, 10, 5), (32, 3, 2), (32, 3, 2), (32, 3, 2), (32, 3, 2), (32, 2, 2), (32, 2, 2))
BASE = Architecture("wav2vec2", full_blocks(3, 4, 80), dim=48, total_heads=4, conv_layers=CONV, pos_conv_kernel=32,
                    pos_conv_groups=4)
LARGE = replace(BASE, extractor_norm="layer_norm", norm_first=True, conv_bias=True, normalize_waveform=True)
RELATIVE = dict(family="wavlm", rel_buckets=32, rel_max_distance=50)
TINY = {
    "wav2vec2_base": BASE, "wav2vec2_large": LARGE,
    "hubert_base": replace(BASE, family="hubert"), "hubert_large": replace(LARGE, family="hubert"),
    "wavlm_base": replace(BASE, **RELATIVE), "wavlm_large": replace(LARGE, **RELATIVE, conv_bias=False),
    "unispeech_sat_base": replace(BASE, family="unispeech_sat"),
    "unispeech_sat_large": replace(LARGE, family="unispeech_sat"),
    "data2vec": replace(LARGE, family="data2vec", norm_first=False, conv_bias=False, pos_conv_depth=5),
}
PAIRS = [(builder, name) for builder in (of_transformers, of_s3prl, of_torchaudio) for name in TINY
         if not (builder is of_torchaudio and name.startswith(("data2vec", "unispeech_sat")))]
LENGTHS = torch.tensor([4000, 7321, 640])


def named(pair):
    return f"{pair[0].__name__.removeprefix('of_')}-{pair[1]}" if isinstance(pair, tuple) else None


def built(builder, architecture):
    """A peer with weights of its own making, moved off their initial zeros and ones, and our encoder with them.

    torchaudio hands out the last block of a norm-first model as it is, the others (and ours) normalised.
    """
    torch.manual_seed(0)
    peer = builder(architecture)
    for parameter in peer.model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    encoder = Encoder(replace(architecture, final_norm=peer.final_norm))
    encoder.load_state_dict(peer.our_state())
    peer.model.eval()
    return peer, encoder.eval()


def assert_equal_alone(peer, encoder, wav, lengths):
    """Our batch of unequal lengths against the peer on each utterance, layer by layer."""
    with torch.no_grad():
        together = encoder(wav, lengths)
        for i, samples in enumerate(lengths.tolist()):
            theirs, frames = peer.layers(wav[i:i + 1, :samples]), int(together.lengths[i])
            ours = [layer[i:i + 1, :frames] for layer in together.layers][not peer.has_first:]
            assert len(ours) == len(theirs)
            for mine, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("builder, name", PAIRS, ids=map(named, PAIRS))
def test_every_layer_equals_the_peers(builder, name):
    peer, encoder = built(builder, TINY[name])
    wav = 0.1 * torch.randn(len(LENGTHS), int(LENGTHS.max())) + 0.02
    assert_equal_alone(peer, encoder, wav, LENGTHS)


@pytest.mark.parametrize("name", ["wavlm_large", "wav2vec2_base", "data2vec"])
def test_gradients_equal_the_peers(name):
    architecture = TINY[name]
    peer, encoder = built(of_s3prl, architecture)
    wav = 0.1 * torch.randn(2, 8000)
    losses = [sum((layer * weight).sum() for layer, weight in zip(layers, weights_like(layers), strict=True))
              for layers in (encoder(wav).layers, peer.layers(wav))]
    for loss in losses:
        loss.backward()
    for parameter in peer.model.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    theirs = peer.our_state()
    for key, parameter in encoder.named_parameters():
        if parameter.grad is None:  # the norm over time leaves the first convolution's bias without any
            continue
        error = (parameter.grad - theirs[key]).abs().max()
        assert error <= 1e-3 * theirs[key].abs().max() + 1e-4, (key, error, theirs[key].abs().max())


def weights_like(layers):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(layer.shape, generator=generator) for layer in layers]


SIZES = {
    "base": Architecture("wavlm", full_blocks(12, 12, 3072), rel_buckets=320),
    "large": Architecture("wav2vec2", full_blocks(24, 16, 4096), dim=1024, total_heads=16, conv_bias=True,
                          extractor_norm="layer_norm", norm_first=True, normalize_waveform=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("builder", [of_transformers, of_s3prl, of_torchaudio], ids=lambda b: b.__name__[3:])
def test_real_sizes_equal_the_peers(builder, size):
    torch.manual_seed(0)
    final_norm = builder is not of_torchaudio
    encoder = Encoder(replace(SIZES[size], final_norm=final_norm)).eval()
    peer = builder(SIZES[size]).hold_weights_of(encoder)
    peer.model.eval()
    assert_equal_alone(peer, encoder, 0.1 * torch.randn(2, 48000), torch.tensor([32000, 48000]))
