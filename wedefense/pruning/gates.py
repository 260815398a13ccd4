"""Where gates sit in an encoder."""

from dataclasses import dataclass

from torch import nn

from wedefense.config.frontend import PRUNING_UNITS
from wedefense.config.pruning import DropRates
from wedefense.gpu.sections import carried
from wedefense.pruning.hard_concrete import HardConcrete, draw_together, forget
from wedefense.utils.errors import OptionError


@dataclass(frozen=True)
class Site:
    """A place for gates: `module.<attribute>` holds `count` of them, or None."""

    unit: str         # conv, head, attlayer, interm, ffnlayer
    layer: int        # number of the convolution or block
    module: nn.Module
    attribute: str    # gate or sublayer_gate
    count: int

    @property
    def is_gated(self) -> bool:
        return getattr(self.module, self.attribute) is not None

    @property
    def gate(self) -> HardConcrete:
        """Of a place that is gated."""
        return getattr(self.module, self.attribute)


def convolutions(encoder: nn.Module) -> list[nn.Module]:
    """The extractor's layers; none in encoders whose convolutions cannot be cut (Whisper)."""
    return [] if encoder.convolutions_at is None else list(encoder.get_submodule(encoder.convolutions_at))


def blocks(encoder: nn.Module) -> list[nn.Module]:
    return list(encoder.get_submodule(encoder.blocks_at))


def sites(encoder: nn.Module) -> list[Site]:
    """Every place, in the order of the layers."""
    found = [Site("conv", i, layer, "gate", layer.conv.out_channels) for i, layer in enumerate(convolutions(encoder))]
    for i, block in enumerate(blocks(encoder)):
        if block.has_attention:
            found += [Site("head", i, block.attention, "gate", block.attention.heads),
                      Site("attlayer", i, block.attention, "sublayer_gate", 1)]
        if block.feed_forward is not None:
            hidden = block.feed_forward.intermediate_dense.out_features
            found += [Site("interm", i, block.feed_forward, "gate", hidden),
                      Site("ffnlayer", i, block.feed_forward, "sublayer_gate", 1)]
    return found


def gated_sites(encoder: nn.Module) -> list[Site]:
    return [site for site in sites(encoder) if site.is_gated]


def attach(encoder: nn.Module, units: tuple[str, ...] = (), drop_rates: DropRates = DropRates()) -> None:
    """Put gates in front of the `units` (none named: all that the encoder has).

    The gates are submodules: they are saved, averaged and moved with the encoder's weights.
    """
    found = sites(encoder)
    present = {site.unit for site in found}
    for unit in units:
        if unit not in present:
            raise OptionError("pruning_units", f"this encoder has no '{unit}' units to prune (it has "
                                               f"{', '.join(name for name in PRUNING_UNITS if name in present)})")
    if encoder.freeze_extractor and "conv" in units:
        raise OptionError("pruning_units", "'conv' needs freeze_extractor: False, or nothing tells its gates what "
                                           "the channels are worth")
    if not units:
        units = tuple(present - {"conv"} if encoder.freeze_extractor else present)
    if not gated_sites(encoder):
        encoder.beginnings.append(_draw)
        encoder.register_forward_hook(_forget, always_call=True)
    like = next(encoder.parameters())
    for site in found:
        if site.unit in units and not site.is_gated:
            gate = HardConcrete(site.count, getattr(drop_rates, site.unit), minimum=int(site.unit == "conv"))
            setattr(site.module, site.attribute, gate.to(like.device).train(encoder.training))


def _draw(encoder: nn.Module) -> None:
    """Of all gates at once on a GPU, where each would cost as many launches; on a CPU they draw as they are met.

    Blocks that run again on the way back, and those that are compiled, draw for themselves.
    """
    gated = gated_sites(encoder)
    gates = [site.gate for site in gated]
    if not (encoder.training and gates and gates[0].log_alpha.is_cuda) or encoder.gradient_checkpointing:
        return
    if not any(vars(block).get("_compiled_call_impl") for block in blocks(encoder)):
        draw_together(gates)
        for site in gated:
            if site.unit != "conv":
                site.gate.drawn = carried(site.gate.drawn)


def _forget(encoder: nn.Module, *_) -> None:
    forget([site.gate for site in gated_sites(encoder)])


def open_shares(encoder: nn.Module) -> dict[str, list[float]]:
    """For each kind of unit the share of open units of every layer, as evaluation keeps them."""
    shares: dict[str, list[float]] = {}
    for site in gated_sites(encoder):
        shares.setdefault(site.unit, []).append(site.gate.is_open().double().mean().item())
    return shares
