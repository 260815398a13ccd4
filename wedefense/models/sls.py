"""SLS: a gate for each layer from its mean over time, then max-pooling of their sum (Zhang et al., ACM MM 2024).

The form of the paper has frame_length 201, embed_dim 1024, use_input_layer False and the head `sls`. Parameter
names are those of its public checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import SLSOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import AttentionShares, check_inputs
from wedefense.models.localizer import Frames
from wedefense.utils.errors import InputError


class SLS(nn.Module):
    min_frames = 1
    has_boundaries = False

    def __init__(self, options: SLSOptions, feat_dim: int, num_layers: int):
        super().__init__()
        check_inputs(options, feat_dim, num_layers)
        self.options, self.embed_dim, self.kernel = options, options.embed_dim, options.kernel_size
        if feat_dim < self.kernel:
            raise InputError(f"model_args.kernel_size is {self.kernel}, but the front-end gives {feat_dim} features "
                             "per frame; a smaller kernel_size is needed")
        self.bins = options.frame_length // self.kernel
        self.fc0 = nn.Linear(feat_dim, 1)
        self.first_bn = nn.BatchNorm2d(1)
        self.fc1 = nn.Linear(self.bins * (feat_dim // self.kernel), options.embed_dim)

    @property
    def frame_dims(self) -> dict[int, int]:
        return {1: self.fc0.in_features}

    def forward(self, features: LayerFeatures) -> Tensor:
        return self._embedding(self._summed(features), features.lengths)

    def frames(self, features: LayerFeatures) -> Frames:
        """The gated sum of the layers, before anything is pooled, as the localisation of WeDefense has it."""
        x = self._summed(features)
        frames = F.selu(self._normed(x, features.mask()))
        return Frames({1: (frames * features.mask()[..., None], features.lengths)},
                      self._embedding(x, features.lengths))

    def attention_shares(self, features: LayerFeatures) -> AttentionShares:
        """How far the gate of each layer is open, from 0 to 1, by what is heard."""
        layers, share = self._gated(features)
        gates = torch.cat([self._gate(layer, share) for layer in layers], dim=1)[..., 0]
        return AttentionShares({"gates": F.pad(gates, (len(features.layers) - len(layers), 0))})  # (batch, layers)

    def _normed(self, x: Tensor, mask: Tensor) -> Tensor:
        """By the statistics of the embedding's batch norm, or in training by those of the frames that are there."""
        norm = self.first_bn
        if not self.training:
            return norm(x[:, None])[:, 0]
        x, mask, count = x.float(), mask[..., None], (mask.sum() * x.shape[2]).clamp(min=1)
        mean = (x * mask).sum() / count
        variance = ((x - mean).square() * mask).sum() / count
        return (x - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias

    def _summed(self, features: LayerFeatures) -> Tensor:
        """-> (batch, frames, dim)"""
        layers, share = self._gated(features)
        total = torch.zeros_like(layers[0])
        for layer in layers:
            total = torch.addcmul(total, layer, self._gate(layer, share).to(layer.dtype))
        return total

    def _gated(self, features: LayerFeatures) -> tuple[list[Tensor], Tensor]:
        """-> the layers that are used, and the share of each frame in the mean that opens their gates"""
        layers = features.layers
        if not self.options.use_input_layer and len(layers) > 1:
            layers = layers[1:]
        used = self._uses(features.lengths, layers[0].shape[1], self.options.fit == "adaptive").to(layers[0].dtype)
        return layers, (used / used.sum(dim=1, keepdim=True))[:, None]         # (batch, 1, frames)

    def _gate(self, layer: Tensor, share: Tensor) -> Tensor:
        return self.fc0(share @ layer).sigmoid()                               # (batch, 1, 1)

    def _embedding(self, x: Tensor, lengths: Tensor) -> Tensor:
        adaptive = self.options.fit == "adaptive"
        if not adaptive:
            x = self._repeat_cut(x, lengths)                                   # (batch, frame_length, dim)
        x = F.selu(self.first_bn(x[:, None]))                                  # (batch, 1, frames, dim)
        x = self._adaptive_pool(x[:, 0], lengths) if adaptive else F.max_pool2d(x, self.kernel)
        return F.selu(self.fc1(x.flatten(1)))                                  # (batch, embed_dim)

    def _uses(self, lengths: Tensor, frames: int, adaptive: bool) -> Tensor:
        """(batch, frames) how often each frame stands in what is pooled; a row sums to its number of frames."""
        if adaptive:
            return frame_mask(lengths, frames)
        time, lengths = torch.arange(frames, device=lengths.device), lengths[:, None]
        repeats = (self.options.frame_length - 1 - time).div(lengths, rounding_mode="floor") + 1
        return repeats.clamp(min=0) * (time < lengths)

    def _repeat_cut(self, x: Tensor, lengths: Tensor) -> Tensor:
        time = torch.arange(self.options.frame_length, device=x.device) % lengths[:, None]
        return x.gather(1, time[..., None].expand(-1, -1, x.shape[2]))

    def _adaptive_pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Maxima over `bins` equal spans of each utterance -> (batch, bins, dim / kernel)"""
        frames = x.shape[1]
        x = F.max_pool2d(x, (1, self.kernel))
        edge = torch.arange(self.bins + 1, device=x.device) * lengths[:, None]
        start, end = edge[:, :-1] // self.bins, -(-edge[:, 1:] // self.bins)   # (batch, bins)
        span = torch.arange(-(-frames // self.bins) + 1, device=x.device)
        time = torch.minimum(start[..., None] + span, end[..., None] - 1)      # (batch, bins, span)
        taken = x.gather(1, time.flatten(1)[..., None].expand(-1, -1, x.shape[2]))
        return taken.unflatten(1, time.shape[1:]).amax(dim=2)
