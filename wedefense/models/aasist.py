"""AASIST on SSL features: graph attention over spectral and temporal nodes.

Jung et al., ICASSP 2022; on wav2vec 2.0: Tak et al., Odyssey 2022. Parameter names are those of the public code.
A padded frame is a node that no other node attends to, that no pooling keeps and no read-out counts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.models import PooledOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.backend import Backend
from wedefense.models.localizer import Frames
from wedefense.models.pooling import masked_softmax


class ResidualBlock(nn.Module):
    """x is (batch, channels, frequency, frames)."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, (2, 3), padding=(0, 1))
        self.conv_downsample = None
        if channels_in != channels_out:
            self.conv_downsample = nn.Conv2d(channels_in, channels_out, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = F.selu(self.bn2(self.conv1(x))) * mask
        skip = x if self.conv_downsample is None else self.conv_downsample(x)
        return (self.conv2(h) + skip) * mask


def _vector(dim: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, 1)))


class GraphAttention(nn.Module):
    """Every node looks at every node; nodes (batch, nodes, dim), mask (batch, nodes)."""

    def __init__(self, dim_in: int, dim_out: int, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.att_proj = nn.Linear(dim_in, dim_out)
        self.att_weight = _vector(dim_out)
        self.proj_with_att = nn.Linear(dim_in, dim_out)
        self.proj_without_att = nn.Linear(dim_in, dim_out)
        self.bn = nn.BatchNorm1d(dim_out)
        self.input_drop = nn.Dropout(0.2)

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        nodes = self.input_drop(nodes)
        pairs = self.att_proj(nodes[:, :, None] * nodes[:, None]).tanh()      # (batch, nodes, nodes, dim)
        attention = _attention((pairs @ self.att_weight)[..., 0] / self.temperature, mask[:, None])
        return _activate(self.bn, self.proj_with_att(attention @ nodes) + self.proj_without_att(nodes))


def _attention(scores: Tensor, mask: Tensor) -> Tensor:
    return masked_softmax(scores.float(), mask).to(scores.dtype)


def _activate(bn: nn.Module, nodes: Tensor) -> Tensor:
    return F.selu(bn(nodes.flatten(0, 1)).reshape(nodes.shape))


class HeterogeneousAttention(nn.Module):
    """Attention over two kinds of nodes, and a master node that looks at all of them."""

    def __init__(self, dim_in: int, dim_out: int, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.proj_type1 = nn.Linear(dim_in, dim_in)
        self.proj_type2 = nn.Linear(dim_in, dim_in)
        self.att_proj = nn.Linear(dim_in, dim_out)
        self.att_projM = nn.Linear(dim_in, dim_out)
        self.att_weight11, self.att_weight22 = _vector(dim_out), _vector(dim_out)
        self.att_weight12, self.att_weightM = _vector(dim_out), _vector(dim_out)
        self.proj_with_att = nn.Linear(dim_in, dim_out)
        self.proj_without_att = nn.Linear(dim_in, dim_out)
        self.proj_with_attM = nn.Linear(dim_in, dim_out)
        self.proj_without_attM = nn.Linear(dim_in, dim_out)
        self.bn = nn.BatchNorm1d(dim_out)
        self.input_drop = nn.Dropout(0.2)

    def forward(self, first: Tensor, second: Tensor, master: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mask (batch, nodes of both kinds)"""
        count = first.shape[1]
        nodes = torch.cat([self.proj_type1(first), self.proj_type2(second)], dim=1)
        nodes = self.input_drop(nodes)
        attention = _attention(self._scores(nodes, count) / self.temperature, mask[:, None])
        master = self._update_master(nodes, master, mask)
        nodes = _activate(self.bn, self.proj_with_att(attention @ nodes) + self.proj_without_att(nodes))
        return nodes[:, :count], nodes[:, count:], master

    def _scores(self, nodes: Tensor, count: int) -> Tensor:
        """(batch, nodes, nodes), each kind of pair with its own vector."""
        pairs = self.att_proj(nodes[:, :, None] * nodes[:, None]).tanh()
        weights = torch.cat([self.att_weight11, self.att_weight22, self.att_weight12], dim=1)
        within1, within2, across = (pairs @ weights).unbind(dim=3)
        is_first = torch.arange(nodes.shape[1], device=nodes.device) < count
        both_first, both_second = is_first[:, None] & is_first, ~is_first[:, None] & ~is_first
        return torch.where(both_first, within1, torch.where(both_second, within2, across))

    def _update_master(self, nodes: Tensor, master: Tensor, mask: Tensor) -> Tensor:
        scores = (self.att_projM(nodes * master).tanh() @ self.att_weightM)[..., 0]   # (batch, nodes)
        attention = _attention(scores / self.temperature, mask)
        return self.proj_with_attM(attention[:, None] @ nodes) + self.proj_without_attM(master)


class GraphPool(nn.Module):
    """Keep the half of the nodes with the highest scores, scaled by them; at least one."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.proj(self.drop(nodes))                                          # (batch, nodes, 1)
        kept = max(nodes.shape[1] // 2, 1)
        # by the logits: sigmoids saturate, and which of equal ones topk takes depends on what else is in the batch
        order = logits[..., 0].masked_fill(~mask, float("-inf")).topk(kept, dim=1).indices  # (batch, kept)
        nodes = (nodes * logits.sigmoid()).gather(1, order[..., None].expand(-1, -1, nodes.shape[2]))
        return nodes, frame_mask((mask.sum(dim=1) // 2).clamp(min=1), kept)


class AASIST(Backend):
    min_frames = 3
    has_boundaries = False
    spectral_nodes = 42

    def __init__(self, options: PooledOptions, feat_dim: int, num_layers: int):
        super().__init__(options, feat_dim, num_layers)
        self.LL = nn.Linear(feat_dim, 128)
        self.first_bn = nn.BatchNorm2d(1)
        self.first_bn1 = nn.BatchNorm2d(64)
        channels = (1, 32, 32, 64, 64, 64, 64)
        self.encoder = nn.ModuleList(nn.ModuleList([ResidualBlock(a, b)]) for a, b in zip(channels, channels[1:]))
        self.attention = nn.Sequential(nn.Conv2d(64, 128, 1), nn.SELU(), nn.BatchNorm2d(128), nn.Conv2d(128, 64, 1))
        self.pos_S = nn.Parameter(torch.randn(1, self.spectral_nodes, 64))
        self.master1 = nn.Parameter(torch.randn(1, 1, 64))
        self.master2 = nn.Parameter(torch.randn(1, 1, 64))
        self.GAT_layer_S = GraphAttention(64, 64, temperature=2.0)
        self.GAT_layer_T = GraphAttention(64, 64, temperature=2.0)
        for branch in (1, 2):
            self.add_module(f"HtrgGAT_layer_ST{branch}1", HeterogeneousAttention(64, 32, temperature=100.0))
            self.add_module(f"HtrgGAT_layer_ST{branch}2", HeterogeneousAttention(32, 32, temperature=100.0))
            self.add_module(f"pool_hS{branch}", GraphPool(32))
            self.add_module(f"pool_hT{branch}", GraphPool(32))
        self.pool_S = GraphPool(64)
        self.pool_T = GraphPool(64)
        self.drop, self.drop_way = nn.Dropout(0.5), nn.Dropout(0.2)
        self.embed_dim = 5 * 32 if options.embed_dim == -1 else options.embed_dim
        self.out_layer = nn.Linear(5 * 32, self.embed_dim) if options.embed_dim != -1 else nn.Identity()

    @property
    def frame_dims(self) -> dict[int, int]:
        return {1: self.LL.out_features + 64}

    def forward(self, features: LayerFeatures) -> Tensor:
        x, lengths = self.one_input(features)
        return self._embedding(*self._attended(self.LL(x), lengths))

    def frames(self, features: LayerFeatures) -> Frames:
        """A frame's linear features beside the temporal node of its three frames, after graph attention and before any
        node is dropped; our derivation, nobody has published one.
        """
        x, lengths = self.one_input(features)
        x = self.LL(x)
        spectral, temporal, mask = self._attended(x, lengths)
        node = torch.arange(features.shape[1], device=x.device).div(3, rounding_mode="floor")[None]
        node = torch.minimum(node, (lengths // 3 - 1)[:, None])[..., None]   # (batch, frames, 1)
        nodes = temporal.gather(1, node.expand(-1, -1, temporal.shape[2]))
        frames = torch.cat([x[:, :features.shape[1]], nodes], dim=2) * features.mask()[..., None]
        return Frames({1: (frames, features.lengths)}, self._embedding(spectral, temporal, mask))

    def _attended(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, frames, 128) -> spectral nodes (batch, 42, 64), temporal (batch, frames / 3, 64), their mask"""
        spectral, temporal, mask = self._nodes(x.transpose(1, 2), lengths // 3)
        return self.GAT_layer_S(spectral, mask.new_ones(spectral.shape[:2])), self.GAT_layer_T(temporal, mask), mask

    def _embedding(self, spectral: Tensor, temporal: Tensor, mask_t: Tensor) -> Tensor:
        spectral, mask_s = self.pool_S(spectral, mask_t.new_ones(spectral.shape[:2]))
        temporal, mask_t = self.pool_T(temporal, mask_t)
        one = self._branch(1, temporal, mask_t, spectral, mask_s)
        two = self._branch(2, temporal, mask_t, spectral, mask_s)
        mask_t, mask_s = one[1], one[3]
        temporal, spectral, master = (torch.maximum(self.drop_way(one[i]), self.drop_way(two[i])) for i in (0, 2, 4))
        x = torch.cat([*_read_out(temporal, mask_t), *_read_out(spectral, mask_s), master[:, 0]], dim=1)
        return self.out_layer(self.drop(x))                                           # (batch, embed_dim)

    def _nodes(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, 128, frames) -> spectral nodes (batch, 42, 64), temporal (batch, frames / 3, 64), their mask"""
        x = F.max_pool2d(x[:, None], 3)                                               # (batch, 1, 42, frames / 3)
        mask = frame_mask(lengths, x.shape[3])
        valid = mask[:, None, None]
        x = F.selu(self.first_bn(x)) * valid
        for (block,) in self.encoder:
            x = block(x, valid)                                                       # (batch, 64, 42, frames / 3)
        x = F.selu(self.first_bn1(x))
        weights = self.attention(x).float()
        spectral = (x * masked_softmax(weights, valid)).sum(dim=3).transpose(1, 2) + self.pos_S
        temporal = (x * weights.softmax(dim=2)).sum(dim=2).transpose(1, 2)
        return spectral, temporal, mask

    def _branch(self, branch: int, temporal: Tensor, mask_t: Tensor, spectral: Tensor, mask_s: Tensor) -> tuple:
        """Two rounds of attention with a pooling between -> temporal, its mask, spectral, its mask, master"""
        first, second, pool_s, pool_t = (getattr(self, name + str(branch) + end) for name, end in
                                         (("HtrgGAT_layer_ST", "1"), ("HtrgGAT_layer_ST", "2"),
                                          ("pool_hS", ""), ("pool_hT", "")))
        master = getattr(self, f"master{branch}").expand(temporal.shape[0], -1, -1)
        temporal, spectral, master = first(temporal, spectral, master, torch.cat([mask_t, mask_s], dim=1))
        spectral, mask_s = pool_s(spectral, mask_s)
        temporal, mask_t = pool_t(temporal, mask_t)
        more_t, more_s, more_m = second(temporal, spectral, master, torch.cat([mask_t, mask_s], dim=1))
        return temporal + more_t, mask_t, spectral + more_s, mask_s, master + more_m


def _read_out(nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Largest magnitude and mean over the nodes, each (batch, dim)."""
    nodes = nodes * mask[..., None]
    return nodes.abs().amax(dim=1), nodes.sum(dim=1) / mask.sum(dim=1, keepdim=True)
