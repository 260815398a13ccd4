"""ECAPA-TDNN (Desplanques et al., Interspeech 2020), parameter names as in WeSpeaker.

`mask` is (batch, 1, frames); what a convolution wider than one frame sees past an utterance's end is zero.
"""

import torch
from torch import Tensor, nn

from wedefense.config.models import ECAPAOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.backend import Backend
from wedefense.models.pooling import ASTP, POOLINGS


class ConvReluBn(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x).relu())


class Res2Conv(nn.Module):
    """Channel groups in a chain: each is added to what came out of the one before, then convolved."""

    def __init__(self, channels: int, dilation: int, scale: int = 8):
        super().__init__()
        width = channels // scale
        self.width = width
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
                                   for _ in range(scale - 1))
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(scale - 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        *groups, last = x.split(self.width, dim=1)
        out, h = [], 0
        for group, conv, bn in zip(groups, self.convs, self.bns):
            h = bn(conv(h + group).relu()) * mask
            out.append(h)
        return torch.cat([*out, last], dim=1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, bottleneck: int = 128):
        super().__init__()
        self.linear1 = nn.Linear(channels, bottleneck)
        self.linear2 = nn.Linear(bottleneck, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask).sum(dim=2) / mask.sum(dim=2)             # (batch, channels)
        gate = self.linear2(self.linear1(mean).relu()).sigmoid()
        return x * gate[..., None]


class SERes2Block(nn.Module):
    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.se_res2block = nn.ModuleList([ConvReluBn(channels, channels), Res2Conv(channels, dilation),
                                           ConvReluBn(channels, channels), SqueezeExcite(channels)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        enter, res2, leave, excite = self.se_res2block
        return x + excite(leave(res2(enter(x) * mask, mask)), mask)


class ECAPA(Backend):
    channels: int
    global_context = False

    def __init__(self, options: ECAPAOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.layer1 = ConvReluBn(feat_dim, self.channels, kernel=5)
        self.layer2 = SERes2Block(self.channels, dilation=2)
        self.layer3 = SERes2Block(self.channels, dilation=3)
        self.layer4 = SERes2Block(self.channels, dilation=4)
        wide = 3 * 512
        self.conv = nn.Conv1d(3 * self.channels, wide, kernel_size=1)
        attends = options.pooling_func == "ASTP"
        self.pool = (ASTP(wide, global_context_att=self.global_context) if attends
                     else POOLINGS[options.pooling_func](wide))
        self.bn = nn.BatchNorm1d(self.pool.out_dim)
        self.linear = nn.Linear(self.pool.out_dim, options.embed_dim)
        self.bn2 = nn.BatchNorm1d(options.embed_dim) if options.emb_bn else nn.Identity()

    def forward(self, features: LayerFeatures) -> Tensor:
        x, _ = self.one_input(features)
        mask = features.mask()[:, None]                            # (batch, 1, frames)
        h1 = self.layer1(x.transpose(1, 2))                        # (batch, channels, frames)
        h2 = self.layer2(h1, mask)
        h3 = self.layer3(h2, mask)
        h4 = self.layer4(h3, mask)
        x = self.conv(torch.cat([h2, h3, h4], dim=1)).relu()       # (batch, 1536, frames)
        return self.bn2(self.linear(self.bn(self.pool(x, mask[:, 0]))))


class ECAPA512(ECAPA):
    channels = 512


class ECAPA512Glob(ECAPA512):
    global_context = True


class ECAPA1024(ECAPA):
    channels = 1024


class ECAPA1024Glob(ECAPA1024):
    global_context = True


class ECAPA512Xi(ECAPA512):
    """With the xi-vector's pooling, by its options."""


class ECAPA1024Xi(ECAPA1024):
    """The same, wider."""
