"""Cut the closed units out of an encoder, so that what is left computes what the gated encoder computed.

What makes it exact:

- An open gate's value is folded into the weights that read the unit: the next convolution, the output projection
  of the heads, the second product of the feed-forward. A whole sublayer's value is folded into its last product
  and that product's bias. What the extractor hands out is read by a layer norm, which would undo a factor; these
  values become `feature_extractor.dummy_weight`, a factor per channel that the published format has a place for.
- A norm over time sees each channel alone. A norm over channels has statistics over the channels that are there,
  so the gated encoder takes them over the open channels only (`open_layer_norm`): those of the extractor's
  layer norms and of the one in the feature projection. The cut layer is then a plain layer norm, in the published
  format as well. A layer keeps at least one channel.
- A sublayer whose units are all closed adds nothing, not even its bias (`gate_sublayer`), and is gone when cut.
- WavLM's position bias belongs to block 0 and serves all blocks: it stays there whole when block 0 loses its
  attention, and each block picks the rows of the heads that are left.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.pruning.gates import blocks, convolutions

State = dict[str, Tensor]


def cut(encoder: nn.Module) -> nn.Module:
    """A new encoder without gates and without the units that evaluation closes, in evaluation mode."""
    with torch.no_grad():
        state = {name: value for name, value in encoder.state_dict().items() if not name.endswith("gate.log_alpha")}
        shape = _cut_extractor(encoder, state)
        left = [_cut_block(block, old, state, f"{encoder.blocks_at}.{i}.", bool(shape.rel_buckets) and i == 0)
                for i, (block, old) in enumerate(zip(blocks(encoder), shape.blocks, strict=True))]
        shape = replace(shape, blocks=tuple(left))
        state = {name: value.clone() for name, value in state.items()}
    return build(encoder, shape, state)


def without_gates(encoder: nn.Module) -> nn.Module:
    """The whole encoder, every unit at 1, in evaluation mode; it shares the weights."""
    state = {name: value for name, value in encoder.state_dict().items() if not name.endswith("gate.log_alpha")}
    return build(encoder, encoder.architecture, state)


def build(like: nn.Module, shape: Architecture, state: State) -> nn.Module:
    """An encoder of `like`'s class and of another shape, with the given weights."""
    with torch.device("meta"):
        encoder = type(like)(shape, like.freeze_extractor, like.gradient_checkpointing)
    encoder.load_state_dict(state, assign=True)
    encoder.stop_after(like.depth)
    return encoder.eval()


def _open(gate: nn.Module | None, count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the open units, and their values."""
    if gate is None:
        return torch.arange(count, device=like.device), like.new_ones(count)
    kept = gate.is_open().nonzero().squeeze(1)
    return kept, gate.values()[kept].to(like.dtype)


def _cut_extractor(encoder: nn.Module, state: State) -> Architecture:
    shape, layers = encoder.architecture, convolutions(encoder)
    if all(layer.gate is None for layer in layers):
        return shape
    conv_layers: list[tuple[int, ...]] = []
    before: tuple[Tensor, Tensor] | None = None  # what the layer below keeps, and the gates' values
    for i, layer in enumerate(layers):
        name = f"feature_extractor.conv_layers.{i}."
        kept, values = _open(layer.gate, layer.conv.out_channels, layer.conv.weight)
        weight = state[name + "conv.weight"][kept]
        if before is not None:
            kept_below, values_below = before
            weight = weight[:, kept_below] * values_below[:, None]
        state[name + "conv.weight"] = weight
        for part in ("conv.bias", "layer_norm.weight", "layer_norm.bias"):
            if name + part in state:
                state[name + part] = state[name + part][kept]
        conv_layers.append((len(kept), *shape.conv_layers[i][1:]))
        before = kept, values
    scaled = shape.conv_output_scale or layers[-1].gate is not None
    if scaled:
        old = state.get("feature_extractor.dummy_weight", values.new_ones(layers[-1].conv.out_channels))
        state["feature_extractor.dummy_weight"] = old[kept] * values
    for part in ("layer_norm.weight", "layer_norm.bias", "projection.weight"):
        name = f"encoder.feature_projection.{part}"
        state[name] = state[name][..., kept]
    return replace(shape, conv_layers=tuple(conv_layers), conv_output_scale=scaled)


def _cut_block(block: nn.Module, old: BlockShape, state: State, prefix: str, keeps_bias: bool) -> BlockShape:
    heads, hidden = old.heads, old.ff_dim
    if block.has_attention:
        heads = _cut_attention(block.attention, old.heads, state, prefix + "attention.", keeps_bias)
    if block.feed_forward is not None:
        hidden = _cut_feed_forward(block.feed_forward, state, prefix + "feed_forward.")
    return BlockShape(heads, hidden)


def _cut_attention(attention: nn.Module, old: tuple[int, ...], state: State, prefix: str, keeps_bias: bool):
    """-> the heads that are left."""
    weight = attention.out_proj.weight
    kept, values = _open(attention.gate, len(old), weight)
    whole, whole_value = _open(attention.sublayer_gate, 1, weight)
    if not len(kept) or not len(whole):
        _drop(state, prefix, [prefix + "rel_attn_embed.weight"] if keeps_bias else [])
        return ()
    rows = (kept[:, None] * attention.head_dim + torch.arange(attention.head_dim, device=kept.device)).flatten()
    for part in ("q_proj", "k_proj", "v_proj"):
        for kind in ("weight", "bias"):
            state[f"{prefix}{part}.{kind}"] = state[f"{prefix}{part}.{kind}"][rows]
    factor = values.repeat_interleave(attention.head_dim) * whole_value
    state[prefix + "out_proj.weight"] = state[prefix + "out_proj.weight"][:, rows] * factor
    state[prefix + "out_proj.bias"] = state[prefix + "out_proj.bias"] * whole_value
    return tuple(old[i] for i in kept.tolist())


def _cut_feed_forward(feed_forward: nn.Module, state: State, prefix: str) -> int:
    """-> the hidden units that are left."""
    weight = feed_forward.output_dense.weight
    kept, values = _open(feed_forward.gate, weight.shape[1], weight)
    whole, whole_value = _open(feed_forward.sublayer_gate, 1, weight)
    if not len(kept) or not len(whole):
        _drop(state, prefix, [])
        return 0
    for kind in ("weight", "bias"):
        state[f"{prefix}intermediate_dense.{kind}"] = state[f"{prefix}intermediate_dense.{kind}"][kept]
    state[prefix + "output_dense.weight"] = state[prefix + "output_dense.weight"][:, kept] * values * whole_value
    state[prefix + "output_dense.bias"] = state[prefix + "output_dense.bias"] * whole_value
    return len(kept)


def _drop(state: State, prefix: str, keep: list[str]) -> None:
    for name in [name for name in state if name.startswith(prefix) and name not in keep]:
        del state[name]
