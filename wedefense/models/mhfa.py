"""Multi-head factorised attentive pooling, and its context-aware form.

MHFA: Peng et al., SLT 2022, arXiv 2210.01273; parameter names are those of its public checkpoints.
CA-MHFA: Peng et al., ICASSP 2025, equations 1 to 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import CAMHFAOptions, MHFAOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import AttentionShares, ReadLinear, check_inputs
from wedefense.models.localizer import Frames, per_frame
from wedefense.models.mix import mix_features
from wedefense.models.pooling import masked_softmax


class MHFA(nn.Module):
    """Keys decide where to look, values what is seen there; each has its own mix of the layers."""

    min_frames = 1
    has_boundaries = False

    def __init__(self, options: MHFAOptions, feat_dim: int, num_layers: int):
        super().__init__()
        check_inputs(options, feat_dim, num_layers)
        self.embed_dim = options.embed_dim
        self.weights_k = nn.Parameter(torch.ones(num_layers))
        self.weights_v = nn.Parameter(torch.ones(num_layers))
        self.cmp_linear_k = nn.Linear(feat_dim, options.compression_dim)
        self.cmp_linear_v = nn.Linear(feat_dim, options.compression_dim)
        self.att_head = self._attention_head(options)
        self.pooling_fc = ReadLinear(options.head_nb * options.compression_dim, options.embed_dim)

    def _attention_head(self, options) -> nn.Module:
        return nn.Linear(options.compression_dim, options.head_nb)

    def forward(self, features: LayerFeatures) -> Tensor:
        """-> (batch, embed_dim)"""
        return self._pooled(*self._attend(features))

    @property
    def frame_dims(self) -> dict[int, int]:
        return {1: self.embed_dim}

    def frames(self, features: LayerFeatures) -> Frames:
        """A frame's own part in the embedding: each head's weight times its values, joined by the layer behind.

        Our derivation. WeDefense's localisation takes the mean over the heads: values scaled by one number a frame.
        """
        attention, values = self._attend(features)
        x = self._embedding(self._shares(attention, values, features.lengths)) * features.mask()[..., None]
        return Frames({1: (x, features.lengths)}, self._pooled(attention, values))

    def _pooled(self, attention: Tensor, values: Tensor) -> Tensor:
        pooled = attention.to(values.dtype) @ values             # (batch, heads, compression)
        return self._embedding(self.pooling_fc(pooled.flatten(1)))

    def frame_attention(self, features: LayerFeatures) -> Tensor:
        """-> (batch, frames, heads); over the frames of an utterance each head sums to 1, 0 where padded."""
        return self._attend(features)[0].transpose(1, 2)

    def attention_shares(self, features: LayerFeatures) -> AttentionShares:
        layers = {"keys": self.weights_k.softmax(dim=0), "values": self.weights_v.softmax(dim=0)}
        return AttentionShares(layers, self.frame_attention(features))

    def frame_embeddings(self, features: LayerFeatures) -> Tensor:
        """-> (batch, frames, embed_dim); their mean over an utterance's frames is its embedding before any norm."""
        return self._shares(*self._attend(features), features.lengths)

    def frame_parts(self, features: LayerFeatures) -> Tensor:
        """-> (batch, frames, heads + compression): attention before it is shared out, and values"""
        scores, values = self._look(features, features.mask())
        return torch.cat([scores.transpose(1, 2), values], dim=2)

    def scores_of_parts(self, parts: Tensor, lengths: Tensor, head: nn.Module) -> Tensor:
        """-> logits (batch, frames, classes): what `head` says of each frame's part in the embedding"""
        width = self.cmp_linear_v.out_features
        scores, values = parts[..., :-width].transpose(1, 2), parts[..., -width:]
        attention = masked_softmax(scores.float(), frame_mask(lengths, parts.shape[1])[:, None])
        frames = self._embedding(self._shares(attention, values, lengths))
        return per_frame(head, frames)

    def frame_scores(self, features: LayerFeatures, head: nn.Module) -> Tensor:
        """Both at once -> logits (batch, frames, classes)"""
        return self.scores_of_parts(self.frame_parts(features), features.lengths, head)

    def _shares(self, attention: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
        total = values.new_zeros(values.shape[0], values.shape[1], self.embed_dim)
        for head, weight in enumerate(self.pooling_fc.weight.split(values.shape[2], dim=1)):
            total = total + attention[:, head, :, None] * F.linear(values, weight)
        return total * lengths.to(total)[:, None, None] + self.pooling_fc.bias

    def _attend(self, features: LayerFeatures) -> tuple[Tensor, Tensor]:
        """-> attention (batch, heads, frames), values (batch, frames, compression)"""
        mask = features.mask()
        scores, values = self._look(features, mask)
        return masked_softmax(scores.float(), mask[:, None]), values

    def _look(self, features: LayerFeatures, mask: Tensor) -> tuple[Tensor, Tensor]:
        """-> scores (batch, heads, frames), values (batch, frames, compression)"""
        keys, values = mix_features(features, self.weights_k.softmax(dim=0), self.weights_v.softmax(dim=0))
        keys, values = self.cmp_linear_k(keys), self.cmp_linear_v(values)
        return self._scores(keys, mask), self._values(values, mask)

    def _scores(self, keys: Tensor, mask: Tensor) -> Tensor:
        return self.att_head(keys).transpose(1, 2)

    def _values(self, values: Tensor, mask: Tensor) -> Tensor:
        return values

    def _embedding(self, x: Tensor) -> Tensor:
        return x


class CAMHFA(MHFA):
    """The score of a frame comes from `context` frames around it: a convolution of the keys with grouped queries."""

    def __init__(self, options: CAMHFAOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.l2_norm = options.l2_norm
        self.factor = 1 / options.context if options.divide_by_context else 1.0
        self.conv_values = None
        if options.conv_values:
            self.conv_values = nn.Conv1d(options.compression_dim, options.compression_dim, kernel_size=5, padding=2)

    def _attention_head(self, options) -> nn.Module:
        """Its weight holds the queries, (groups, 1, context, compression)."""
        return nn.Conv2d(1, options.head_nb, (options.context, options.compression_dim),
                         padding=(options.context // 2, 0), bias=False)

    def _scores(self, keys: Tensor, mask: Tensor) -> Tensor:
        keys = keys * mask[..., None]                            # outside an utterance a key is 0
        queries = self.att_head.weight[:, 0].transpose(1, 2)     # (groups, compression, context)
        return self.factor * F.conv1d(keys.transpose(1, 2), queries, padding=queries.shape[2] // 2)

    def _values(self, values: Tensor, mask: Tensor) -> Tensor:
        if self.conv_values is None:
            return values
        return self.conv_values((values * mask[..., None]).transpose(1, 2)).transpose(1, 2)

    def _embedding(self, x: Tensor) -> Tensor:
        return F.normalize(x.float(), dim=-1) if self.l2_norm else x
