"""DF-ResNet with the strides of Golden Gemini: deep and narrow, and time is shortened once alone.

Liu et al., Interspeech 2022 (DF-ResNet); Liu et al., TASLP 2024 (Golden Gemini, T14c). Parameter names are those of
WeSpeaker's checkpoints.
"""

from torch import Tensor, nn

from wedefense.config.models import ResNetOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import SpeakerNetwork, halved
from wedefense.models.pooling import POOLINGS

CHANNELS = (32, 32, 64, 128, 256)
TIME_STRIDES = (1, 2, 1, 1)  # of the four stages; frequency is halved in each


class InvertedBottleneck(nn.Module):
    """Four times the channels inside, and a depthwise convolution over (frequency, time) there."""

    def __init__(self, channels: int):
        super().__init__()
        inside = 4 * channels
        self.conv1, self.bn1 = nn.Conv2d(channels, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps come and go with zeros on padded frames."""
        h = self.bn1(self.conv1(x)).relu() * mask
        h = self.bn2(self.conv2(h)).relu()
        return (self.bn3(self.conv3(h)) + x).relu() * mask


class GeminiDFResNet(SpeakerNetwork):
    depths: tuple[int, ...]

    def __init__(self, options: ResNetOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.downsample_layers = nn.ModuleList([nn.Sequential(
            nn.Conv2d(1, CHANNELS[0], 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS[0]), nn.ReLU())])
        for before, after, stride in zip(CHANNELS, CHANNELS[1:], TIME_STRIDES):
            self.downsample_layers.append(nn.Sequential(
                nn.Conv2d(before, after, 3, (2, stride), 1, bias=False), nn.BatchNorm2d(after)))
        self.stages = nn.ModuleList(nn.ModuleList(InvertedBottleneck(channels) for _ in range(depth))
                                    for channels, depth in zip(CHANNELS[1:], self.depths))
        self.pool = POOLINGS[options.pooling_func](halved(feat_dim, 4) * CHANNELS[-1])
        self.add_embedding(self.pool.out_dim, options.two_emb_layer)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        mask = frame_mask(lengths, x.shape[1])[:, None, None]               # (batch, 1, 1, frames)
        x = self.downsample_layers[0](x.transpose(1, 2)[:, None]) * mask    # (batch, channels, dim, frames)
        for shorten, stage, stride in zip(self.downsample_layers[1:], self.stages, TIME_STRIDES):
            if stride == 2:
                lengths = halved(lengths)
                mask = frame_mask(lengths, halved(x.shape[3]))[:, None, None]
            x = shorten(x) * mask
            for block in stage:
                x = block(x, mask)
        return self.embedding(self.pool(x.flatten(1, 2), mask[:, 0, 0]))


class Gemini_DF_ResNet60(GeminiDFResNet):
    depths = (3, 3, 9, 3)


class Gemini_DF_ResNet114(GeminiDFResNet):
    depths = (3, 3, 27, 3)


class Gemini_DF_ResNet183(GeminiDFResNet):
    depths = (3, 8, 45, 3)


class Gemini_DF_ResNet237(GeminiDFResNet):
    depths = (3, 8, 63, 3)
