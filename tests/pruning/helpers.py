"""Tiny encoders of every family, and gates set by hand."""

from dataclasses import replace

import torch

from wedefense.frontend.ssl.architecture import Architecture, BlockShape, full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.whisper import WhisperEncoder
from wedefense.models.detector import Detector
from wedefense.pruning.gates import attach, gated_sites

CONV = tuple((16, kernel, stride) for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)))
BASE = Architecture("wav2vec2", full_blocks(3, 4, 20), dim=24, total_heads=4, conv_layers=CONV, pos_conv_kernel=16,
                    pos_conv_groups=4)
LARGE = replace(BASE, extractor_norm="layer_norm", norm_first=True, conv_bias=True, normalize_waveform=True)
RELATIVE = dict(family="wavlm", rel_buckets=32, rel_max_distance=80)
FAMILIES = {
    "wav2vec2": BASE, "wav2vec2_large": LARGE,
    "hubert": replace(BASE, family="hubert"), "unispeech_sat": replace(BASE, family="unispeech_sat"),
    "wavlm": replace(BASE, **RELATIVE), "wavlm_large": replace(LARGE, **RELATIVE, conv_bias=False),
    "data2vec": replace(LARGE, family="data2vec", norm_first=False, conv_bias=False, pos_conv_depth=3),
    "pruned before": replace(BASE, **RELATIVE, conv_output_scale=True,
                             blocks=(BlockShape((), 13), BlockShape((3, 1), 0), BlockShape((0, 2, 3), 11))),
    "whisper": Architecture("whisper", full_blocks(3, 4, 20), dim=24, total_heads=4, conv_bias=True, norm_first=True,
                            conv_layers=((24, 3, 1), (24, 3, 2)), mel_bins=20, pos_conv_groups=1, hidden_dropout=0.0),
}
LENGTHS = torch.tensor([7000, 5001, 3000])
UNITS = ("conv", "head", "attlayer", "interm", "ffnlayer")


def encoder_of(family: str, seed: int = 0):
    """With every parameter away from the initial zeros and ones."""
    shape = FAMILIES[family]
    torch.manual_seed(seed)
    encoder = (WhisperEncoder if shape.mel_bins else Encoder)(shape)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim == 1 or "gru_rel_pos" in str(parameter.shape):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder.eval()


def gated(family: str, units=(), seed: int = 0):
    encoder = encoder_of(family, seed)
    attach(encoder, units)
    return encoder


def holding(encoder) -> Detector:
    """What a mode needs of a detector."""
    frontend = torch.nn.Module()
    frontend.upstream = encoder
    return Detector(frontend, torch.nn.Identity(), torch.nn.Identity())


def set_gates(encoder, decide) -> None:
    """`decide(site)` -> bool (count,): far open (at a value of its own) or far closed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for site in gated_sites(encoder):
            wide = 9 + 6 * torch.rand(site.count, generator=generator)
            site.gate.log_alpha.copy_(torch.where(decide(site), wide / 9, -wide))
            # an open gate's probability must count as 1, a closed one's as 0, whatever its value
            site.gate.open_probability = lambda gate=site.gate: (gate.log_alpha > 0).to(gate.log_alpha.dtype)


def as_set(gates) -> torch.Tensor:
    """Openness as `set_gates` has it, for sizes."""
    return torch.cat([gate.open_probability() for gate in gates]).double()


def randomly(seed: int, share: float = 0.5):
    """Each unit open with a probability; a layer of channels keeps one."""
    generator = torch.Generator().manual_seed(seed)

    def decide(site):
        is_open = torch.rand(site.count, generator=generator) < share
        if site.unit == "conv" and not is_open.any():
            is_open[3] = True
        return is_open
    return decide


def batch(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(LENGTHS), int(LENGTHS.max()), generator=generator).cumsum(1) * 0.01 + 0.3


@torch.no_grad()
def difference(one, other) -> float:
    """The largest over all layers of the outputs of two encoders."""
    wav = batch()
    pairs = zip(one(wav, LENGTHS).layers, other(wav, LENGTHS).layers, strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)
