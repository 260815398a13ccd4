"""ResNets over (frequency, time) for speech, with few channels and no max-pooling, as in WeSpeaker."""

from typing import Any

from torch import Tensor, nn

from wedefense.config.models import ResNetOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import SpeakerNetwork, halved
from wedefense.models.pooling import POOLINGS


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    if stride == 1 and channels_in == channels_out:
        return nn.Sequential()
    return nn.Sequential(_conv(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out))


class BasicBlock(nn.Module):
    """Blocks take and give padded frames as zeros, so that a convolution sees what it sees at an end."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = _conv(channels_in, channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(channels_in, channels, stride)

    def forward(self, x: Tensor, mask_in: Tensor, mask_out: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x)).relu() * mask_out
        h = self.bn2(self.conv2(h))
        return (h + self.shortcut(x)).relu() * mask_out


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = _conv(channels_in, channels, kernel=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, stride=stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, channels * self.expansion, kernel=1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.shortcut = _shortcut(channels_in, channels * self.expansion, stride)

    def forward(self, x: Tensor, mask_in: Tensor, mask_out: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x)).relu() * mask_in
        h = self.bn2(self.conv2(h)).relu()
        h = self.bn3(self.conv3(h))
        return (h + self.shortcut(x)).relu() * mask_out


class ResNet(SpeakerNetwork):
    block: type[Any] = BasicBlock
    blocks: tuple[int, ...]  # in each of the four stages

    def __init__(self, options: ResNetOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        channels = options.m_channels
        self.conv1 = _conv(1, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = self._stage(channels, channels, self.blocks[0], stride=1)
        expanded = channels * self.block.expansion
        self.layer2 = self._stage(expanded, channels * 2, self.blocks[1], stride=2)
        self.layer3 = self._stage(expanded * 2, channels * 4, self.blocks[2], stride=2)
        self.layer4 = self._stage(expanded * 4, channels * 8, self.blocks[3], stride=2)
        self.pool = POOLINGS[options.pooling_func](-(-feat_dim // 8) * expanded * 8)
        self.add_embedding(self.pool.out_dim, options.two_emb_layer)

    def _stage(self, channels_in: int, channels: int, count: int, stride: int) -> nn.ModuleList:
        expanded = channels * self.block.expansion
        return nn.ModuleList([self.block(channels_in, channels, stride),
                              *(self.block(expanded, channels, 1) for _ in range(count - 1))])

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        frames = x.shape[1]
        masks = [frame_mask(halved(lengths, n), halved(frames, n))[:, None, None] for n in range(4)]
        x = x.transpose(1, 2).unsqueeze(1)                       # (batch, 1, dim, frames)
        x = self.bn1(self.conv1(x)).relu() * masks[0]            # (batch, channels, dim, frames)
        for n, stage in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            mask_in = masks[max(n - 1, 0)]
            for block in stage:
                x = block(x, mask_in, masks[n])                  # (batch, channels', dim / 2^n, frames / 2^n)
                mask_in = masks[n]
        return self.embedding(self.pool(x.flatten(1, 2), masks[3][:, 0, 0]))


class ResNet18(ResNet):
    blocks = (2, 2, 2, 2)


class ResNet34(ResNet):
    blocks = (3, 4, 6, 3)


class ResNet50(ResNet):
    block, blocks = Bottleneck, (3, 4, 6, 3)


class ResNet101(ResNet):
    block, blocks = Bottleneck, (3, 4, 23, 3)


class ResNet152(ResNet):
    block, blocks = Bottleneck, (3, 8, 36, 3)


class ResNet221(ResNet):
    block, blocks = Bottleneck, (6, 16, 48, 3)


class ResNet293(ResNet):
    block, blocks = Bottleneck, (10, 20, 64, 3)
