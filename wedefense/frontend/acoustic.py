"""Classical features in batches, equal to torchaudio's one at a time: a frame reads only its own samples."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.frontend import FbankOptions, LfccOptions
from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.utils.devices import numbers_on


def _counts(lengths: Lengths, window: int, shift: int) -> list[int]:
    """Frames of so many samples."""
    return [1 + (samples - window) // shift for samples in on_host(lengths)]


class Fbank(nn.Module):
    """Log Mel filter banks as `torchaudio.compliance.kaldi.fbank(window_type="hamming")` on 16-bit scale."""

    architecture, num_layers = None, 1

    def __init__(self, options: FbankOptions, sample_rate: int):
        super().__init__()
        from torchaudio.compliance.kaldi import get_mel_banks

        self.feat_dim = options.num_mel_bins
        self.frame_shift = options.frame_shift
        self.dither = options.dither
        self.window = int(sample_rate * options.frame_length / 1000)
        self.shift = int(sample_rate * options.frame_shift / 1000)
        self.min_samples = self.window
        self.n_fft = 1 << (self.window - 1).bit_length()
        banks, _ = get_mel_banks(options.num_mel_bins, self.n_fft, float(sample_rate), 20.0, 0.0, 100.0, -500.0, 1.0)
        banks = F.pad(banks, (0, 1))  # (mel, n_fft / 2 + 1)
        self.register_buffer("banks", banks.T.contiguous(), persistent=False)
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
        from torchaudio.transforms import LFCC

        self.use_delta = options.use_delta
        self.feat_dim = options.n_lfcc * (3 if options.use_delta else 1)
        self.frame_shift = options.frame_shift
        self.shift = int(sample_rate * options.frame_shift / 1000)
        self.n_fft = options.n_fft
        self.min_samples = options.n_fft
        spectrum = {"n_fft": options.n_fft, "hop_length": self.shift, "center": False,
                    "win_length": int(sample_rate * options.frame_length / 1000)}
        self.lfcc = LFCC(sample_rate, n_filter=options.n_filter, n_lfcc=options.n_lfcc, log_lf=True,
                         speckwargs=spectrum)
        for name, buffer in list(self.lfcc.named_buffers()):  # constants, not part of a checkpoint
            owner = self.lfcc.get_submodule(name.rpartition(".")[0])
            owner.register_buffer(name.rpartition(".")[2], buffer, persistent=False)

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        counts = _counts(lengths, self.n_fft, self.shift)
        frames = numbers_on(tuple(counts), wav.device)
        cepstra = self._cepstra(wav.float(), frames)                     # (batch, n_lfcc, frames)
        if self.use_delta:
            cepstra = self._with_deltas(cepstra, frames)
        return LayerFeatures([cepstra.transpose(1, 2)], frames, counts)  # (batch, frames, dim)

    def _cepstra(self, wav: Tensor, frames: Tensor) -> Tensor:
        return self.lfcc(wav)

    def _with_deltas(self, cepstra: Tensor, frames: Tensor) -> Tensor:
        return _with_deltas(cepstra, frames)


class LfccDecibel(Lfcc):
    """`torchaudio.transforms.LFCC()` on 16-bit scale: in decibels, those far below an utterance's loudest raised.

    Differences are those of neighbouring coefficients, not of frames: so WeDefense's checkpoints were trained.
    """

    quietest, range = 1e-10, 80.0

    def _cepstra(self, wav: Tensor, frames: Tensor) -> Tensor:
        energies = self.lfcc.Spectrogram(wav * 32768).transpose(1, 2) @ self.lfcc.filter_mat  # (batch, frames, filters)
        decibels = 10 * energies.clamp_min(self.quietest).log10()
        heard = frame_mask(frames, decibels.shape[1])[..., None]
        loudest = decibels.masked_fill(~heard, float("-inf")).amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(decibels, loudest - self.range) @ self.lfcc.dct_mat).transpose(1, 2)

    def _with_deltas(self, cepstra: Tensor, frames: Tensor) -> Tensor:
        from torchaudio.functional import compute_deltas

        first = compute_deltas(cepstra.transpose(1, 2))                                       # (batch, frames, n_lfcc)
        return torch.cat([cepstra, first.transpose(1, 2), compute_deltas(first).transpose(1, 2)], dim=1)


def _with_deltas(cepstra: Tensor, frames: Tensor) -> Tensor:
    """First and second differences over five frames; past its end an utterance repeats its last frame."""
    from torchaudio.functional import compute_deltas

    def repeat_last(x: Tensor) -> Tensor:
        index = torch.minimum(torch.arange(x.shape[2], device=x.device)[None, :], frames[:, None] - 1)
        return x.gather(2, index[:, None, :].expand_as(x))

    first = compute_deltas(repeat_last(cepstra))
    second = compute_deltas(repeat_last(first))
    return torch.cat([cepstra, first, second], dim=1)


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
        taper = frontend.lfcc.Spectrogram.window.double()
        left = (self.window - len(taper)) // 2
        taper = F.pad(taper, (left, self.window - len(taper) - left))
        self.register_buffer("kernels", fourier_kernels(torch.fft.rfft(torch.diag(taper))))
        self.register_buffer("filters", frontend.lfcc.filter_mat.clone())
        self.register_buffer("cosines", frontend.lfcc.dct_mat.clone())

    def forward(self, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        cepstra = (power(wav, self.kernels, self.shift) @ self.filters + 1e-6).log() @ self.cosines
        frames = 1 + torch.div(lengths - self.window, self.shift, rounding_mode="floor")
        if self.use_delta:
            place = torch.arange(cepstra.shape[1], device=wav.device)[None]
            last = torch.minimum(place, frames[:, None] - 1)[..., None]
            first = _differences(cepstra, last)
            cepstra = torch.cat([cepstra, first, _differences(first, last)], dim=2)
        return LayerFeatures([cepstra], frames)                                 # (batch, frames, dim)


def fourier_kernels(response: Tensor) -> Tensor:
    """(window, bins) complex: what each sample adds to each bin -> (2 * bins, 1, window)"""
    return torch.cat([response.real, response.imag], dim=1).t()[:, None].float().contiguous()


def power(wav: Tensor, kernels: Tensor, shift: int) -> Tensor:
    """(batch, samples) -> (batch, frames, bins)"""
    real, imaginary = F.conv1d(wav[:, None], kernels, stride=shift).chunk(2, dim=1)
    return (real.square() + imaginary.square()).transpose(1, 2)


def _differences(x: Tensor, last: Tensor) -> Tensor:
    """x (batch, frames, dim) -> slopes over five frames; past its end an utterance repeats its last frame."""
    x = x.gather(1, last.expand(-1, -1, x.shape[2]))
    x = torch.cat([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], dim=1)
    return (2 * (x[:, 4:] - x[:, :-4]) + (x[:, 3:-1] - x[:, 1:-3])) / 10
