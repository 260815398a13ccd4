"""WeDefense's own file: `{state_dict, config}`, for whole and for pruned encoders. Reading and writing."""

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.utils.errors import InputError
from wedefense.utils.pickled_record import records_to_builtin


def is_pruned(content) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping) and "config" in content


def read_architecture(content: Mapping, scaled: bool, relative: bool, source: str) -> Architecture:
    """`scaled`: the tensors hold an output scale; `relative`: they hold WavLM's position embedding.

    The last layer of a norm-first model is handed out as it leaves the last block, which is what WeDefense trains
    its back-ends on.
    """
    if "architecture" in content:  # written by `pruned_checkpoint`
        return architecture_from_dict(records_to_builtin(content["architecture"]), source)
    config = records_to_builtin(content["config"])
    if not isinstance(config, dict):
        raise InputError(f"{source}: its 'config' is no dict of settings")
    try:
        heads, total_heads = _heads(config)
        wavlm = "encoder_remaining_heads" in config
        return Architecture(
            family="wavlm" if wavlm else "wav2vec2",
            blocks=_blocks(config, heads), dim=config["encoder_embed_dim"], total_heads=total_heads,
            conv_layers=tuple(tuple(layer) for layer in config["extractor_conv_layer_config"]),
            extractor_norm=config["extractor_mode"], conv_bias=config["extractor_conv_bias"],
            conv_output_scale=scaled, norm_first=config["encoder_layer_norm_first"], final_norm=False,
            pos_conv_kernel=config["encoder_pos_conv_kernel"], pos_conv_groups=config["encoder_pos_conv_groups"],
            rel_buckets=config["encoder_num_buckets"] if wavlm and relative else 0,
            rel_max_distance=config.get("encoder_max_distance", 800),
            normalize_waveform=config["normalize_waveform"],
            projection_dropout=config.get("encoder_projection_dropout", 0.1),
            hidden_dropout=config.get("encoder_dropout", 0.1),
            attention_dropout=config.get("encoder_attention_dropout", 0.1),
            activation_dropout=config.get("encoder_ff_interm_dropout", 0.0),
            layer_drop=config.get("encoder_layer_drop", 0.0),
        )
    except KeyError as error:
        raise InputError(f"{source}: its 'config' lacks {error} (expected WeDefense's encoder settings)") from None


def _heads(config: Mapping) -> tuple[list[tuple[int, ...]], int]:
    if "encoder_remaining_heads" in config:
        totals = config["encoder_total_num_heads"]
        return [tuple(kept) for kept in config["encoder_remaining_heads"]], max(totals)
    counts = config["encoder_num_heads"]
    return [tuple(range(count)) for count in counts], config["encoder_embed_dim"] // config["encoder_head_dim"]


def _blocks(config: Mapping, heads: list[tuple[int, ...]]) -> tuple[BlockShape, ...]:
    rows = zip(heads, config["encoder_use_attention"], config["encoder_ff_interm_features"],
               config["encoder_use_feed_forward"], strict=True)
    return tuple(BlockShape(kept if attends else (), units if feeds else 0) for kept, attends, units, feeds in rows)


def wedefense_config(architecture: Architecture) -> dict:
    """The settings as WeDefense names them, so that it can rebuild the encoder."""
    blocks = architecture.blocks
    config = {
        "extractor_mode": architecture.extractor_norm,
        "extractor_conv_layer_config": [list(layer) for layer in architecture.conv_layers],
        "extractor_conv_bias": architecture.conv_bias,
        "encoder_embed_dim": architecture.dim,
        "encoder_projection_dropout": architecture.projection_dropout,
        "encoder_pos_conv_kernel": architecture.pos_conv_kernel,
        "encoder_pos_conv_groups": architecture.pos_conv_groups,
        "encoder_num_layers": len(blocks),
        "encoder_use_attention": [bool(block.heads) for block in blocks],
        "encoder_use_feed_forward": [block.ff_dim > 0 for block in blocks],
        "encoder_attention_dropout": architecture.attention_dropout,
        "encoder_ff_interm_features": [block.ff_dim for block in blocks],
        "encoder_ff_interm_dropout": architecture.activation_dropout,
        "encoder_dropout": architecture.hidden_dropout,
        "encoder_layer_norm_first": architecture.norm_first,
        "encoder_layer_drop": architecture.layer_drop,
        "normalize_waveform": architecture.normalize_waveform,
        "aux_num_out": None,
    }
    if architecture.family == "wavlm":
        config |= {"encoder_total_num_heads": [architecture.total_heads] * len(blocks),
                   "encoder_remaining_heads": [list(block.heads) for block in blocks],
                   "encoder_num_buckets": architecture.rel_buckets,
                   "encoder_max_distance": architecture.rel_max_distance}
    else:
        config |= {"encoder_num_heads": [len(block.heads) for block in blocks],
                   "encoder_head_dim": architecture.head_dim}
    return config


def pruned_checkpoint(architecture: Architecture, state_dict: Mapping[str, Tensor]) -> dict:
    """What to save: WeDefense reads `state_dict` and `config`; `architecture` keeps what its settings cannot say."""
    return {"state_dict": dict(state_dict), "config": wedefense_config(architecture),
            "architecture": dataclasses.asdict(architecture)}


def architecture_from_dict(values: dict, source: str = "architecture") -> Architecture:
    """The inverse of `dataclasses.asdict`."""
    try:
        blocks = tuple(BlockShape(tuple(block["heads"]), block["ff_dim"]) for block in values["blocks"])
        conv_layers = tuple(tuple(layer) for layer in values["conv_layers"])
        return Architecture(**{**values, "blocks": blocks, "conv_layers": conv_layers})
    except (KeyError, TypeError) as error:
        raise InputError(f"{source}: its 'architecture' cannot be read ({error})") from None
