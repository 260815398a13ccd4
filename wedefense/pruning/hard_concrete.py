"""Gates that learn to be 0 or 1: the Hard Concrete distribution (Louizos et al., ICLR 2018)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

BETA = 2 / 3                # temperature
LOW, HIGH = -0.1, 1.1       # a sample is stretched to this range, then clamped to [0, 1]
EPS = 1e-6
EVEN = BETA * math.log(-LOW / HIGH)  # the log_alpha of a gate that is open half the time
_EVAL_SLOPE = 0.8 / BETA


def open_probability(log_alpha: Tensor) -> Tensor:
    """The probability that a sample is above 0."""
    return torch.sigmoid(log_alpha - EVEN)


def _sampled(log_alpha: Tensor) -> Tensor:
    u = torch.empty_like(log_alpha).uniform_(EPS, 1 - EPS)
    s = torch.sigmoid((u.log() - (1 - u).log() + log_alpha) / BETA)
    return (LOW + (HIGH - LOW) * s).clamp(0, 1)


class HardConcrete(nn.Module):
    """`count` gates; calling it gives their values (count,).

    In training they are samples, from torch's random generator. In evaluation round(expected count) of them, at
    least `minimum`, are open at sigmoid(0.8 * log_alpha / beta), the largest ones, and the others are exactly 0.
    """

    def __init__(self, count: int, drop_rate: float, minimum: int = 0):
        super().__init__()
        mean = math.log(1 - drop_rate) - math.log(drop_rate)
        self.log_alpha = nn.Parameter(torch.normal(mean, 0.01, (count,)))
        self.minimum = minimum
        self.drawn: Tensor | None = None  # a sample, see `draw_together`

    @property
    def count(self) -> int:
        return len(self.log_alpha)

    def forward(self) -> Tensor:
        if not self.training:
            return self.values()
        return self.sample() if self.drawn is None else self.drawn

    def sample(self) -> Tensor:
        return _sampled(self.log_alpha)

    def open_probability(self) -> Tensor:
        """(count,): the probability that a sample is above 0."""
        return open_probability(self.log_alpha)

    def is_open(self) -> Tensor:
        """(count,) bool: the gates that evaluation keeps."""
        wanted = self.open_probability().double().sum().round().clamp(min=self.minimum)
        rank = self.log_alpha.argsort(descending=True, stable=True).argsort()
        return rank < wanted

    def values(self) -> Tensor:
        """(count,): what evaluation multiplies by."""
        return torch.sigmoid(_EVAL_SLOPE * self.log_alpha) * self.is_open()

    def extra_repr(self) -> str:
        return f"{self.count}, minimum={self.minimum}"


def draw_together(gates: Sequence[HardConcrete]) -> None:
    """Samples of all, which each gives until `forget`: a dozen launches in place of a dozen for every gate."""
    drawn = _sampled(torch.cat([gate.log_alpha for gate in gates]))
    for gate, own in zip(gates, drawn.split([gate.count for gate in gates])):
        gate.drawn = own


def forget(gates: Sequence[HardConcrete]) -> None:
    for gate in gates:
        gate.drawn = None
