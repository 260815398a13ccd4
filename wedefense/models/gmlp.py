"""gMLP over frames that are halved again and again: the multi-resolution countermeasure of PartialSpoof.

gMLP: Liu et al., NeurIPS 2021. Multi-resolution: Zhang et al., TASLP 2023 (arXiv 2204.05177). Parameter names are
those of the authors' code and of WeDefense's checkpoints: a branch for the segments of every resolution, and one for
utterances. The last halving begins a frame early, as published: its segment k is made of the frames 2k - 1 and 2k.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import MultiResolutionOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend
from wedefense.models.localizer import Frames
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
    """Blocks, and a product."""

    def __init__(self, dim: int, inside: int, most_frames: int, blocks: int):
        super().__init__()
        self.layers = nn.ModuleList(Block(dim, inside, most_frames) for _ in range(blocks))
        self.fc = nn.Linear(dim, inside, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, frames, dim) -> (batch, frames, inside), 0 where padded"""
        return self.fc(self._mixed(x, mask)) * mask

    def pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (batch, frames, dim) -> (batch, inside): of the mean over the frames"""
        return self.fc((self._mixed(x, mask) * mask).sum(1) / mask.sum(1))

    def _mixed(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.layers:
            x = block(x, mask)
        return x


class MultiResolutionGMLP(Backend):
    """Frames and features are halved `num_scale - 1` times by their largest; utterances are cut to `seq_len` frames."""

    has_boundaries = False

    def __init__(self, options: MultiResolutionOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.options, self.last, self.most_frames = options, options.num_scale - 1, options.seq_len
        active = options.active
        halvings = self.last if options.of_utterances else max(active)
        if feat_dim >> halvings < 2:
            raise InputError(f"num_scale {options.num_scale} halves {feat_dim} features {halvings} times, which "
                             "leaves fewer than 2; lower model_args.num_scale")
        self.min_frames = 1 << (halvings - (halvings == self.last))  # the last halving makes a frame of any
        self.blocks = nn.ModuleDict({str(n): nn.ModuleList([nn.Identity(), nn.Linear(feat_dim >> n, feat_dim >> n)])
                                     for n in range(1, halvings + 1)})
        self.frame_dims = {1 << n: self._inside(feat_dim >> n) for n in active}
        self.post_nets_seg = nn.ModuleDict({f"disc_{n}": self._branch(feat_dim, n) for n in active})
        self.post_nets_utt = self._branch(feat_dim, self.last) if options.of_utterances else None
        self.embed_dim = self._inside(feat_dim >> (self.last if options.of_utterances else min(active)))

    def _inside(self, dim: int) -> int:
        given = self.options.embed_dim
        inside = given if given > 0 else max(2, dim // -given // 2 * 2)
        if inside % 2:
            raise InputError(f"half of the channels gate the others, so model_args.embed_dim {given} must be even")
        return inside

    def _branch(self, feat_dim: int, scale: int) -> Branch:
        return Branch(feat_dim >> scale, self._inside(feat_dim >> scale), self._gate_frames(scale),
                      self.options.gmlp_layers)

    def _gate_frames(self, scale: int) -> int:
        """Of so many frames at most; the last halving may add one."""
        return (self.most_frames >> scale) + (scale == self.last)

    def adopt(self, weights: dict[str, Tensor], prefix: str) -> None:
        """Take of a checkpoint that has more branches and layers those that are here; the last gates get a row more."""
        own = set(self.state_dict())
        for name in [name for name in weights if name.startswith(prefix)]:
            short = name.removeprefix(prefix)
            if short not in own and short.startswith(("blocks.", "post_nets_", "layer_sum.")):
                del weights[name]
            elif short == "layer_sum.weights":
                weights[name] = weights[name][:self.get_parameter(short).numel()]
            elif short in own and ".sgu." in short and not short.endswith(("norm.weight", "norm.bias")):
                missing = len(self.get_parameter(short)) - len(weights[name])
                if missing == 1:  # what the last halving may add
                    weights[name] = F.pad(weights[name], (0, 1) * weights[name].dim())

    def forward(self, features: LayerFeatures) -> Tensor:
        """-> (batch, embed_dim): of the branch for utterances, else the mean of the finest segments'"""
        if self.post_nets_utt is None:
            return self.frames(features).embedding
        return self._utterance(self.post_nets_utt, self._scales(features))

    def frames(self, features: LayerFeatures) -> Frames:
        scales = self._scales(features)
        at, real = {}, features.lengths.clamp(max=self.most_frames)
        for n, (x, mask) in enumerate(scales):
            if 1 << n in self.frame_dims:
                x = self.post_nets_seg[f"disc_{n}"](x, mask)
                lengths = (real + (1 << n) - 1 if n == self.last else real) // (1 << n)
                lengths = lengths.clamp(min=1)
                at[1 << n] = (x * frame_mask(lengths, x.shape[1])[..., None], lengths)
        if self.post_nets_utt is not None:
            return Frames(at, self._utterance(self.post_nets_utt, scales))
        x, lengths = at[min(at)]
        return Frames(at, x.sum(1) / lengths[:, None])

    def _utterance(self, branch: Branch, scales: list[tuple[Tensor, Tensor]]) -> Tensor:
        x, mask = scales[-1]
        return branch.pooled(F.dropout(x, DROPOUT, self.training), mask)

    def _scales(self, features: LayerFeatures) -> list[tuple[Tensor, Tensor]]:
        """By the number of halvings: x (batch, frames, dim), mask (batch, frames, 1)"""
        x, lengths = self.one_input(features)
        x, lengths = x[:, :self.most_frames], lengths.clamp(max=self.most_frames)
        mask = frame_mask(lengths, x.shape[1])[..., None]
        scales = [(x, mask)]
        for number, (_, linear) in enumerate(self.blocks.values(), 1):
            last = number == self.last
            x = x.masked_fill(~mask, float("-inf"))
            x = F.max_pool2d(x[:, None], 2, 2, (1, 0) if last else 0)[:, 0]  # (batch, frames / 2, dim / 2)
            lengths = lengths // 2 + (1 if last else 0)
            mask = frame_mask(lengths, x.shape[1])[..., None]
            x = linear(x.masked_fill(~mask, 0)) * mask
            scales.append((x, mask))
        return scales
