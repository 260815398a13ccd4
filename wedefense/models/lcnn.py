"""Light CNN with bidirectional LSTMs (Wang et al., Interspeech 2021), and LLGF over SSL layers (Odyssey 2022).

For segments of 16 frames (Zhang et al., Interspeech 2021, arXiv 2104.02518) it is the same without its pooling.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from wedefense.config.models import LCNNLSTMOptions, LLGFOptions
from wedefense.frontend.features import LayerFeatures, frame_mask, on_host
from wedefense.models.backend import Backend
from wedefense.models.localizer import Frames
from wedefense.models.pooling import POOLINGS
from wedefense.utils.devices import numbers_on

REDUCTION = 16  # of time and of frequency, by four poolings


class MaxFeatureMap(nn.Module):
    """The larger of the two halves of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*x.chunk(2, dim=1))


class BLSTM(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.l_blstm = nn.LSTM(dim, dim // 2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, counts: list[int] | None) -> Tensor:
        """x (batch, frames, dim), `counts`: the lengths on the host, if they are known there.

        The backward direction starts at each utterance's own end. The longest come first, as cuDNN wants them;
        PyTorch's own sorting would wait for the device.
        """
        counts, order = torch.tensor(on_host(lengths) if counts is None else counts).sort(descending=True)
        order, back = (numbers_on(tuple(places.tolist()), x.device) for places in (order, order.argsort()))
        packed = pack_padded_sequence(x.index_select(0, order), counts, batch_first=True)
        h, _ = pad_packed_sequence(self.l_blstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return h.index_select(0, back)


def _conv(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2), MaxFeatureMap()]


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


class LCNNLSTM(Backend):
    min_frames, has_boundaries = REDUCTION, False

    def __init__(self, options: LCNNLSTMOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self._build(feat_dim, options.embed_dim, options.pooling_func, options.dropout)

    def _build(self, dim: int, embed_dim: int, pooling: str, dropout: float) -> None:
        self.m_transform = nn.Sequential(
            *_conv(1, 64, 5), nn.MaxPool2d(2),
            *_conv(32, 64, 1), _norm(32), *_conv(32, 96, 3), nn.MaxPool2d(2), _norm(48),
            *_conv(48, 96, 1), _norm(48), *_conv(48, 128, 3), nn.MaxPool2d(2),
            *_conv(64, 128, 1), _norm(64), *_conv(64, 64, 3), _norm(32),
            *_conv(32, 64, 1), _norm(32), *_conv(32, 64, 3), nn.MaxPool2d(2), nn.Dropout(dropout))
        wide = max(dim // REDUCTION, 1) * 32
        self.m_lstm = nn.ModuleList([BLSTM(wide), BLSTM(wide)])
        self.m_pool = POOLINGS[pooling](wide)
        self.m_linear = nn.Linear(self.m_pool.out_dim, embed_dim)
        self.linear_of_frames = self.m_pool.out_dim == wide  # of a mean the linear layer takes each frame too
        self.frame_dims = {REDUCTION: embed_dim if self.linear_of_frames else wide}

    def forward(self, features: LayerFeatures) -> Tensor:
        return self._pooled(*self._heard(features))

    def frames(self, features: LayerFeatures) -> Frames:
        x, lengths = self._heard(features)
        each = self.m_linear(x) if self.linear_of_frames else x
        mask = frame_mask(lengths, x.shape[1])[..., None]
        return Frames({REDUCTION: (each * mask, lengths)}, self._pooled(x, lengths))

    def _heard(self, features: LayerFeatures) -> tuple[Tensor, Tensor]:
        return self._recurrent(*self.one_input(features), features.counts)

    def _pooled(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.m_linear(self.m_pool(x.transpose(1, 2), frame_mask(lengths, x.shape[1])))

    def _recurrent(self, x: Tensor, lengths: Tensor, counts: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """x (batch, frames, dim) -> (batch, frames / 16, 32 * dim / 16), lengths"""
        counts = None if counts is None else [max(count, self.min_frames) // REDUCTION for count in counts]
        x = F.pad(x, (0, max(0, REDUCTION - x.shape[2])))[:, None]             # (batch, 1, frames, dim)
        for step in self.m_transform:
            if isinstance(step, nn.Conv2d) and step.kernel_size[0] > 1:
                x = x * frame_mask(lengths, x.shape[2])[:, None, :, None]
            x = step(x)
            if isinstance(step, nn.MaxPool2d):
                lengths = lengths // 2
        x = x.transpose(1, 2).flatten(2)                                       # (batch, frames / 16, 32 * dim / 16)
        h = x
        for blstm in self.m_lstm:
            h = blstm(h, lengths, counts)
        return x + h, lengths


class LLGF(LCNNLSTM):
    """A linear layer in front, global average pooling behind."""

    def __init__(self, options: LLGFOptions, feat_dim: int, num_layers: int):
        Backend.__init__(self, options, feat_dim, num_layers)
        self.LL = nn.Linear(feat_dim, options.compression_dim)
        self._build(options.compression_dim, options.embed_dim, "TAP", options.dropout)

    def _heard(self, features: LayerFeatures) -> tuple[Tensor, Tensor]:
        x, lengths = self.one_input(features)
        return self._recurrent(self.LL(x), lengths, features.counts)
