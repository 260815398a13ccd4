"""Random weights that are the same on every machine, for tests and for recipes without a download."""

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor

_STEPS = 1 << 24  # integers of this range are exact in float32, whatever the processor's mathematics


def seeded_weights(shapes: Mapping[str, torch.Size], seed: int) -> dict[str, Tensor]:
    """A tensor per name, drawn from the seed and the name alone; norms are 1, biases 0.

    Products keep the variance of their input, so that untrained features differ between utterances as much as
    the utterances do.
    """
    return {name: _weight(name, tuple(shape), seed) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if name.endswith("bias"):
        return torch.zeros(shape)
    if "norm" in name or name.endswith(("gru_rel_pos_const", "dummy_weight")):
        return torch.ones(shape)
    if name.endswith("weight.original0"):   # the length of each tap of the positional convolution
        return torch.full(shape, 1.0)
    inputs = shape[1] if name.endswith("rel_attn_embed.weight") else math.prod(shape[1:])
    gain = 2.0 if ".conv." in name or "intermediate_dense" in name else 1.0  # GELU halves the power
    draw = torch.randint(0, _STEPS, shape, generator=_generator(name, seed))
    uniform = draw.to(torch.float32) * (2.0 / _STEPS) - 1.0  # exact
    return uniform * math.sqrt(3.0 * gain / inputs)


def _generator(name: str, seed: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
