"""Log-mel frames as NeMo's preprocessor makes them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.features import frame_mask
from wedefense.frontend.whisper import mel_filters
from wedefense.utils.devices import numbers_on

PREEMPHASIS, FLOOR, LEAST_DEVIATION = 0.97, 2.0 ** -24, 1e-5


class LogMel(nn.Module):
    """wav (batch, samples) -> (batch, frames, bands), zero past an utterance's end, and the frames of each.

    In training a little noise is added, as NeMo does. Always computed in float32.
    """

    def __init__(self, architecture: ConformerArchitecture):
        super().__init__()
        self.hop, self.n_fft = architecture.hop, architecture.n_fft
        self.normalized, self.dither = architecture.normalized, architecture.dither
        self.register_buffer("fb", mel_filters(architecture.mel_bins, n_fft=architecture.n_fft).t()[None])
        self.register_buffer("window", torch.hann_window(architecture.window, periodic=False))

    def forward(self, wav: Tensor, samples: list[int]) -> tuple[Tensor, list[int]]:
        counts = [number // self.hop for number in samples]
        with torch.autocast(wav.device.type, enabled=False):
            wav = wav[:, :max(samples)].float()
            if self.training and self.dither > 0:
                wav = wav + self.dither * torch.randn_like(wav)
            wav = torch.cat([wav[:, :1], wav[:, 1:] - PREEMPHASIS * wav[:, :-1]], dim=1)
            wav = wav * frame_mask(numbers_on(tuple(samples), wav.device), wav.shape[1])
            wav = F.pad(wav, (self.n_fft // 2, self.n_fft // 2))
            spectrum = torch.stft(wav, self.n_fft, self.hop, len(self.window), self.window, center=False,
                                  return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()      # (batch, frequencies, frames)
            mel = (self.fb @ power + FLOOR).log().transpose(1, 2)[:, :max(counts)]
            lengths = numbers_on(tuple(counts), mel.device)
            mask = frame_mask(lengths, mel.shape[1])[..., None]          # (batch, frames, 1)
            if self.normalized:
                mel = _normalised(mel, mask, lengths[:, None, None])
            return mel * mask, counts


def _normalised(mel: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    mean = (mel * mask).sum(1, keepdim=True) / counts
    deviation = (((mel - mean) * mask).square().sum(1, keepdim=True) / (counts - 1).clamp(min=1)).sqrt()
    return (mel - mean) / (deviation + LEAST_DEVIATION)
