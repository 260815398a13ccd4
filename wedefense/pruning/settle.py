"""From learnt probabilities to a decision that has the wanted size.

Training holds the expected size at the target. The decision rounds: whole layers whose probability lies between
0 and 1 weigh most, and what is rounded away differs from what was expected by a few per cent of the encoder.
Here all finer gates move by one common amount, to the size wanted. Whole layers stay as they round, unless one more
or one less of them, by their own order, lets the finer gates stay nearer to what they learnt.
"""

from dataclasses import dataclass

import torch
from torch import nn

from wedefense.pruning.gates import gated_sites
from wedefense.pruning.hard_concrete import EVEN, HardConcrete
from wedefense.pruning.size import Size, decided_openness, expected_openness

FINE = ("interm", "conv", "head")  # from the smallest units to the largest
TOLERANCE = 0.002                  # nearer to the target than this nothing moves
REACH = 30.0                       # a shift of the gates' parameters by this much opens or closes every unit
STEPS = 60
MARGIN = 0.05
NEARBY = 3                         # so many whole sublayers more or less are tried in any case


@dataclass(frozen=True)
class Settled:
    expected: float  # sparsity as the gates' probabilities have it
    rounded: float   # as they round
    final: float     # as decided
    shift: float     # by how much the finer gates moved together
    layers: int      # whole sublayers opened (or, below 0, closed) beyond what rounds


@torch.no_grad()
def settle(encoder: nn.Module, size: Size, target: float) -> Settled:
    """Move the gates of `encoder` until what evaluation keeps has the target sparsity.

    What a common move of the finer gates leaves over, the smallest units make up. The gates of evaluation and a cut
    agree before and after.
    """
    expected, rounded = size.sparsity(expected_openness).item(), size.sparsity(decided_openness).item()
    if abs(rounded - target) <= TOLERANCE:
        return Settled(expected, rounded, rounded, 0.0, 0)
    sites = gated_sites(encoder)
    kinds = [[site.gate for site in sites if site.unit == unit] for unit in FINE]
    fine = sum(kinds, [])
    whole = [site.gate for site in sites if site.unit not in FINE]
    values_before = [(gate, gate.log_alpha.clone()) for gate in fine + whole]

    def attempt(layers: int) -> Settled:
        for gate, value in values_before:
            gate.log_alpha.copy_(value)
        _open_more(whole, layers)
        final, shift = _shift(fine, size, target)
        if abs(final - target) > TOLERANCE:
            final, _ = _shift(next((gates for gates in kinds if gates), []), size, target)
        return Settled(expected, rounded, final, shift, layers)

    def far(settled: Settled) -> float:
        return max(abs(settled.final - target) - TOLERANCE, 0.0)

    is_open = sum(bool(gate.is_open()) for gate in whole)
    attempts: list[Settled] = []
    for layers in sorted(range(-is_open, len(whole) - is_open + 1), key=abs):
        if abs(layers) > NEARBY and min(map(far, attempts)) == 0:
            break
        attempts.append(attempt(layers))
    best = min(attempts, key=lambda a: (far(a), abs(a.shift) + abs(a.layers)))
    return attempt(best.layers)


def _open_more(whole: list[HardConcrete], count: int) -> None:
    """Open (or close, below 0) so many more whole sublayers, the likeliest first; the nearest move that does it."""
    ordered = sorted(whole, key=lambda gate: gate.log_alpha.item(), reverse=True)
    is_open = sum(bool(gate.is_open()) for gate in whole)
    for gate in ordered[is_open:is_open + max(count, 0)]:
        gate.log_alpha.fill_(EVEN + MARGIN)
    for gate in ordered[is_open + min(count, 0):is_open]:
        gate.log_alpha.fill_(EVEN - MARGIN)


def _shift(gates: list[HardConcrete], size: Size, target: float) -> tuple[float, float]:
    """Move the gates by the amount that comes nearest to the target; -> the sparsity then, and the amount."""
    start = [gate.log_alpha.clone() for gate in gates]

    def sparsity(shift: float) -> float:
        for gate, original in zip(gates, start, strict=True):
            gate.log_alpha.copy_(original + shift)
        return size.sparsity(decided_openness).item()

    best = sparsity(0.0), 0.0
    low, high = -REACH, REACH  # the sparsity falls with the shift
    for _ in range(STEPS if gates else 0):
        middle = (low + high) / 2
        found = sparsity(middle)
        if abs(found - target) < abs(best[0] - target):
            best = found, middle
        low, high = (middle, high) if found > target else (low, middle)
    return sparsity(best[1]), best[1]
