"""Classical features in batches, equal to torchaudio's one at a time: a frame reads only its own samples."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.frontend import FbankOptions, LfccOptions
from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.frontend.filters import cosines, linear_filters, mel_filters, slopes
from wedefense.utils.devices import numbers_on


def _counts(lengths: Lengths, window: int, shift: int) -> list[int]:
    """Frames of so many samples."""
    return [1 + (samples - window) // shift for samples in on_host(lengths)]


class Fbank(nn.Module):
    """Log Mel filter banks as `torchaudio.compliance.kaldi.fbank(window_type="hamming")` on 16-bit scale."""

    architecture, num_layers = None, 1

    def __init__(self, options: FbankOptions, sample_rate: int):
        super().__init__()
        self.feat_dim = options.num_mel_bins
        self.frame_shift = options.frame_shift
        self.dither = options.dither
        self.window = int(sample_rate * options.frame_length / 1000)
        self.shift = int(sample_rate * options.frame_shift / 1000)
        self.min_samples = self.window
        self.n_fft = 1 << (self.window - 1).bit_length()
        self.register_buffer("banks", mel_filters(options.num_mel_bins, self.n_fft, sample_rate), persistent=False)
        taper = torch.hamming_window(self.window, periodic=False, alpha=0.54, beta=0.46)
        self.register_buffer("taper", taper, persistent=False)

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        counts = _counts(lengths, self.window, self.shift)
        frames = (wav.float() * 32768).unfold(1, self.window, self.shift)  # (batch, frames, window)
        if self.training and self.dither > 0:
            frames = frames + self.dither * torch.randn_like(frames)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        frames = (frames - 0.97 * before) * self.taper
        power = torch.fft.rfft(frames, n=self.n_fft).abs().square()        # (batch, frames, n_fft / 2 + 1)
        features = (power @ self.banks).clamp_min(torch.finfo(torch.float32).eps).log()
        return LayerFeatures([features], numbers_on(tuple(counts), wav.device), counts)


class Lfcc(nn.Module):
    """Linear-frequency cepstra by `torchaudio.transforms.LFCC(log_lf=True)`, frames not padded at the ends."""

    architecture, num_layers = None, 1

    def __init__(self, options: LfccOptions, sample_rate: int):
        super().__init__()
        self.use_delta = options.use_delta
        self.feat_dim = options.n_lfcc * (3 if options.use_delta else 1)
        self.frame_shift = options.frame_shift
        self.shift = int(sample_rate * options.frame_shift / 1000)
        self.n_fft = options.n_fft
        self.min_samples = options.n_fft
        window = int(sample_rate * options.frame_length / 1000)
        left = (options.n_fft - window) // 2
        taper = F.pad(torch.hann_window(window), (left, options.n_fft - window - left))
        for name, constant in (("taper", taper), ("filters", linear_filters(options.n_filter, self.n_fft, sample_rate)),
                               ("cosines", cosines(options.n_filter, options.n_lfcc))):
            self.register_buffer(name, constant, persistent=False)  # not part of a checkpoint

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        counts = _counts(lengths, self.n_fft, self.shift)
        frames = numbers_on(tuple(counts), wav.device)
        cepstra = self._logarithm(self._energies(wav.float()), frames) @ self.cosines  # (batch, frames, n_lfcc)
        if self.use_delta:
            cepstra = self._with_deltas(cepstra, frames)
        return LayerFeatures([cepstra], frames, counts)                                # (batch, frames, dim)

    def _energies(self, wav: Tensor) -> Tensor:
        windows = wav.unfold(1, self.n_fft, self.shift) * self.taper                   # (batch, frames, n_fft)
        return torch.fft.rfft(windows).abs().square() @ self.filters                   # (batch, frames, n_filter)

    def _logarithm(self, energies: Tensor, frames: Tensor) -> Tensor:
        return (energies + 1e-6).log()

    def _with_deltas(self, cepstra: Tensor, frames: Tensor) -> Tensor:
        return _with_deltas(cepstra, frames)


class LfccDecibel(Lfcc):
    """`torchaudio.transforms.LFCC()` on 16-bit scale: in decibels, those far below an utterance's loudest raised.

    Differences are those of neighbouring coefficients, not of frames: so WeDefense's checkpoints were trained.
    """

    quietest, range = 1e-10, 80.0

    def _logarithm(self, energies: Tensor, frames: Tensor) -> Tensor:
        decibels = 10 * (energies * 32768.0 ** 2).clamp_min(self.quietest).log10()     # (batch, frames, n_filter)
        heard = frame_mask(frames, decibels.shape[1])[..., None]
        loudest = decibels.masked_fill(~heard, float("-inf")).amax(dim=(1, 2), keepdim=True)
        return torch.maximum(decibels, loudest - self.range)

    def _with_deltas(self, cepstra: Tensor, frames: Tensor) -> Tensor:
        first = slopes(cepstra.mT)                                                     # (batch, n_lfcc, frames)
        return torch.cat([cepstra, first.mT, slopes(first).mT], dim=2)


def _with_deltas(cepstra: Tensor, frames: Tensor) -> Tensor:
    """First and second slopes over five frames; past its end an utterance repeats its last frame."""
    place = torch.arange(cepstra.shape[1], device=cepstra.device)[None]
    last = torch.minimum(place, frames[:, None] - 1)[..., None].expand_as(cepstra)
    first = slopes(cepstra.gather(1, last))
    return torch.cat([cepstra, first, slopes(first.gather(1, last))], dim=2)


class ExportableFbank(nn.Module):
    """`Fbank` for exporters: framing, windowing and the Fourier transform are linear, one convolution."""

    architecture, num_layers, longest = None, 1, math.inf

    def __init__(self, frontend: Fbank):
        super().__init__()
        self.feat_dim, self.frame_shift = frontend.feat_dim, frontend.frame_shift
        self.window, self.shift, self.min_samples = frontend.window, frontend.shift, frontend.min_samples
        frames = 32768 * torch.eye(self.window, dtype=torch.float64)
        frames = frames - frames.mean(dim=1, keepdim=True)
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        frames = (frames - 0.97 * before) * frontend.taper.double()
        self.register_buffer("kernels", fourier_kernels(torch.fft.rfft(frames, n=frontend.n_fft)))
        self.register_buffer("banks", frontend.banks.clone())

    def forward(self, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        features = power(wav, self.kernels, self.shift) @ self.banks
        features = features.clamp_min(torch.finfo(torch.float32).eps).log()
        return LayerFeatures([features], 1 + torch.div(lengths - self.window, self.shift, rounding_mode="floor"))


class ExportableLfcc(nn.Module):
    """`Lfcc` for exporters."""

    architecture, num_layers, longest = None, 1, math.inf

    def __init__(self, frontend: Lfcc):
        super().__init__()
        self.feat_dim, self.frame_shift = frontend.feat_dim, frontend.frame_shift
        self.window, self.shift, self.use_delta = frontend.n_fft, frontend.shift, frontend.use_delta
        self.min_samples = frontend.min_samples
        self.register_buffer("kernels", fourier_kernels(torch.fft.rfft(torch.diag(frontend.taper.double()))))
        self.register_buffer("filters", frontend.filters.clone())
        self.register_buffer("cosines", frontend.cosines.clone())

    def forward(self, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        cepstra = (power(wav, self.kernels, self.shift) @ self.filters + 1e-6).log() @ self.cosines
        frames = 1 + torch.div(lengths - self.window, self.shift, rounding_mode="floor")
        if self.use_delta:
            cepstra = _with_deltas(cepstra, frames)
        return LayerFeatures([cepstra], frames)                                 # (batch, frames, dim)


def fourier_kernels(response: Tensor) -> Tensor:
    """(window, bins) complex: what each sample adds to each bin -> (2 * bins, 1, window)"""
    return torch.cat([response.real, response.imag], dim=1).t()[:, None].float().contiguous()


def power(wav: Tensor, kernels: Tensor, shift: int) -> Tensor:
    """(batch, samples) -> (batch, frames, bins)"""
    real, imaginary = F.conv1d(wav[:, None], kernels, stride=shift).chunk(2, dim=1)
    return (real.square() + imaginary.square()).transpose(1, 2)
