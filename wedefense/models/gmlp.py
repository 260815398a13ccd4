"""gMLP over frames that are halved again and again: the multi-resolution countermeasure of PartialSpoof.

gMLP: Liu et al., NeurIPS 2021. Multi-resolution: Zhang et al., TASLP 2023 (arXiv 2204.05177). Parameter names are
those of WeDefense's checkpoints; of their branches the one for utterances is here, those for segments are left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import MultiResolutionOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend
from wedefense.utils.errors import InputError

DROPOUT = 0.7  # of the branch for utterances, before it


class SpatialGate(nn.Module):
    """Half of the channels times a learnt mixture, over frames, of the other half."""

    def __init__(self, dim: int, most_frames: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim // 2)
        self.weight = nn.Parameter(torch.empty(most_frames, most_frames).uniform_(-0.01, 0.01))
        self.bias = nn.Parameter(torch.ones(most_frames))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, frames, dim), mask (batch, frames, 1) -> (batch, frames, dim / 2)"""
        kept, mixed = x.chunk(2, dim=2)
        frames = x.shape[1]
        mixed = self.weight[:frames, :frames] @ (self.norm(mixed) * mask).to(self.weight.dtype)
        return kept * (mixed + self.bias[:frames, None])


class Block(nn.Module):
    def __init__(self, dim: int, inside: int, most_frames: int):
        super().__init__()
        self.norm, self.proj1 = nn.LayerNorm(dim), nn.Linear(dim, inside)
        self.sgu, self.proj2 = SpatialGate(inside, most_frames), nn.Linear(inside // 2, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.proj2(self.sgu(F.gelu(self.proj1(self.norm(x))), mask))


class Branch(nn.Module):
    """Blocks, the mean over the frames, a product."""

    def __init__(self, dim: int, inside: int, most_frames: int, blocks: int):
        super().__init__()
        self.layers = nn.ModuleList(Block(dim, inside, most_frames) for _ in range(blocks))
        self.fc = nn.Linear(dim, inside, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.layers:
            x = block(x, mask)
        return self.fc((x * mask).sum(1) / mask.sum(1))


class MultiResolutionGMLP(Backend):
    """Frames and features are halved `num_scale - 1` times by their largest; utterances are cut to `seq_len` frames."""

    def __init__(self, options: MultiResolutionOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.halvings, self.most_frames = options.num_scale - 1, options.seq_len
        if feat_dim >> self.halvings < 2:
            raise InputError(f"num_scale {options.num_scale} halves {feat_dim} features {self.halvings} times, which "
                             "leaves fewer than 2; lower model_args.num_scale")
        self.min_frames = 1 << (self.halvings - 1)  # the last halving makes a frame of any
        self.blocks = nn.ModuleDict({str(n): nn.ModuleList([nn.Identity(), nn.Linear(feat_dim >> n, feat_dim >> n)])
                                     for n in range(1, options.num_scale)})
        dim, most = feat_dim >> self.halvings, options.seq_len >> self.halvings
        self.embed_dim = options.embed_dim if options.embed_dim > 0 else max(2, dim // -options.embed_dim // 2 * 2)
        if self.embed_dim % 2:
            raise InputError(f"half of the channels gate the others, so model_args.embed_dim {options.embed_dim} must "
                             "be even")
        self.post_nets_utt = Branch(dim, self.embed_dim, most + 1, options.gmlp_layers)

    def adopt(self, weights: dict[str, Tensor], prefix: str) -> None:
        """Take the branch for utterances of a checkpoint that has those for segments too."""
        for name in [name for name in weights if name.startswith(f"{prefix}post_nets_seg.")]:
            del weights[name]
        for block in range(len(self.post_nets_utt.layers)):  # a row more for what the last halving may add
            gate = f"{prefix}post_nets_utt.layers.{block}.sgu."
            for name, pads in (("weight", (0, 1, 0, 1)), ("bias", (0, 1))):
                found = weights.get(gate + name)
                if found is not None and len(found) == self.most_frames >> self.halvings:
                    weights[gate + name] = F.pad(found, pads)

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        x, lengths = x[:, :self.most_frames], lengths.clamp(max=self.most_frames)
        for number, (_, linear) in enumerate(self.blocks.values(), 1):
            last = number == self.halvings
            x = x.masked_fill(~frame_mask(lengths, x.shape[1])[..., None], float("-inf"))
            x = F.max_pool2d(x[:, None], 2, 2, (1, 0) if last else 0)[:, 0]  # (batch, frames / 2, dim / 2)
            lengths = lengths // 2 + (1 if last else 0)
            mask = frame_mask(lengths, x.shape[1])[..., None]
            x = linear(x.masked_fill(~mask, 0)) * mask
        return self.post_nets_utt(F.dropout(x, DROPOUT, self.training), mask)  # (batch, embed_dim)
