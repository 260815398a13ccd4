"""SpecAugment: bands of frames and of feature bins set to zero in training."""

import torch
from torch import Tensor, nn

from wedefense.config.data import SpecAugOptions
from wedefense.frontend.features import LayerFeatures


class SpecAugment(nn.Module):
    """On a share of the utterances; all layers of one lose the same bands. Draws from torch's own generator."""

    def __init__(self, options: SpecAugOptions):
        super().__init__()
        self.options = options

    def forward(self, features: LayerFeatures) -> LayerFeatures:
        batch, frames, dim = features.layers[0].shape
        device = features.layers[0].device
        o = self.options
        whole = torch.full((batch,), dim, device=device)
        hidden_frames = _bands(features.lengths.to(device), frames, o.num_t_mask, o.max_t)  # (batch, frames)
        hidden_bins = _bands(whole, dim, o.num_f_mask, o.max_f)                             # (batch, dim)
        drawn = torch.rand(batch, device=device) < o.prob
        hidden = (hidden_frames[:, :, None] | hidden_bins[:, None, :]) & drawn[:, None, None]
        return features.with_layers([x.masked_fill(hidden, 0) for x in features.layers])


def _bands(lengths: Tensor, size: int, count: int, widest: int) -> Tensor:
    """(batch, size) bool: `count` bands of 1 to `widest`, each starting at any of the first `lengths` places."""
    if not count or not widest:
        return torch.zeros(len(lengths), size, dtype=torch.bool, device=lengths.device)
    unit = torch.rand(2, len(lengths), count, device=lengths.device)
    start = (unit[0] * lengths[:, None]).long()  # (batch, count)
    end = start + 1 + (unit[1] * widest).long()
    place = torch.arange(size, device=lengths.device)
    inside = (place >= start[..., None]) & (place < end[..., None])  # (batch, count, size)
    return inside.any(1)
