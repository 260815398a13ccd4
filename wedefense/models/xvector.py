"""x-vector: five time-delay layers, statistics pooling, two segment layers (Snyder et al., ICASSP 2018)."""

from torch import Tensor, nn

from wedefense.config.models import XVecOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import SpeakerNetwork
from wedefense.models.pooling import POOLINGS


class TdnnLayer(nn.Module):
    """Convolution without padding, so that no frame past the end of an utterance is ever seen."""

    def __init__(self, in_dim: int, out_dim: int, context: int = 1, dilation: int = 1):
        super().__init__()
        self.conv_1d = nn.Conv1d(in_dim, out_dim, context, dilation=dilation)
        self.bn = nn.BatchNorm1d(out_dim, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv_1d(x).relu())


class XVEC(SpeakerNetwork):
    min_frames = 15
    lost_frames = 14  # 4 + 2 * 2 + 2 * 3

    def __init__(self, options: XVecOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        hidden = options.hid_dim
        self.frame_1 = TdnnLayer(feat_dim, hidden, context=5)
        self.frame_2 = TdnnLayer(hidden, hidden, context=3, dilation=2)
        self.frame_3 = TdnnLayer(hidden, hidden, context=3, dilation=3)
        self.frame_4 = TdnnLayer(hidden, hidden)
        self.frame_5 = TdnnLayer(hidden, options.stats_dim)
        self.pool = POOLINGS[options.pooling_func](options.stats_dim)
        self.add_embedding(self.pool.out_dim, two_layers=True)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        x = x.transpose(1, 2)                                           # (batch, dim, frames)
        for layer in (self.frame_1, self.frame_2, self.frame_3, self.frame_4, self.frame_5):
            x = layer(x)                                                # (batch, channels, frames - 14)
        return self.embedding(self.pool(x, frame_mask(lengths - self.lost_frames, x.shape[2])))
