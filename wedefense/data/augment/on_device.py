"""Endings of a batch, done where its audio lies: the formulas of `mixing`, `rawboost` and `channels` on tensors.

Sizes come from the host and indices lie on the device, so that the host waits for nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, fft

from wedefense.data.augment.filters import PEAK_FLOOR
from wedefense.data.augment.later import Group
from wedefense.data.batch import Batch

_AT_ONCE = 32  # utterances: bounds the memory, and the plans of Fourier transforms that a device keeps
_TINY = torch.finfo(torch.float32).tiny


def finished(batch: Batch) -> Batch:
    """The batch with its endings done, in place in its audio, which lies where the endings lie."""
    if batch.later is None:
        return batch
    for group in batch.later.groups():
        for rows, levels, filters, signals in _pieces(group):
            wav = batch.wav.index_select(0, rows)  # (endings, samples)
            done = _FORMULAS[group.layout.kind](wav, _Filters(filters, group.layout.front), signals, levels)
            batch.wav.index_copy_(0, rows.long(), done)
    return replace(batch, later=None)


def _pieces(group: Group) -> Iterable[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    parts = [tensor.split(_AT_ONCE) for tensor in group[1:4]]
    signals = [None] * len(parts[0]) if group.signals is None else group.signals.split(_AT_ONCE)
    return zip(*parts, signals)


class _Filters:
    """(endings, filters, width), their outputs `front` samples late."""

    def __init__(self, taps: Tensor, front: int):
        self._taps, self._front = taps, front

    def __call__(self, signals: Iterable[Tensor]) -> Tensor:
        """Sum of the filtered signals, one for each filter; (endings, samples) each and in all."""
        from scipy.fft import next_fast_len

        total = 0
        for signal, taps in zip(signals, self._taps.unbind(1)):
            samples = signal.shape[1]
            size = next_fast_len(samples + taps.shape[1] - 1, real=True)
            total = total + fft.rfft(signal, size) * fft.rfft(taps, size)  # (endings, size / 2 + 1)
        return fft.irfft(total, size)[:, self._front:self._front + samples]

    def __len__(self) -> int:
        return self._taps.shape[1]


def _band(wav: Tensor, filters: _Filters, signals: None, levels: Tensor) -> Tensor:
    return filters([wav])


def _room(wav: Tensor, filters: _Filters, signals: None, levels: Tensor) -> Tensor:
    wet = filters([wav])
    return _limit_peak(wet * (_power(wav) / _power(wet).clamp(min=_TINY)).sqrt())


def _room_to_peak(wav: Tensor, filters: _Filters, signals: None, levels: Tensor) -> Tensor:
    wet = filters([wav])
    return wet / (wet.abs().amax(1, keepdim=True) + float(PEAK_FLOOR))


def _convolutive(wav: Tensor, filters: _Filters, gains: Tensor | None, levels: Tensor) -> Tensor:
    powers = [wav]
    for _ in range(len(filters) - 1):
        powers.append(powers[-1] * wav)
    y = filters(powers)
    y = _limit_peak(y - y.mean(1, keepdim=True))
    return y if gains is None else _limit_peak(y * gains)


def _stationary(wav: Tensor, filters: _Filters, white: Tensor, levels: Tensor) -> Tensor:
    noise = filters([white])
    scale = (_power(wav) / _power(noise).clamp(min=_TINY)).sqrt()
    return wav + noise * (scale * levels)


def _power(wav: Tensor) -> Tensor:
    """Mean square of each, (endings, 1)."""
    return wav.square().mean(1, keepdim=True)


def _limit_peak(wav: Tensor) -> Tensor:
    return wav / wav.abs().amax(1, keepdim=True).clamp(min=1)


_FORMULAS: dict[str, Callable[..., Tensor]] = {
    "band": _band, "room": _room, "room_to_peak": _room_to_peak, "convolutive": _convolutive,
    "stationary": _stationary}
