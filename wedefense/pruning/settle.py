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

FINE = ("interm", "conv", "head")  # from the smallest units to the largest
REACH = 30.0  # a shift of the gates' parameters by this much opens or closes every unit
STEPS = 60


@dataclass(frozen=True)
class Settled:
    expected: float  # sparsity as the gates' probabilities have it
    rounded: float   # as they round
    final: float     # as decided
    shift: float     # by how much the finer gates moved together


@torch.no_grad()
def settle(encoder: nn.Module, size: Size, target: float, tolerance: float = 0.002) -> Settled:
    """Move the finer gates of `encoder` until what evaluation keeps has the target sparsity.

    Within `tolerance` of the target nothing moves. What a common move of all leaves over, the smallest units make
    up. The gates of evaluation and a cut agree before and after.
    """
    expected, rounded = size.sparsity(learnt).item(), size.sparsity(decided).item()
    fine = {unit: [site.gate for site in gated_sites(encoder) if site.unit == unit] for unit in FINE}
    smallest = next((gates for gates in fine.values() if gates), [])
    final, shift = rounded, 0.0
    for gates in (sum(fine.values(), []), smallest):
        if gates and abs(final - target) > tolerance:
            final, moved = _shift(gates, size, target)
            shift = shift or moved
    return Settled(expected, rounded, final, shift)


def _shift(gates: list, size: Size, target: float) -> tuple[float, float]:
    """Move the gates by the amount that comes nearest to the target; -> the sparsity then, and the amount."""
    start = [gate.log_alpha.clone() for gate in gates]

    def sparsity(shift: float) -> float:
        for gate, original in zip(gates, start, strict=True):
            gate.log_alpha.copy_(original + shift)
        return size.sparsity(decided).item()

    best = 0.0, sparsity(0.0)
    low, high = -REACH, REACH  # the sparsity falls with the shift
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = sparsity(middle)
        if abs(found - target) < abs(best[1] - target):
            best = middle, found
        low, high = (middle, high) if found > target else (low, middle)
    return sparsity(best[0]), best[0]
