"""From learnt probabilities to a decision that has the wanted size.

Training holds the expected size at the target. The decision rounds: whole layers whose probability lies between
0 and 1 weigh most, and what is rounded away differs from what was expected by a few per cent of the encoder.
Here whole layers are decided as they round, then all finer gates move by one common amount, to the size wanted.
"""

from dataclasses import dataclass

import torch
from torch import nn

from wedefense.pruning.constraint import Size, decided, learnt
from wedefense.pruning.gates import gated_sites

WHOLE = ("attlayer", "ffnlayer")
REACH = 30.0  # a shift of the gates' parameters by this much opens or closes every unit
STEPS = 60


@dataclass(frozen=True)
class Settled:
    expected: float  # sparsity as the gates' probabilities have it
    rounded: float   # as they round
    final: float     # as decided
    shift: float     # by how much the finer gates moved


@torch.no_grad()
def settle(encoder: nn.Module, size: Size, target: float, tolerance: float = 0.002) -> Settled:
    """Move the finer gates of `encoder` until what evaluation keeps has the target sparsity.

    Within `tolerance` of the target nothing moves. The gates of evaluation and a cut agree before and after.
    """
    expected, rounded = size.sparsity(learnt).item(), size.sparsity(decided).item()
    fine = [site.gate for site in gated_sites(encoder) if site.unit not in WHOLE]
    if abs(rounded - target) <= tolerance or not fine:
        return Settled(expected, rounded, rounded, 0.0)
    start = [gate.log_alpha.clone() for gate in fine]

    def sparsity(shift: float) -> float:
        for gate, original in zip(fine, start, strict=True):
            gate.log_alpha.copy_(original + shift)
        return size.sparsity(decided).item()

    low, high = -REACH, REACH  # the sparsity falls with the shift
    best = 0.0, rounded
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = sparsity(middle)
        if abs(found - target) < abs(best[1] - target):
            best = middle, found
        low, high = (middle, high) if found > target else (low, middle)
    return Settled(expected, rounded, sparsity(best[0]), best[0])
