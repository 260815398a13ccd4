"""Nes2Net and Nes2Net-X: nested Res2Nets on SSL features without a reduction of their dimension.

Liu et al., 2025, arXiv 2504.05657; parameter names are those of the authors' code.
"""

import torch
from torch import Tensor, nn

from wedefense.config.models import Nes2NetOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.backend import Backend
from wedefense.models.pooling import POOLINGS


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, ratio: int):
        super().__init__()
        narrow = max(channels // ratio, 1)
        self.se = nn.Sequential(nn.Identity(), nn.Conv1d(channels, narrow, 1), nn.ReLU(),
                                nn.Conv1d(narrow, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask).sum(dim=2, keepdim=True) / mask.sum(dim=2, keepdim=True)
        return x * self.se(mean)


class Bottle2neck(nn.Module):
    """A Res2Net block; x is (batch, channels, frames), mask (batch, 1, frames)."""

    def __init__(self, channels: int, scale: int, dilation: int, se_ratio: int):
        super().__init__()
        self.width = width = channels // scale
        self.conv1 = nn.Conv1d(channels, width * scale, kernel_size=1)
        self.bn1 = nn.BatchNorm1d(width * scale)
        self.convs, self.bns = self._branches(width, scale - 1, dilation)
        self.conv3 = nn.Conv1d(width * scale, channels, kernel_size=1)
        self.bn3 = nn.BatchNorm1d(channels)
        self.se = SqueezeExcite(channels, se_ratio)

    def _branches(self, width: int, count: int, dilation: int) -> tuple[nn.ModuleList, nn.ModuleList]:
        return (nn.ModuleList(nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for _ in range(count)),
                nn.ModuleList(nn.BatchNorm1d(width) for _ in range(count)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x).relu()) * mask
        *groups, last = h.split(self.width, dim=1)
        h = torch.cat([*self._chain(groups, last, mask), last], dim=1)
        h = self.bn3(self.conv3(h).relu())
        return x + self.se(h, mask)

    def _chain(self, groups: list[Tensor], last: Tensor, mask: Tensor) -> list[Tensor]:
        """Each group is added to what came out of the one before."""
        out, h = [], 0
        for group, conv, bn in zip(groups, self.convs, self.bns):
            h = bn(conv(h + group).relu()) * mask
            out.append(h)
        return out


class WeightedBottle2neck(Bottle2neck):
    """Nes2Net-X: each group joins the earlier ones side by side; their learned sum goes out."""

    def _branches(self, width: int, count: int, dilation: int) -> tuple[nn.ModuleList, nn.ModuleList]:
        self.weighted_sum = nn.ParameterList(torch.full((1, 1, 1, n), 1 / n) for n in range(2, count + 2))
        return (nn.ModuleList(nn.Conv2d(width, width, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
                              for _ in range(count)),
                nn.ModuleList(nn.BatchNorm2d(width) for _ in range(count)))

    def _chain(self, groups: list[Tensor], last: Tensor, mask: Tensor) -> list[Tensor]:
        out, h = [], last[..., None]                                # (batch, width, frames, 1)
        for group, conv, bn, weights in zip(groups, self.convs, self.bns, self.weighted_sum):
            h = torch.cat([h, group[..., None]], dim=3)             # (batch, width, frames, groups so far + 1)
            h = bn(conv(h).relu()) * mask[..., None]
            out.append((h * weights).sum(dim=3))
        return out


class Nes2Net(Backend):
    """Features that the ratios do not divide pass through a linear layer to the next size that they do."""

    def __init__(self, options: Nes2NetOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        outer, inner = options.Nes_ratio
        dim = max(-(-feat_dim // outer), inner) * outer
        self.fit = nn.Linear(feat_dim, dim) if dim != feat_dim else nn.Identity()
        self.width = dim // outer
        block = WeightedBottle2neck if options.weighted else Bottle2neck
        self.Build_in_Res2Nets = nn.ModuleList(block(self.width, inner, options.dilation, options.SE_ratio)
                                               for _ in range(outer - 1))
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(outer - 1))
        self.bn = nn.BatchNorm1d(dim)
        self.pooling = POOLINGS[options.pool_func](dim)
        pooled = self.pooling.out_dim
        self.embed_dim = pooled if options.embed_dim == -1 else options.embed_dim
        self.fc = nn.Linear(pooled, self.embed_dim) if self.embed_dim != pooled else nn.Identity()

    def forward(self, features: LayerFeatures) -> Tensor:
        x, _ = self.one_input(features)
        mask = features.mask()[:, None]                             # (batch, 1, frames)
        *groups, last = self.fit(x).transpose(1, 2).split(self.width, dim=1)
        out, h = [], 0
        for group, res2net, bn in zip(groups, self.Build_in_Res2Nets, self.bns):
            h = bn(res2net(h + group, mask).relu())
            out.append(h)
        x = self.bn(torch.cat([*out, last], dim=1)).relu()          # (batch, dim, frames)
        return self.fc(self.pooling(x, mask[:, 0]))                 # (batch, embed_dim)
