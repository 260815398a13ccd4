"""Hugging Face's folders: `config.json`, the weights, and `preprocessor_config.json`."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wedefense.frontend.ssl.architecture import Architecture, Family, full_blocks
from wedefense.frontend.ssl.zoo import WEIGHT_FILES
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.json_file import read_json
from wedefense.utils.safe_load import load_torch

FAMILIES: dict[str, Family] = {"wav2vec2": "wav2vec2", "hubert": "hubert", "wavlm": "wavlm",
                               "data2vec-audio": "data2vec", "unispeech-sat": "unispeech_sat"}
_EPS = 1e-7  # of Hugging Face's waveform normalisation


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, from one file or from the shards that an index lists."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return read_weight_file(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            files = sorted(set(read_json(index).get("weight_map", {}).values()))
            return {key: value for file in files for key, value in read_weight_file(folder / Path(file).name).items()}
    raise InputError(f"{folder}: no weights (expected {' or '.join(WEIGHT_FILES)} beside config.json)")


def read_weight_file(path: Path, records: bool = True):
    """The content of a .safetensors or PyTorch file, told apart by how it begins; `records` as in `load_torch`."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with open(path, "rb") as stream:
        start = stream.read(9)
    if start[8:9] != b"{":  # safetensors: eight bytes of length, then JSON
        return load_torch(path, records)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: truncated or damaged safetensors file ({error}); fetch it again") from None


def normalisation(folder: Path, default: bool) -> bool:
    path = folder / "preprocessor_config.json"
    return bool(read_json(path).get("do_normalize", default)) if path.is_file() else default


def hf_architecture(config: Mapping, folder: Path) -> Architecture:
    source, kind = f"{folder / 'config.json'}", config.get("model_type", "")
    if kind not in FAMILIES:
        raise InputError(f"{source}: model_type '{kind}' is not an encoder of the wav2vec 2.0 family"
                         f"{did_you_mean(kind, FAMILIES)}")
    for key, only in (("hidden_act", "gelu"), ("feat_extract_activation", "gelu"), ("feat_proj_layer_norm", True),
                      ("conv_pos_batch_norm", False)):
        if config.get(key, only) != only:
            raise InputError(f"{source}: {key} {config[key]!r} is not supported (expected {only!r})")
    family, get = FAMILIES[kind], config.get
    stacked = family == "data2vec"
    layer_norm = stacked or get("feat_extract_norm", "group") == "layer"
    heads, depth = int(get("num_attention_heads", 12)), int(get("num_conv_pos_embeddings", 5)) if stacked else 1
    kernel = depth * int(get("conv_pos_kernel_size", 19)) if stacked else int(get("num_conv_pos_embeddings", 128))
    conv = (get("conv_dim", [512] * 7), get("conv_kernel", [10, 3, 3, 3, 3, 2, 2]),
            get("conv_stride", [5, 2, 2, 2, 2, 2, 2]))
    return Architecture(
        family=family,
        blocks=full_blocks(int(get("num_hidden_layers", 12)), heads, int(get("intermediate_size", 3072))),
        dim=int(get("hidden_size", 768)), total_heads=heads,
        conv_layers=tuple((int(dim), int(width), int(stride)) for dim, width, stride in zip(*conv, strict=True)),
        extractor_norm="layer_norm" if layer_norm else "group_norm",
        conv_bias=bool(get("conv_bias", False)), norm_first=bool(get("do_stable_layer_norm", False)) and not stacked,
        pos_conv_kernel=kernel, pos_conv_groups=int(get("num_conv_pos_embedding_groups", 16)), pos_conv_depth=depth,
        rel_buckets=int(get("num_buckets", 320)) if family == "wavlm" else 0,
        rel_max_distance=int(get("max_bucket_distance", 800)),
        normalize_waveform=normalisation(folder, layer_norm), normalize_eps=_EPS,
        projection_dropout=float(get("feat_proj_dropout", 0.0)), hidden_dropout=float(get("hidden_dropout", 0.1)),
        attention_dropout=float(get("attention_dropout", 0.1)),
        activation_dropout=float(get("activation_dropout", 0.1)), layer_drop=float(get("layerdrop", 0.1)),
    )
