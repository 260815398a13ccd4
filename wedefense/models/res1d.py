"""One residual block of convolutions over time on the features of an SSL front-end, as in WeDefense."""

import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import SSLBackendOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend
from wedefense.models.pooling import TAP


class _ConvReluNorm(nn.Module):
    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.bn(self.conv(x).relu()) * mask


class _ChannelGate(nn.Module):
    """Each channel times a weight that the means of all channels decide."""

    def __init__(self, channels: int, inside: int = 128):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(channels, inside), nn.Linear(inside, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask).sum(2) / mask.sum(2)                              # (batch, channels)
        return x * self.linear2(F.relu(self.linear1(mean))).sigmoid()[:, :, None]


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.res1D = nn.ModuleList([*(_ConvReluNorm(channels, kernel) for kernel in (1, 3, 1)), _ChannelGate(channels)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = x
        for part in self.res1D:
            h = part(h, mask)
        return x + h


class Res1D(Backend):
    """The block, a product, the mean over time."""

    def __init__(self, options: SSLBackendOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.res1D = _Residual(feat_dim)
        self.fc = nn.Conv1d(feat_dim, options.embed_dim, 1)
        self.mean = TAP(options.embed_dim)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        mask = frame_mask(lengths, x.shape[1])
        x = self.fc(self.res1D(x.transpose(1, 2), mask[:, None]))           # (batch, embed_dim, frames)
        return self.mean(x, mask)
