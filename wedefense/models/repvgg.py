"""RepVGG over (frequency, time): branches in training that are one convolution afterwards.

Ding et al., CVPR 2021; Ma et al., ICASSP 2022 (for speakers). Parameter names are those of WeSpeaker's checkpoints;
`deploy: True` reads those whose branches it has merged.
"""

from collections import OrderedDict

from torch import Tensor, nn

from wedefense.config.models import RepVGGOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend, halved
from wedefense.models.pooling import POOLINGS


def _branch(channels_in: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False),
                                     bn=nn.BatchNorm2d(channels)))


class SqueezeExcitation(nn.Module):
    """Each channel times a weight that the mean of all channels decides."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc_1, self.fc_2 = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask).sum((2, 3)) / (mask.sum((2, 3)) * x.shape[2])      # (batch, channels)
        return x * self.fc_2(self.fc_1(mean).relu()).sigmoid()[:, :, None, None]


class Block(nn.Module):
    """A 3 x 3 and a 1 x 1 convolution and, where shapes allow it, the input itself, each normalised, added."""

    def __init__(self, channels_in: int, channels: int, stride: int, options: RepVGGOptions):
        super().__init__()
        self.deploy = options.deploy
        if self.deploy:
            self.rbr_reparam = nn.Conv2d(channels_in, channels, 3, stride, 1)
        else:
            self.rbr_identity = nn.BatchNorm2d(channels) if channels == channels_in and stride == 1 else None
            self.rbr_dense = _branch(channels_in, channels, 3, stride)
            self.rbr_1x1 = _branch(channels_in, channels, 1, stride)
        self.se = SqueezeExcitation(channels) if options.use_se else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps come and go with zeros on padded frames; `mask`: of the frames that come out."""
        if self.deploy:
            h = self.rbr_reparam(x)
        else:
            h = self.rbr_dense(x) + self.rbr_1x1(x)
            if self.rbr_identity is not None:
                h = h + self.rbr_identity(x)
        h = h.relu() * mask
        return h if self.se is None else self.se(h, mask)


class RepVGG(Backend):
    blocks: tuple[int, ...]
    widths: tuple[float, ...]  # of 64, 128, 256 and 512 channels
    strides = (1, 1, 2, 2, 2)

    def __init__(self, options: RepVGGOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        sizes = [int(64 * 2 ** n * width) for n, width in enumerate(self.widths)]
        before = min(64, sizes[0])
        self.stage0 = Block(1, before, self.strides[0], options)
        stages = []
        for size, count, stride in zip(sizes, self.blocks, self.strides[1:]):
            stages.append(nn.ModuleList([Block(before, size, stride, options),
                                         *(Block(size, size, 1, options) for _ in range(count - 1))]))
            before = size
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.pool = POOLINGS[options.pooling_func](halved(feat_dim, 3) * before)
        self.seg = nn.Linear(self.pool.out_dim, options.embed_dim)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        masks = [frame_mask(halved(lengths, n), halved(x.shape[1], n))[:, None, None] for n in range(4)]
        x = self.stage0(x.transpose(1, 2)[:, None], masks[0])               # (batch, channels, dim, frames)
        for stage, mask in zip((self.stage1, self.stage2, self.stage3, self.stage4), masks):
            for block in stage:
                x = block(x, mask)
        return self.seg(self.pool(x.flatten(1, 2), masks[3][:, 0, 0]))      # (batch, embed_dim)


class REPVGG_TINY_A0(RepVGG):
    blocks, widths = (3, 4, 23, 3), (0.5, 0.5, 0.5, 0.5)


class REPVGG_A0(RepVGG):
    blocks, widths = (2, 4, 14, 1), (0.75, 0.75, 0.75, 2.5)


class REPVGG_A1(RepVGG):
    blocks, widths = (2, 4, 14, 1), (1, 1, 1, 2.5)


class REPVGG_A2(RepVGG):
    blocks, widths = (2, 4, 14, 1), (1.5, 1.5, 1.5, 2.75)


class REPVGG_B0(RepVGG):
    blocks, widths = (4, 6, 16, 1), (1, 1, 1, 2.5)


class REPVGG_B1(RepVGG):
    blocks, widths = (4, 6, 16, 1), (2, 2, 2, 4)


class REPVGG_B2(RepVGG):
    blocks, widths = (4, 6, 16, 1), (2.5, 2.5, 2.5, 5)
