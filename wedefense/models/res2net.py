"""Res2Net and ERes2Net over (frequency, time): blocks whose channels are heard one share after the other.

Res2Net: Gao et al., TPAMI 2021; Zhou et al., SLT 2021. ERes2Net, which fuses by attention inside blocks and between
stages: Chen et al., Interspeech 2023 (arXiv 2305.12838). Parameter names are those of WeSpeaker's checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import ResNetOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import SpeakerNetwork, halved
from wedefense.models.pooling import POOLINGS


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)


def _clipped(x: Tensor) -> Tensor:
    """ReLU up to 20; at 0 its gradient is 0, as ReLU's: that of clamp is 1 there, and what norms make of it in silence,
    300 times as much at each, has no end."""
    return F.hardtanh(x, 0.0, 20.0)


class Fusion(nn.Module):
    """Two maps weighted by attention: the weights are 1 + a and 1 - a."""

    def __init__(self, channels: int):
        super().__init__()
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, channels // 4, 1), nn.BatchNorm2d(channels // 4), nn.SiLU(),
            nn.Conv2d(channels // 4, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        weight = self.local_att(torch.cat([x, other], dim=1)).tanh()
        return x * (1 + weight) + other * (1 - weight)


class Block(nn.Module):
    """A share of the channels is convolved, added to the next share, convolved ... and all are put side by side.

    `last_plain`: the last share passes as it is (Res2Net); `fused`: shares are fused, not added (ERes2Net's later
    stages). Maps come and go with zeros on padded frames.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, shares: int, share_width: float, expansion: int,
                 last_plain: bool = False, fused: bool = False):
        super().__init__()
        width = int(channels * share_width)
        self.width, self.last_plain = width, last_plain
        self.conv1, self.bn1 = _conv(channels_in, width * shares, 1, stride), nn.BatchNorm2d(width * shares)
        count = shares - (1 if last_plain or fused else 0)
        if fused:
            self.conv2_1, self.bn2_1 = _conv(width, width), nn.BatchNorm2d(width)
            self.fuse_models = nn.ModuleList(Fusion(width) for _ in range(count))
        self.fused = fused
        self.convs = nn.ModuleList(_conv(width, width) for _ in range(count))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(count))
        self.conv3, self.bn3 = _conv(width * shares, channels * expansion, 1), nn.BatchNorm2d(channels * expansion)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels * expansion:
            self.shortcut = nn.Sequential(_conv(channels_in, channels * expansion, 1, stride),
                                          nn.BatchNorm2d(channels * expansion))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask`: of the frames that come out."""
        shares = (_clipped(self.bn1(self.conv1(x))) * mask).split(self.width, dim=1)
        h, heard = shares[0], []
        if self.fused:
            h = _clipped(self.bn2_1(self.conv2_1(h))) * mask
            heard.append(h)
        for number, (conv, norm) in enumerate(zip(self.convs, self.bns), 1 if self.fused else 0):
            if self.fused:
                h = self.fuse_models[number - 1](h, shares[number]) * mask
            elif number:
                h = h + shares[number]
            h = _clipped(norm(conv(h))) * mask
            heard.append(h)
        if self.last_plain:
            heard.append(shares[-1])
        h = self.bn3(self.conv3(torch.cat(heard, dim=1)))
        return _clipped(h + self.shortcut(x)) * mask


class Res2Net(SpeakerNetwork):
    """Four stages; `two_emb_layer` as in the ResNets."""

    channels, shares, share_width, expansion = 32, 2, 0.5, 2
    blocks = (3, 4, 6, 3)

    def __init__(self, options: ResNetOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        channels = self.channels
        self.conv1, self.bn1 = _conv(1, channels), nn.BatchNorm2d(channels)
        before, stages = channels, []
        for number, count in enumerate(self.blocks):
            inside = channels << number
            strides = (1 if number == 0 else 2, *[1] * (count - 1))
            stage = []
            for stride in strides:
                stage.append(self._block(before, inside, stride, number))
                before = inside * self.expansion
            stages.append(nn.ModuleList(stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self._between_stages(before)
        self.pool = POOLINGS[options.pooling_func](halved(feat_dim, 3) * before)
        self.add_embedding(self.pool.out_dim, options.two_emb_layer)

    def _block(self, channels_in: int, channels: int, stride: int, stage: int) -> Block:
        return Block(channels_in, channels, stride, self.shares, self.share_width, self.expansion, last_plain=True)

    def _between_stages(self, channels: int) -> None:
        """Parts that join the stages, whose last one gives so many `channels`."""

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        masks = [frame_mask(halved(lengths, n), halved(x.shape[1], n))[:, None, None] for n in range(4)]
        x = self.bn1(self.conv1(x.transpose(1, 2)[:, None])).relu() * masks[0]    # (batch, channels, dim, frames)
        x = self._stages(x, masks)                                                # (..., dim / 8, frames / 8)
        return self.embedding(self.pool(x.flatten(1, 2), masks[3][:, 0, 0]))

    def _stages(self, x: Tensor, masks: list[Tensor]) -> Tensor:
        for stage, mask in zip((self.layer1, self.layer2, self.layer3, self.layer4), masks):
            x = _through(stage, x, mask)
        return x


def _through(stage: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    for block in stage:
        x = block(x, mask)
    return x


class ERes2Net(Res2Net):
    """What the stages give is fused from the bottom up; the last two fuse inside their blocks too."""

    def _block(self, channels_in: int, channels: int, stride: int, stage: int) -> Block:
        return Block(channels_in, channels, stride, self.shares, self.share_width, self.expansion, fused=stage > 1)

    def _between_stages(self, channels: int) -> None:
        self.layer1_downsample = _conv(channels // 8, channels // 4, stride=2)
        self.layer2_downsample = _conv(channels // 4, channels // 2, stride=2)
        self.layer3_downsample = _conv(channels // 2, channels, stride=2)
        self.fuse_mode12, self.fuse_mode123, self.fuse_mode1234 = (Fusion(channels // n) for n in (4, 2, 1))

    def _stages(self, x: Tensor, masks: list[Tensor]) -> Tensor:
        x = fused = _through(self.layer1, x, masks[0])
        for stage, mask, shorten, fuse in (
                (self.layer2, masks[1], self.layer1_downsample, self.fuse_mode12),
                (self.layer3, masks[2], self.layer2_downsample, self.fuse_mode123),
                (self.layer4, masks[3], self.layer3_downsample, self.fuse_mode1234)):
            x = _through(stage, x, mask)
            fused = fuse(x, shorten(fused) * mask) * mask
        return fused


class Res2Net34_Base(Res2Net):
    """32 channels, two shares."""


class Res2Net34_Large(Res2Net):
    channels = 64


class ERes2Net34_Base(ERes2Net):
    """32 channels, two shares."""


class ERes2Net34_Large(ERes2Net):
    channels = 64
