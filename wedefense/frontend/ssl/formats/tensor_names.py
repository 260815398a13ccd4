"""From the tensor names of the field to ours, and from bare tensors to the architecture they belong to."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from wedefense.frontend.ssl.adapters import is_adapter
from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.utils.errors import InputError
from wedefense.utils.tables import first_few

Naming = Literal["fairseq", "huggingface", "torchaudio"]

_FIRST_CONV: dict[str, Naming] = {"feature_extractor.conv_layers.0.0.weight": "fairseq",
               "feature_extractor.conv_layers.0.conv.weight": "torchaudio"}

_LAYER, _OURS = r"encoder\.layers\.(\d+)\.", r"encoder.transformer.layers.\1."
_FAIRSEQ = [(re.compile(pattern + "$"), ours) for pattern, ours in (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)", r"feature_extractor.conv_layers.\1.conv.\2"),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?(weight|bias)",
     r"feature_extractor.conv_layers.\1.layer_norm.\2"),
    (r"layer_norm\.(weight|bias)", r"encoder.feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"encoder.feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.(\d+)\.0\.(weight|bias)", r"encoder.transformer.pos_conv_embed.layers.\1.conv.\2"),
    (r"encoder\.pos_conv\.0\.(bias|weight|weight_g|weight_v|parametrizations\.weight\.original[01])",
     r"encoder.transformer.pos_conv_embed.conv.\1"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.transformer.layer_norm.\1"),
    (_LAYER + r"self_attn\.((?:q|k|v|out)_proj\.(?:weight|bias))", _OURS + r"attention.\2"),
    (_LAYER + r"self_attn\.relative_attention_bias\.weight", _OURS + "attention.rel_attn_embed.weight"),
    (_LAYER + r"self_attn\.grep_linear\.(weight|bias)", _OURS + r"attention.gru_rel_pos_linear.\2"),
    (_LAYER + r"self_attn\.grep_a", _OURS + "attention.gru_rel_pos_const"),
    (_LAYER + r"self_attn_layer_norm\.(weight|bias)", _OURS + r"layer_norm.\2"),
    (_LAYER + r"fc1\.(weight|bias)", _OURS + r"feed_forward.intermediate_dense.\2"),
    (_LAYER + r"fc2\.(weight|bias)", _OURS + r"feed_forward.output_dense.\2"),
    (_LAYER + r"final_layer_norm\.(weight|bias)", _OURS + r"final_layer_norm.\2"),
)]
_SAME = r"(layer_norm|final_layer_norm|feed_forward\.intermediate_dense|feed_forward\.output_dense)\.(weight|bias)"
_TORCHAUDIO = [(re.compile(pattern + "$"), ours) for pattern, ours in (
    (r"(feature_extractor\.conv_layers\.\d+\.(?:conv|layer_norm)\.(?:weight|bias))", r"\1"),
    (r"(feature_extractor\.dummy_weight)", r"\1"),
    (r"(encoder\.feature_projection\.(?:layer_norm|projection)\.(?:weight|bias))", r"\1"),
    (r"(encoder\.transformer\.pos_conv_embed\.(?:layers\.\d+\.)?conv\."
     r"(?:bias|weight|weight_g|weight_v|parametrizations\.weight\.original[01]))", r"\1"),
    (r"(encoder\.transformer\.layer_norm\.(?:weight|bias))", r"\1"),
    (r"(encoder\.transformer\.layers\.\d+\.)" + _SAME, r"\1\2.\3"),
    (r"(encoder\.transformer\.layers\.\d+\.attention\.)(?:attention\.)?"
     r"(in_proj_weight|in_proj_bias|(?:q|k|v|out)_proj\.(?:weight|bias)|gru_rel_pos_linear\.(?:weight|bias)|"
     r"gru_rel_pos_const|rel_attn_embed\.weight)", r"\1\2"),
)]


def locate(tensors: Mapping[str, Tensor]) -> tuple[Naming, str] | None:
    """The naming of an encoder's tensors and the prefix before them; None where there is no encoder.

    >>> locate({"frontend.upstream.feature_extractor.conv_layers.0.conv.weight": ...})
    ('torchaudio', 'frontend.upstream.')
    """
    for key in tensors:
        for ending, naming in _FIRST_CONV.items():
            if key == ending or key.endswith("." + ending):
                prefix = key[:-len(ending)]
                if prefix + "feature_projection.projection.weight" in tensors:
                    naming = "huggingface"
                return naming, prefix
    return None


def to_our_names(tensors: Mapping[str, Tensor], naming: Naming, prefix: str, source: str) -> dict[str, Tensor]:
    """The encoder's tensors under our names; heads of pretraining and of fine-tuning are left behind."""
    rules = _FAIRSEQ if naming == "fairseq" else _TORCHAUDIO
    renamed, unknown = {}, []
    for key, value in tensors.items():
        if not key.startswith(prefix) or not isinstance(value, Tensor):
            continue
        name = key[len(prefix):]
        if "hard_concrete" in name or name.endswith("gate.log_alpha"):
            raise InputError(f"{source}: pruning is under way in it ('{key}' is a gate); cut the closed units out "
                             "first (wedefense prune) and give the pruned model")
        if is_adapter(name):
            raise InputError(f"{source}: holds adapters, and an encoder to begin with has none ('{key}'); merge them "
                             "first: wedefense adapters EXPERIMENT --merged OUT")
        inside = name.startswith(("encoder.", "feature_extractor."))
        if naming == "huggingface":
            name = re.sub(r"^feature_projection\.", "encoder.feature_projection.",
                          re.sub(r"^encoder\.", "encoder.transformer.", name))
        ours = next((rule.sub(target, name) for rule, target in rules if rule.match(name)), None)
        if ours is not None:
            renamed[ours] = value.detach()
        elif inside:
            unknown.append(key)
    if unknown:
        raise InputError(f"{source}: tensors that no encoder of the wav2vec 2.0 family has: {first_few(unknown)}")
    return _split_projections(_weight_norm(renamed))


def _weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weight-normed positional convolution as `parametrizations`, however it was stored."""
    conv = "encoder.transformer.pos_conv_embed.conv."
    target = conv + "parametrizations.weight.original"
    for old, new in (("weight_g", "0"), ("weight_v", "1")):
        if conv + old in state:
            state[target + new] = state.pop(conv + old)
    if conv + "weight" in state:  # the norm was folded in
        weight = state.pop(conv + "weight")
        state[target + "0"], state[target + "1"] = weight.norm(dim=(0, 1), keepdim=True), weight
    return state


def _split_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchaudio packs WavLM's query, key and value projections into one."""
    for key in [key for key in state if ".in_proj_" in key]:
        stem, kind = key.split("in_proj_")
        for name, part in zip("qkv", state.pop(key).chunk(3), strict=True):
            state[f"{stem}{name}_proj.{kind}"] = part.clone()
    return state


def block_count(state: Mapping[str, Tensor]) -> int:
    indices = [int(match[1]) for key in state if (match := re.match(r"encoder\.transformer\.layers\.(\d+)\.", key))]
    return max(indices, default=-1) + 1


def drop_lost_bias(state: dict[str, Tensor]) -> bool:
    """Pruning block 0's attention away takes WavLM's position embedding along: then no block has a bias.

    Removes the gates of a bias that is not there; True where WavLM's bias is whole.
    """
    if "encoder.transformer.layers.0.attention.rel_attn_embed.weight" in state:
        return True
    for key in [key for key in state if ".attention.gru_rel_pos_" in key]:
        del state[key]
    return False


def infer_architecture(state: Mapping[str, Tensor], source: str) -> Architecture:
    """The architecture of tensors that come without a config.

    Shapes tell the widths. What they cannot tell follows the released models: an extractor with layer norms goes
    with pre-norm blocks (except in data2vec) and normalised waveforms, heads are 64 wide (80 in the 1B models,
    120 in the 2B), strides are 5 then 2. wav2vec2 and HuBERT are the same network and both read as wav2vec2.
    """
    convs: list[tuple[int, int, int]] = []
    while (weight := state.get(f"feature_extractor.conv_layers.{len(convs)}.conv.weight")) is not None:
        convs.append((weight.shape[0], weight.shape[2], 2 if convs else 5))
    projection = state.get("encoder.feature_projection.projection.weight")
    if not convs or projection is None:
        raise InputError(f"{source}: expected the tensors of a wav2vec 2.0 style encoder")
    dim, layer_norm = projection.shape[0], "feature_extractor.conv_layers.1.layer_norm.weight" in state
    const = next((value for key, value in state.items() if key.endswith("gru_rel_pos_const")), None)
    heads = const.numel() if const is not None else {1280: 16, 1920: 16}.get(dim, max(dim // 64, 1))
    pos_conv = "encoder.transformer.pos_conv_embed."
    depth = sum(key.startswith(pos_conv + "layers.") and key.endswith("conv.weight") for key in state)
    kernel = state.get(pos_conv + ("layers.0.conv.weight" if depth else "conv.parametrizations.weight.original1"))
    if kernel is None:
        raise InputError(f"{source}: its positional convolution is missing ('{pos_conv}...')")
    embedding = state.get("encoder.transformer.layers.0.attention.rel_attn_embed.weight")
    return Architecture(
        family="wavlm" if embedding is not None else "data2vec" if depth else "wav2vec2",
        blocks=tuple(_inferred_block(state, i, dim, heads, source) for i in range(block_count(state))),
        dim=dim, total_heads=heads, conv_layers=tuple(convs),
        extractor_norm="layer_norm" if layer_norm else "group_norm",
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in state,
        conv_output_scale="feature_extractor.dummy_weight" in state,
        norm_first=layer_norm and not depth,
        pos_conv_kernel=kernel.shape[2] * max(depth, 1), pos_conv_groups=dim // kernel.shape[1],
        pos_conv_depth=max(depth, 1),
        rel_buckets=embedding.shape[0] if embedding is not None else 0,
        normalize_waveform=layer_norm,
    )


def _inferred_block(state: Mapping[str, Tensor], index: int, dim: int, heads: int, source: str) -> BlockShape:
    block = f"encoder.transformer.layers.{index}."
    query = state.get(block + "attention.q_proj.weight")
    hidden = state.get(block + "feed_forward.intermediate_dense.weight")
    kept = 0 if query is None else query.shape[0] // (dim // heads)
    if 0 < kept < heads and block + "attention.gru_rel_pos_const" in state:
        raise InputError(f"{source}: block {index} was pruned to {kept} of {heads} heads, and only its config says "
                         "which; give the pruned model file that holds 'state_dict' and 'config'")
    return BlockShape(tuple(range(kept)), 0 if hidden is None else hidden.shape[0])

