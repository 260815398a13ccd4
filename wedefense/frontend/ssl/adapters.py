"""Adapters of a block, and an encoder that has them: its own weights stay as they are.

A change of low rank is a change of the weight of a product (`Linear.adapted`): joined, cast, packed and fused products
are made from it as from any weight, training and evaluation compute with the same one, and outside autograd it is made
once and costs nothing. Only where something drops out of it in training is it computed beside the product.
"""

import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.adapters import AdapterOptions
from wedefense.frontend.ssl.products import Linear
from wedefense.frontend.ssl.transformer import Block
from wedefense.utils.errors import OptionError


class LowRank(nn.Module):
    """weight + scale * up @ down of a product; with DoRA each row is then as long as (1 + gain) times the weight's."""

    def __init__(self, product: nn.Linear, options: AdapterOptions):
        super().__init__()
        (outputs, inputs), like = product.weight.shape, {"device": product.weight.device, "dtype": product.weight.dtype}
        self.down = nn.Parameter(torch.empty(options.r, inputs, **like))
        self.up = nn.Parameter(torch.zeros(outputs, options.r, **like))
        self.gain = nn.Parameter(torch.zeros(outputs, **like)) if options.dora else None
        self.scale, self.dropout = options.scale, options.dropout
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as a linear layer begins

    @property
    def drops(self) -> bool:
        return self.training and self.dropout > 0

    def changed(self, own: Tensor) -> Tensor:
        """The weight of the product, (out, in), from its own; in its precision under autocast too."""
        if self.drops:
            return own
        with torch.autocast(own.device.type, enabled=False):
            return changed_weight(own, self.down, self.up, self.gain, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) -> (rows, out): what is added to the product while something drops out."""
        x = F.dropout(x, self.dropout, self.training)
        return F.linear(F.linear(x, self.down), self.up * self.scale)


def changed_weight(own: Tensor, down: Tensor, up: Tensor, gain: Tensor | None, scale: float) -> Tensor:
    """own (out, in), down (r, in), up (out, r), gain (out,) -> (out, in)"""
    changed = torch.addmm(own, up, down, alpha=scale)
    if gain is None:
        return changed
    # the length of a changed row counts as a constant on the way back, as the authors of DoRA have it
    length, now = own.norm(dim=1, keepdim=True), changed.detach().norm(dim=1, keepdim=True)
    return changed * ((1 + gain[:, None]) * length / now.clamp(min=torch.finfo(own.dtype).tiny))


class Bottleneck(nn.Module):
    """x + up(gelu(down(x)))"""

    def __init__(self, dim: int, units: int):
        super().__init__()
        self.down, self.up = Linear(dim, units), Linear(units, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, dim) -> (rows, dim)"""
        return x + self.up(F.gelu(self.down(x)))


def blocks_of(encoder: nn.Module) -> list[Block]:
    return list(encoder.get_submodule(encoder.blocks_at))


def adapt(encoder: nn.Module, options: AdapterOptions) -> None:
    """Freeze the encoder and give its blocks adapters, which change nothing yet.

    What is drawn after them is what would be drawn without.
    """
    if not options.wanted:
        return
    blocks = blocks_of(encoder)
    if options.layers is not None and max(options.layers) >= encoder.depth:
        raise OptionError("adapters.layers", f"block {max(options.layers)} does not run; this encoder has blocks 0 to "
                                             f"{encoder.depth - 1} of the layers that are wanted")
    encoder.requires_grad_(False)
    encoder.freeze_extractor = True
    with torch.random.fork_rng([]):
        for number in range(encoder.depth) if options.layers is None else options.layers:
            _adapt_block(blocks[number], encoder.architecture.dim, options)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise OptionError("adapters.targets", f"no block has {', '.join(options.targets)}: they were pruned away; name "
                                              "others, or other layers")


def _adapt_block(block: Block, dim: int, options: AdapterOptions) -> None:
    if options.type == "bottleneck":
        like = block.layer_norm.weight
        block.bottlenecks = nn.ModuleList(Bottleneck(dim, options.dim) if exists else nn.Identity() for exists in (
            block.has_attention, block.feed_forward is not None)).to(like)
    else:
        for name, product in block.linears().items():
            if name in options.targets:
                product.adapter = LowRank(product, options)
    if options.norms:
        block.layer_norm.requires_grad_(True)
        block.final_layer_norm.requires_grad_(True)


def adapted_products(encoder: nn.Module) -> dict[tuple[int, str], Linear]:
    """Those with a change of low rank, by block and name."""
    return {(number, name): product for number, block in enumerate(blocks_of(encoder))
            for name, product in block.linears().items() if product.adapter is not None}


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Changes of low rank become the weights, wherever in `module`; bottlenecks stay."""
    for part in module.modules():
        if isinstance(part, Linear) and part.adapter is not None:
            part.weight = nn.Parameter(part.adapter.eval().changed(part.weight), part.weight.requires_grad)
            part.adapter = None


def merged(weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """`merge` of the tensors of a model; what they change is scaled as they were trained."""
    found = dict(weights)
    for name in [name for name in weights if name.endswith(".adapter.down")]:
        product = name.removesuffix(".adapter.down")
        down, up = found.pop(name), found.pop(f"{product}.adapter.up")
        gain = found.pop(f"{product}.adapter.gain", None)
        found[f"{product}.weight"] = changed_weight(found[f"{product}.weight"], down, up, gain, scale)
    return found


_OWN = re.compile(r".+\.(adapter\.(down|up|gain)|bottlenecks\.[01]\.(down|up)\.(weight|bias))")


def is_adapter(name: str) -> bool:
    """Whether a tensor of that name is an adapter's own; parts of others are called adapters too."""
    return _OWN.fullmatch(name) is not None
