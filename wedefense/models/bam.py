"""Boundary-aware attention (BAM): segments attend to one another only where no boundary lies between them.

Zhong et al., Interspeech 2024 (arXiv 2407.21611). Parameter names are those of the authors' code, which decides where
the paper is silent: a score across a boundary is 0 before the softmax, and not minus infinity; what frames a boundary
feels is not moved by the classes. A padded segment is attended to by none and counts in no statistics.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import BAMOptions
from wedefense.frontend.features import LayerFeatures, frame_mask, on_host
from wedefense.frontend.ssl.packing import Packing
from wedefense.models.backend import Backend
from wedefense.models.localizer import Frames
from wedefense.models.pooling import masked_softmax
from wedefense.utils.errors import InputError

STEM, PLANES, BLOCKS = 32, (64, 128, 256, 512), 2  # channels of the network within a segment, blocks of each stage
LEAST_FEATURES = 3                                 # that its first pooling needs
PAIRS = 1 << 26                                    # features of pairs of segments that are held at a time


def on_rows(module: Callable[[Tensor], Tensor], x: Tensor, packing: Packing | None) -> Tensor:
    """A module of rows on (batch, segments, dim): on the real ones where their numbers are known, or on all."""
    if packing is None:
        return module(x.flatten(0, 1)).reshape(x.shape[0], x.shape[1], -1)
    return packing.pad(module(packing.pack(x)))


class SegmentPooling(nn.Module):
    """The attentive mean of every `size` frames."""

    def __init__(self, dim: int, size: int):
        super().__init__()
        self.size = size
        self.mm_weights = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(dim, 1)))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, dim) -> (batch, segments, dim); the last segment may have fewer frames"""
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.size))
        mask = frame_mask(lengths, x.shape[1]).reshape(x.shape[0], -1, self.size)
        x = x.reshape(x.shape[0], -1, self.size, x.shape[2])                         # (batch, segments, size, dim)
        mask = mask | ~mask.any(dim=2, keepdim=True)  # a segment of padding alone: finite, and never looked at
        scores = (x @ self.mm_weights.to(x.dtype)).tanh()[..., 0].float()
        return (masked_softmax(scores, mask).to(x.dtype)[..., None] * x).sum(dim=2)


class PairAttention(nn.Module):
    """Segments attend by a learnt function of their products; `apart` (batch, segments, segments) closes pairs."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.att_proj = nn.Linear(dim, dim)
        self.att_weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, heads)))
        self.proj_with_att = nn.Linear(heads * dim, dim)
        self.proj_without_att = nn.Linear(dim, dim)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor, mask: Tensor, packing: Packing | None, apart: Tensor | None = None) -> Tensor:
        scores = self._scores(x).permute(0, 3, 1, 2).float()              # (batch, heads, segments, segments)
        if apart is not None:
            scores = scores.masked_fill(apart[:, None], 0.0)
        attention = masked_softmax(scores, mask[:, None, None]).to(x.dtype)
        seen = (attention @ x[:, None]).permute(0, 2, 3, 1).flatten(2)    # (batch, segments, dim * heads)
        return F.selu(on_rows(self.bn, self.proj_with_att(seen) + self.proj_without_att(x), packing))

    def _scores(self, x: Tensor) -> Tensor:
        """(batch, segments, dim) -> (batch, segments, segments, heads), some segments at a time"""
        if torch.jit.is_tracing():
            return self._scores_of(x, x)
        return torch.cat([self._scores_of(some, x) for some in x.split(max(1, PAIRS // max(1, x.numel())), 1)], dim=1)

    def _scores_of(self, some: Tensor, x: Tensor) -> Tensor:
        return self.att_proj(some[:, :, None] * x[:, None]).tanh() @ self.att_weight.to(x.dtype)


class Bottleneck(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, planes, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm1d(planes)
        self.conv2 = nn.Conv1d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(planes)
        self.conv3 = nn.Conv1d(planes, 2 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm1d(2 * planes)
        self.downsample = nn.Conv1d(channels, 2 * planes, 1, stride=stride, bias=False) \
            if channels != 2 * planes or stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        h = F.relu(self.bn3(self.conv3(h)))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class WithinSegment(nn.Module):
    """A residual network over the features of each segment, as if they were a signal."""

    def __init__(self, dim: int):
        super().__init__()
        stages, channels = [], STEM
        for number, planes in enumerate(PLANES):
            stages.append(nn.Sequential(Bottleneck(channels, planes, stride=2 if number else 1),
                                        *(Bottleneck(2 * planes, planes) for _ in range(BLOCKS - 1))))
            channels = 2 * planes
        self.resnet = nn.Module()
        self.resnet.conv1 = nn.Conv1d(1, STEM, 7, stride=2, padding=3, bias=False)
        self.resnet.bn1 = nn.BatchNorm1d(STEM)
        self.resnet.layer1, self.resnet.layer2, self.resnet.layer3, self.resnet.layer4 = stages
        self.proj_layer = nn.Linear(channels * left_of(dim), dim)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, dim) -> (rows, dim)"""
        net = self.resnet
        x = F.max_pool1d(F.relu(net.bn1(net.conv1(x[:, None]))), 3, 2, ceil_mode=True)
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))             # (rows, 1024, dim / 32)
        return self.proj_layer(x.flatten(1))


def left_of(features: int) -> int:
    """Positions that the network within a segment leaves of so many features."""
    left = (features + 1) // 2                 # the first convolution
    left = max(0, -((3 - left) // 2)) + 1      # the pooling, which rounds up
    for _ in PLANES[1:]:
        left = (left + 1) // 2
    return left


def separated(boundary: Tensor) -> Tensor:
    """(batch, segments) bool -> (batch, segments, segments) bool: a boundary among both ends or between them."""
    passed = boundary.long().cumsum(dim=1)
    before = passed - boundary.long()
    first, last = torch.minimum(before[:, :, None], before[:, None]), torch.maximum(passed[:, :, None], passed[:, None])
    place = torch.arange(boundary.shape[1], device=boundary.device)
    return (last > first) & (place[:, None] != place)


class BAM(Backend):
    """Frames -> segments -> what boundaries look like, and attention that heeds them.

    Published with the last layer of the front-end alone; of several it takes their weighted sum.
    """

    has_boundaries = True

    def __init__(self, options: BAMOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        dim = options.embed_dim if options.embed_dim > 0 else feat_dim
        if dim < LEAST_FEATURES:
            raise InputError(f"segments of {dim} features leave nothing to look for boundaries in; raise "
                             f"model_args.embed_dim to {LEAST_FEATURES} at least")
        self.size, self.embed_dim = options.pool_frames, 2 * dim
        self.frame_dims = {self.size: self.embed_dim}
        self.att_pool = SegmentPooling(feat_dim, options.pool_frames)
        self.proj = nn.Linear(feat_dim, dim) if dim != feat_dim else nn.Identity()
        self.inter_layer = PairAttention(dim, options.gap_head_num)
        self.intra_layer = WithinSegment(dim)
        self.b_output_layer = nn.Sequential(nn.Linear(2 * dim, 1))
        self.gap_layers = nn.ModuleList(PairAttention(dim, options.gap_head_num) for _ in range(options.gap_layer_num))
        self.boundary_proj = nn.Linear(2 * dim, dim)

    def forward(self, features: LayerFeatures) -> Tensor:
        """-> (batch, embed_dim): the mean of the segments"""
        return self._mean(*self._segments(features)[:2])

    def frames(self, features: LayerFeatures) -> Frames:
        x, lengths, boundaries = self._segments(features)
        return Frames({self.size: (x, lengths)}, self._mean(x, lengths), boundaries)

    def _mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x.sum(dim=1) / lengths[:, None]

    def _segments(self, features: LayerFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, segments, embed_dim), 0 where padded, lengths (batch,), logits of boundaries (batch, segments)"""
        x, lengths = self.one_input(features)
        counts = features.counts if features.counts is not None or not self.training else on_host(lengths)
        if counts is not None:
            x = x[:, :max(counts)]
        x = self.proj(self.att_pool(x, lengths))                           # (batch, segments, dim)
        packing = None if counts is None else Packing.of([-(-max(count, 1) // self.size) for count in counts], x.device)
        lengths = (lengths + self.size - 1).div(self.size, rounding_mode="floor")
        mask = frame_mask(lengths, x.shape[1])
        felt = torch.cat([self.inter_layer(x, mask, packing), on_rows(self.intra_layer, x, packing)], dim=2)
        boundaries = self.b_output_layer(felt)[..., 0]
        apart = separated(boundaries.detach() > 0)
        for layer in self.gap_layers:
            x = layer(x, mask, packing, apart)
        x = torch.cat([x, F.selu(self.boundary_proj(felt.detach()))], dim=2)
        return x * mask[..., None], lengths, boundaries
