"""Pooling over time, (batch, channels, frames) -> (batch, out_dim), over the valid frames only.

Names and parameters are those of WeSpeaker.
"""

from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-7


def moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation, each (batch, channels, 1)."""
    mask = mask[:, None]                                   # (batch, 1, frames)
    count = mask.sum(dim=2, keepdim=True)
    mean = (x * mask).sum(dim=2, keepdim=True) / count
    variance = ((x - mean) * mask).square().sum(dim=2, keepdim=True) / (count - 1).clamp(min=1)
    return mean, (variance + EPSILON).sqrt()


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension, exactly 0 where the mask (broadcast) is False."""
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)


def weighted_moments(x: Tensor, weights: Tensor) -> Tensor:
    """Mean and standard deviation under weights that sum to 1 over time -> (batch, 2 * channels)."""
    mean = (weights * x).sum(dim=2, keepdim=True)
    variance = (weights * (x - mean).square()).sum(dim=2)
    return torch.cat([mean.squeeze(2), variance.clamp(min=EPSILON).sqrt()], dim=1)


class TAP(nn.Module):
    """Temporal average."""

    def __init__(self, in_dim: int):
        super().__init__()
        self.out_dim = in_dim

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return moments(x.float(), mask)[0].squeeze(2)


class TSDP(nn.Module):
    """Temporal standard deviation."""

    def __init__(self, in_dim: int):
        super().__init__()
        self.out_dim = in_dim

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return moments(x.float(), mask)[1].squeeze(2)


class TSTP(nn.Module):
    """Temporal average and standard deviation."""

    def __init__(self, in_dim: int):
        super().__init__()
        self.out_dim = 2 * in_dim

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.cat(moments(x.float(), mask), dim=1).squeeze(2)


class ASTP(nn.Module):
    """Attentive statistics, an attention for each channel; it may see the utterance's mean and deviation."""

    def __init__(self, in_dim: int, bottleneck_dim: int = 128, global_context_att: bool = False):
        super().__init__()
        self.global_context_att = global_context_att
        self.linear1 = nn.Conv1d(in_dim * (3 if global_context_att else 1), bottleneck_dim, kernel_size=1)
        self.linear2 = nn.Conv1d(bottleneck_dim, in_dim, kernel_size=1)
        self.out_dim = 2 * in_dim

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.float()
        seen = x
        if self.global_context_att:
            mean, deviation = moments(x, mask)
            seen = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
        scores = self.linear2(self.linear1(seen).tanh())   # (batch, channels, frames)
        return weighted_moments(x, masked_softmax(scores.float(), mask[:, None]))


class MHASTP(nn.Module):
    """Attentive statistics with heads, each over its share of the channels."""

    def __init__(self, in_dim: int, layer_num: int = 2, head_num: int = 2, d_s: int = 1, bottleneck_dim: int = 64):
        super().__init__()
        assert in_dim % head_num == 0, f"{in_dim} channels cannot be shared by {head_num} heads"
        share = in_dim // head_num
        dims = [share, *[bottleneck_dim] * (layer_num - 1), share if d_s > 1 else 1]
        self.heads_att_trans = nn.ModuleList(self._attention(dims) for _ in range(head_num))
        self.out_dim = 2 * in_dim

    @staticmethod
    def _attention(dims: list[int]) -> nn.Sequential:
        steps = nn.Sequential()
        for i, (before, after) in enumerate(zip(dims, dims[1:])):
            if i:
                steps.add_module(f"tanh{i - 1}", nn.Tanh())
            steps.add_module(f"att_{i}", nn.Conv1d(before, after, kernel_size=1))
        return steps

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shares = x.float().chunk(len(self.heads_att_trans), dim=1)
        return torch.cat([weighted_moments(share, masked_softmax(attention(share).float(), mask[:, None]))
                          for share, attention in zip(shares, self.heads_att_trans)], dim=1)


class MQMHASTP(nn.Module):
    """Several queries, each with several heads."""

    def __init__(self, in_dim: int, query_num: int = 2, head_num: int = 8, d_s: int = 2):
        super().__init__()
        self.n_query = nn.ModuleList(MHASTP(in_dim, head_num=head_num, d_s=d_s) for _ in range(query_num))
        self.out_dim = 2 * in_dim * query_num

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([query(x, mask) for query in self.n_query], dim=1)


class XI(nn.Module):
    """The mean of a Gaussian posterior: each frame counts by a precision of its own, beside a learnt prior.

    Lee et al., SPL 2021 (xi-vector).
    """

    def __init__(self, in_dim: int, hidden: int = 256):
        super().__init__()
        self.prior_mean, self.prior_logprec = (nn.Parameter(torch.zeros(1, in_dim)) for _ in range(2))
        self.lin1_relu_bn = nn.Sequential(nn.Conv1d(in_dim, hidden, 1), nn.ReLU(), nn.BatchNorm1d(hidden))
        self.lin2 = nn.Conv1d(hidden, in_dim, 1)
        self.out_dim = in_dim

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.float()
        precision = nn.functional.softplus(self.lin2(self.lin1_relu_bn(x)).float())
        precision = precision.clamp(min=torch.finfo(torch.float32).tiny)  # of 0 the logarithm has no gradient
        scores = (2 * precision.log()).clamp(-15, 15).masked_fill(~mask[:, None], float("-inf"))
        prior, mean = (p.float().expand(len(x), -1)[..., None] for p in (self.prior_logprec, self.prior_mean))
        weights = torch.cat([scores, prior], dim=2).softmax(dim=2)          # (batch, channels, frames + 1)
        return (torch.cat([x, mean], dim=2) * weights).sum(2)


POOLINGS: dict[str, type[Any]] = {"TAP": TAP, "TSDP": TSDP, "TSTP": TSTP, "ASTP": ASTP, "MHASTP": MHASTP,
                                  "MQMHASTP": MQMHASTP, "XI": XI}
