"""The constants of classical features: filters over a spectrum, and the cosines that make cepstra of them."""

import math

import torch
from torch import Tensor


def mel_filters(count: int, n_fft: int, sample_rate: int, lowest: float = 20.0) -> Tensor:
    """(n_fft / 2 + 1, count): triangles of equal width on Kaldi's mel scale, up to half the rate, where one is zero."""
    first, last = (1127 * math.log1p(hertz / 700) for hertz in (lowest, sample_rate / 2))
    corners = torch.linspace(first, last, count + 2, dtype=torch.float64)
    filters = _triangles(1127 * (_bins(n_fft, sample_rate) / 700).log1p(), corners)
    filters[-1] = 0  # Kaldi leaves the last bin out
    return filters.float()


def linear_filters(count: int, n_fft: int, sample_rate: int) -> Tensor:
    """(n_fft / 2 + 1, count): triangles of equal width in hertz, from zero to half the rate."""
    corners = torch.linspace(0, sample_rate / 2, count + 2, dtype=torch.float64)
    return _triangles(_bins(n_fft, sample_rate), corners).float()


def cosines(filters: int, count: int) -> Tensor:
    """(filters, count): the first rows of the orthonormal discrete cosine transform of type 2, as columns."""
    middle = torch.arange(filters, dtype=torch.float64)[:, None] + 0.5
    table = (math.pi / filters * middle * torch.arange(count, dtype=torch.float64)).cos() * math.sqrt(2 / filters)
    table[:, 0] /= math.sqrt(2)
    return table.float()


def slopes(x: Tensor) -> Tensor:
    """The line of least squares through five neighbours in the second dimension, whose ends are repeated."""
    x = torch.cat([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], dim=1)
    return (2 * (x[:, 4:] - x[:, :-4]) + (x[:, 3:-1] - x[:, 1:-3])) / 10


def _bins(n_fft: int, sample_rate: int) -> Tensor:
    return torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)  # hertz


def _triangles(places: Tensor, corners: Tensor) -> Tensor:
    """(bins,), (count + 2,) -> (bins, count)"""
    left, top, right = corners[:-2], corners[1:-1], corners[2:]
    places = places[:, None]
    return torch.minimum((places - left) / (top - left), (right - places) / (right - top)).clamp_min(0)
