"""The pull of an encoder's size towards its target."""

import math

import torch
from torch import Tensor, nn


class Lagrangian(nn.Module):
    """l1 * (sparsity - target) + l2 * (sparsity - target)^2, with multipliers that are learnt by ascent.

    l1 is unconstrained: it pulls the sparsity up as well as down.
    """

    def __init__(self):
        super().__init__()
        self.l1 = nn.Parameter(torch.zeros(()))
        self.l2 = nn.Parameter(torch.zeros(()))

    def forward(self, sparsity: Tensor, target: float) -> Tensor:
        gap = (sparsity - target).float()
        return self.l1 * gap + self.l2 * gap.square()


def words(sparsity: float) -> str:
    """`0.3` -> "remove 30 %, keep 70 %"."""
    removed = round(100 * sparsity, 1)
    return f"remove {removed:g} %, keep {math.fsum((100, -removed)):g} %"
