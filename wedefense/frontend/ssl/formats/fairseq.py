"""Architectures from fairseq's configurations: raw releases, WavLM's own, and s3prl's conversions."""

import ast
from collections.abc import Iterable, Mapping

from wedefense.frontend.ssl.architecture import BASE_CONV, Architecture, Family, full_blocks
from wedefense.utils.errors import InputError
from wedefense.utils.pickled_record import records_to_builtin


def is_fairseq(content) -> bool:
    """A dict with `model` and `cfg` or `args` (fairseq, WavLM), or with s3prl's three entries."""
    return isinstance(content, Mapping) and (
        "model_cfg" in content and "model_weight" in content
        or isinstance(content.get("model"), Mapping) and any(content.get(key) is not None for key in ("cfg", "args")))


def read_fairseq(content: Mapping, source: str) -> tuple[Mapping, dict, str]:
    """-> (tensors, one flat dict of settings, the format's name)."""
    if "model_weight" in content:
        task, model = (records_to_builtin(content.get(name)) or {} for name in ("task_cfg", "model_cfg"))
        return content["model_weight"], {**task, **model}, "s3prl"
    config = records_to_builtin(content.get("cfg"))
    if not isinstance(config, dict):
        settings, name = records_to_builtin(content["args"]), "fairseq (args)"
    elif isinstance(config.get("model"), dict):
        settings, name = {**(config.get("task") or {}), **config["model"]}, "fairseq (cfg)"
    else:
        settings, name = config, "WavLM release"
    if not isinstance(settings, dict):
        raise InputError(f"{source}: its 'cfg' or 'args' holds no settings; expected a fairseq checkpoint")
    return content["model"], _pretrained(settings), name


def _pretrained(settings: dict) -> dict:
    """A fine-tuned model keeps the settings of the encoder it started from in `w2v_args`."""
    inner = settings.get("w2v_args")
    if not isinstance(inner, dict):
        return settings
    if isinstance(inner.get("model"), dict):
        inner = {**(inner.get("task") or {}), **inner["model"]}
    dropouts = {key: settings[key] for key in ("dropout", "attention_dropout", "activation_dropout") if key in settings}
    return {**inner, **dropouts, "normalize": settings.get("normalize", inner.get("normalize", False))}


def fairseq_architecture(settings: Mapping, names: Iterable[str], source: str) -> Architecture:
    """`settings`: fairseq's keys, their defaults where absent; `names`: the tensors', which tell the family."""
    def get(key, default):
        value = settings.get(key)
        return default if value is None else value

    for key, only in (("activation_fn", "gelu"), ("layer_type", "transformer"), ("pos_enc_type", "abs")):
        if get(key, only) != only:
            raise InputError(f"{source}: {key} '{settings[key]}' is not supported (expected '{only}')")
    mode = get("extractor_mode", "default")
    if mode not in ("default", "layer_norm"):
        raise InputError(f"{source}: extractor_mode '{mode}' is not supported (expected 'default' or 'layer_norm')")
    heads = int(get("encoder_attention_heads", 12))
    relative, depth = bool(get("relative_position_embedding", False)), int(get("pos_conv_depth", 1))
    return Architecture(
        family=_family(settings, names, relative, depth),
        blocks=full_blocks(int(get("encoder_layers", 12)), heads, int(get("encoder_ffn_embed_dim", 3072))),
        dim=int(get("encoder_embed_dim", 768)), total_heads=heads,
        conv_layers=parse_conv_layers(get("conv_feature_layers", BASE_CONV), source),
        extractor_norm="layer_norm" if mode == "layer_norm" else "group_norm",
        conv_bias=bool(get("conv_bias", False)), norm_first=bool(get("layer_norm_first", False)),
        pos_conv_kernel=int(get("conv_pos", 128)), pos_conv_groups=int(get("conv_pos_groups", 16)),
        pos_conv_depth=depth,
        rel_buckets=int(get("num_buckets", 320)) if relative else 0,
        rel_max_distance=int(get("max_distance", 1280)),
        normalize_waveform=bool(get("normalize", False)),
        projection_dropout=float(get("dropout_input", 0.0)), hidden_dropout=float(get("dropout", 0.1)),
        attention_dropout=float(get("attention_dropout", 0.1)),
        activation_dropout=float(get("activation_dropout", 0.0)), layer_drop=float(get("encoder_layerdrop", 0.0)),
    )


def _family(settings: Mapping, names: Iterable[str], relative: bool, depth: int) -> Family:
    kind = " ".join(str(settings.get(key, "")) for key in ("_name", "arch", "name")).lower()
    if relative:
        return "wavlm"
    if depth > 1 or "data2vec" in kind:
        return "data2vec"
    if "relative_position_embedding" in settings:  # UniSpeech-SAT is released with WavLM's settings, less the bias
        return "unispeech_sat"
    if "hubert" in kind or any(name.endswith(("label_embs_concat", "untie_final_proj")) for name in names) \
            or "label_rate" in settings:
        return "hubert"
    return "wav2vec2"


def parse_conv_layers(value, source: str) -> tuple[tuple[int, int, int], ...]:
    """fairseq writes them as Python: `[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2`."""
    try:
        layers = _arithmetic(ast.parse(value, mode="eval").body) if isinstance(value, str) else value
        layers = tuple(tuple(int(number) for number in layer) for layer in layers)
    except (SyntaxError, TypeError, ValueError):
        layers = ()
    if not layers or any(len(layer) != 3 for layer in layers):
        raise InputError(f"{source}: cannot read conv_feature_layers '{value}' (expected [(channels, kernel, stride), "
                         "...])")
    return layers


def _arithmetic(node: ast.AST):
    """Lists, numbers, + and * only."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_arithmetic(item) for item in node.elts]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _arithmetic(node.left) + _arithmetic(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _arithmetic(node.left), _arithmetic(node.right)
        if isinstance(left, list) and isinstance(right, int) and right <= 64:
            return left * right
    raise ValueError("not a list of layers")
