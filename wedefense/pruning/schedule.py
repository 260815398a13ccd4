"""How the target sparsity rises over the first epochs."""

import math
from collections.abc import Callable

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda p: p,
    "cosine": lambda p: (1 - math.cos(math.pi * p)) / 2,
    "exponential": lambda p: p * p,
    "sigmoid": lambda p: 1 / (1 + math.exp(-10 * (p - 0.5))),
}


def target_at(epoch: float, schedule: str, warmup_epochs: float, minimum: float, final: float) -> float:
    """The target after `epoch` (fractional) epochs: from `minimum` to `final` over the warm-up, constant after it."""
    if epoch >= warmup_epochs:
        return final
    return minimum + (final - minimum) * SHAPES[schedule](epoch / warmup_epochs)
