"""The pull of an encoder's size towards its target."""

import math

import torch
from torch import Tensor, nn

STIFFNESS = 100.0  # added to l2: a gap of 1 % costs 0.01, and pulls with a force of 2
NEAR = 0.05        # the linear term learns within this gap


class Lagrangian(nn.Module):
    """l1 * (sparsity - target) + (STIFFNESS + l2) * (sparsity - target)^2; l1 and l2 start at 0, learnt by ascent.

    Gates start far from closing and cross their range at a limited speed, so the sparsity follows its target late.
    A linear term that learns all the while (and from nothing: an optimiser like Adam moves it by the same step for any
    gap) grows far beyond what the task costs, and throws the sparsity past its target for as long. So the quadratic
    term is stiff from the start and closes large gaps, and the linear one, which removes what is left, learns in the
    neighbourhood of the target alone. It is unconstrained there: it pulls the sparsity up as well as down.
    """

    def __init__(self):
        super().__init__()
        self.l1 = nn.Parameter(torch.zeros(()))
        self.l2 = nn.Parameter(torch.zeros(()))

    def forward(self, sparsity: Tensor, target: float) -> Tensor:
        gap = (sparsity - target).float()
        near = (gap.detach().abs() <= NEAR).float()
        l1 = self.l1 * near + self.l1.detach() * (1 - near)
        return l1 * gap + (STIFFNESS + self.l2) * gap.square()


    def hold(self) -> None:
        """Called before each step."""


class ReleasedLagrangian(Lagrangian):
    """l1 * (sparsity - target) + l2 * (sparsity - target)^2 as WeDefense releases it, l1 kept at 0 or above.

    It cannot push a sparsity up that lies under its target but by l2, and arrives late: for published rows.
    """

    def forward(self, sparsity: Tensor, target: float) -> Tensor:
        gap = (sparsity - target).float()
        return self.l1 * gap + self.l2 * gap.square()

    @torch.no_grad()
    def hold(self) -> None:
        self.l1.clamp_(min=0)


CONSTRAINTS = {"steady": Lagrangian, "released": ReleasedLagrangian}


def sparsity_text(sparsity: float) -> str:
    """`0.3` -> "remove 30 %, keep 70 %"."""
    removed = round(100 * sparsity, 1)
    return f"remove {removed:g} %, keep {math.fsum((100, -removed)):g} %"
