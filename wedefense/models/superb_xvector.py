"""The x-vector of SUPERB's speaker task, as s3prl has it: a linear layer in front, and no batch norm anywhere."""

from torch import Tensor, nn

from wedefense.config.models import SuperbXVecOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend
from wedefense.models.pooling import TSTP


class SuperbXVector(Backend):
    """Five time-delay layers, mean and deviation over time, and a segment layer whose output is the embedding.

    In training a second segment layer follows, before the head; it is left out of use.
    """

    contexts, dilations = (5, 3, 3, 1, 1), (1, 2, 3, 1, 1)
    lost_frames = sum((context - 1) * dilation for context, dilation in zip(contexts, dilations))  # 14
    min_frames = lost_frames + 2  # of one frame there is no deviation

    def __init__(self, options: SuperbXVecOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        hidden = options.hid_dim
        self.connector = nn.Linear(feat_dim, hidden)
        sizes = (hidden,) * 4 + (options.stats_dim,)
        self.frame_layers = nn.ModuleList(
            nn.Conv1d(hidden, size, context, dilation=dilation)
            for size, context, dilation in zip(sizes, self.contexts, self.dilations))
        self.pool = TSTP(options.stats_dim)
        self.segment_1 = nn.Linear(self.pool.out_dim, options.embed_dim)
        self.segment_2 = nn.Linear(options.embed_dim, options.embed_dim)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        x = self.connector(x).transpose(1, 2)                   # (batch, hidden, frames)
        for layer in self.frame_layers:
            x = layer(x).relu()                                 # (batch, channels, frames - 14)
        x = self.pool(x, frame_mask(lengths - self.lost_frames, x.shape[2]))
        x = self.segment_1(x).relu()                            # (batch, embed_dim)
        return self.segment_2(x).relu() if self.training else x
