"""Poolings over SSL layers with next to nothing around them: the baselines every other back-end must beat."""

import torch
from torch import Tensor, nn

from wedefense.config.models import AttentivePoolingOptions, MFAOptions, SSLBackendOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.backend import Backend, check_inputs
from wedefense.models.pooling import ASTP, TAP


class MeanPooling(Backend):
    """Weighted sum of the layers, mean over time, a linear layer (SUPERB's utterance-level probe)."""

    def __init__(self, options: SSLBackendOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.pool = self._pooling(options, feat_dim)
        self.embed_dim = self.pool.out_dim if options.embed_dim == -1 else options.embed_dim
        self.linear = nn.Linear(self.pool.out_dim, self.embed_dim) if options.embed_dim != -1 else nn.Identity()

    def _pooling(self, options, feat_dim: int) -> nn.Module:
        return TAP(feat_dim)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, _ = self.one_input(features)
        return self.linear(self.pool(x.transpose(1, 2), features.mask()))


class AttentivePooling(MeanPooling):
    """The same with attentive statistics over time."""

    def _pooling(self, options: AttentivePoolingOptions, feat_dim: int) -> nn.Module:
        return ASTP(feat_dim, options.bottleneck_dim)


class MFA(nn.Module):
    """All layers side by side, layer norm, attentive statistics, batch norm, a linear layer.

    Multi-scale feature aggregation of Zhang et al., Interspeech 2022 (MFA-Conformer).
    """

    min_frames = 1

    def __init__(self, options: MFAOptions, feat_dim: int, num_layers: int):
        super().__init__()
        check_inputs(options, feat_dim, num_layers)
        self.embed_dim, self.first = options.embed_dim, 0 if options.use_input_layer or num_layers == 1 else 1
        num_layers -= self.first
        self.ln = nn.LayerNorm(num_layers * feat_dim)
        self.pooling = ASTP(num_layers * feat_dim, options.bottleneck_dim)
        self.bn = nn.BatchNorm1d(self.pooling.out_dim)
        self.fc = nn.Linear(self.pooling.out_dim, options.embed_dim)

    def forward(self, features: LayerFeatures) -> Tensor:
        x = self.ln(torch.cat(features.layers[self.first:], dim=2))            # (batch, frames, layers * dim)
        x = self.pooling(x.transpose(1, 2), features.mask())      # (batch, 2 * layers * dim)
        return self.fc(self.bn(x))
