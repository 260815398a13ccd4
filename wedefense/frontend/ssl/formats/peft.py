"""Folders of Hugging Face's PEFT: LoRA of an encoder of transformers, read and written.

`adapter_config.json` says what kind of adapter it is, `adapter_model.safetensors` holds its tensors; nothing else of
the folder is opened, and what the config names (a base model, modules) is never looked for.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from wedefense.config.adapters import MOST, AdapterOptions
from wedefense.frontend.ssl.adapters import adapted_products, blocks_of
from wedefense.utils.errors import InputError, OptionError, blamed_on
from wedefense.utils.files import atomic_write
from wedefense.utils.finite import require_finite
from wedefense.utils.json_file import read_json
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few
from wedefense.utils.visible import visible

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_CLASSES = {"wav2vec2": "wav2vec2.modeling_wav2vec2:Wav2Vec2Model", "hubert": "hubert.modeling_hubert:HubertModel",
            "wavlm": "wavlm.modeling_wavlm:WavLMModel", "whisper": "whisper.modeling_whisper:WhisperModel",
            "data2vec": "data2vec.modeling_data2vec_audio:Data2VecAudioModel",
            "unispeech_sat": "unispeech_sat.modeling_unispeech_sat:UniSpeechSatModel"}
_PLACES = {**{f"attention.{name}_proj": f"{name}_proj" for name in ("q", "k", "v", "out")},
           **{f"self_attn.{name}_proj": f"{name}_proj" for name in ("q", "k", "v", "out")},
           **{f"feed_forward.{name}": name for name in ("intermediate_dense", "output_dense")},
           "fc1": "intermediate_dense", "fc2": "output_dense"}
_INSIDE = re.compile(r"\b(encoder|feature_extractor|feature_projection|layers)\.")  # of a tensor that has a part in it
_KINDS = {"lora_A.weight": "down", "lora_B.weight": "up", "lora_magnitude_vector": "magnitude",
          "lora_magnitude_vector.weight": "magnitude"}
_TENSOR = re.compile(r"base_model\.model\.(?P<before>(?:\w+\.)*?)layers\.(?P<block>\d{1,4})\.(?P<place>"
                     + "|".join(map(re.escape, _PLACES)) + r")\.(?P<kind>" + "|".join(map(re.escape, _KINDS)) + ")")
# What else a config says where it changes nothing of what the tensors are.
_READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"}
_IDLE = {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
         "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern",
         "megatron_core", "eva_config", "lora_ga_config", "qalora_group_size", "runtime_config", "ensure_weight_tying"}
_OF_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # ways to begin that change the weights below too
_NUMBERS = ("F16", "BF16", "F32", "F64")


class Adapter(NamedTuple):
    """What a folder holds."""

    folder: Path
    options: AdapterOptions
    # by block and product: down (r, in), up (out, r), with DoRA magnitude (out,)
    tensors: dict[tuple[int, str], dict[str, Tensor]]
    base: str  # what it says that it was trained over


def read_adapter(folder: str | Path) -> Adapter:
    """`InputError` for whatever is not plain LoRA of the products of blocks."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with {CONFIG} and {WEIGHTS} (of a hub: hf download "
                         "OWNER/NAME --local-dir FOLDER)")
    with blamed_on(folder, "PEFT adapter"):
        config = read_json(folder / CONFIG)
        r = _checked(config, folder / CONFIG)
        tensors = _read_tensors(folder / WEIGHTS, r)
        base = visible(str(config.get("base_model_name_or_path") or "an unnamed model"))[:200]
        return Adapter(folder, _options(config, r, tensors, folder), tensors, base)


def _checked(config: Mapping[str, Any], path: Path) -> int:
    """The rank, of a config that asks for nothing unknown."""
    if config.get("peft_type") != "LORA":
        raise InputError(f"{path}: peft_type {config.get('peft_type')!r} is not 'LORA', the one kind that is read")
    begins = config.get("init_lora_weights", True)
    if isinstance(begins, str) and begins.lower().startswith(_OF_BASE):
        raise InputError(f"{path}: init_lora_weights {begins!r} changed the weights below the adapter too; save it "
                         "with PEFT's path_initial_model_for_weight_conversion, and give that")
    if config.get("bias", "none") != "none":
        raise InputError(f"{path}: bias {config['bias']!r}: biases were trained, which are not read; train with bias: "
                         "none, or merge the adapter into its model and give that")
    for key, value in config.items():
        if key not in _READ | _IDLE | {"init_lora_weights", "bias"} and value not in (None, False, "", [], {}, "none"):
            raise InputError(f"{path}: {key} {str(value)[:60]!r} is not plain LoRA, and is not read; merge the adapter "
                             "into its model and give that")
    r = config.get("r")
    if not isinstance(r, int) or isinstance(r, bool) or not 1 <= r <= MOST:
        raise InputError(f"{path}: r must be a whole number between 1 and {MOST}, got {str(r)[:30]!r}")
    return r


def _read_tensors(path: Path, r: int) -> dict[tuple[int, str], dict[str, Tensor]]:
    """Sizes are looked at before any tensor is read."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; save the adapter with safetensors (save_pretrained does)")
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as content:
            parts = {name: content.get_slice(name) for name in content.keys()}
            for name, (place, kind) in _places(parts, path).items():
                _check(name, kind, parts[name], r, path)
                if kind in found.setdefault(place, {}):
                    raise InputError(f"{path}: {place[1]} of block {place[0]} is there twice, the second time as "
                                     f"'{name}'; get it again")
                found[place][kind] = content.get_tensor(name).float()
    except SafetensorError as error:
        raise InputError(f"{path}: no safetensors file, or a damaged one ({error}); get it again") from None
    for (block, product), own in found.items():
        missing = [letter for letter, kind in (("A", "down"), ("B", "up")) if kind not in own]
        if missing:
            raise InputError(f"{path}: {product} of block {block} lacks lora_{missing[0]}.weight; get it again")
        require_finite({f"layers.{block}.{product}.{kind}": tensor for kind, tensor in own.items()}, path)
    if not found:
        raise InputError(f"{path}: holds no LoRA of blocks of an encoder ({first_few(parts)})")
    return found


def _places(names: Iterable[str], path: Path) -> dict[str, tuple[tuple[int, str], str]]:
    """Where each tensor belongs; those of a decoder or of a head are left behind, and spoken of."""
    found, left = {}, []
    for name in names:
        match = _TENSOR.fullmatch(name)
        if "decoder." in name or match is None and not _INSIDE.search(name):
            left.append(name)
        elif match is not None:
            found[name] = (int(match["block"]), _PLACES[match["place"]]), _KINDS[match["kind"]]
        else:
            places = ", ".join(dict.fromkeys(_PLACES.values()))
            raise InputError(f"{path}: tensor '{visible(name)[:120]}' changes what has no adapters here ({places} of "
                             "blocks may have them); merge the adapter into its model and give that")
    if left:
        get_logger().warning("%s: %d tensors are of no encoder and left behind: %s", path, len(left), first_few(left))
    return found


def _check(name: str, kind: str, part: Any, r: int, path: Path) -> None:
    """Shape and type, before it is read."""
    shape = part.get_shape()
    rank = {"down": shape[:1], "up": shape[1:], "magnitude": [r]}[kind]
    if rank != [r] or len(shape) != (1 if kind == "magnitude" else 2):
        raise InputError(f"{path}: tensor '{name}' has shape {tuple(shape)}, which is not of rank {r}, the r of "
                         f"{CONFIG}; ranks that differ are not read")
    if part.get_dtype() not in _NUMBERS:
        raise InputError(f"{path}: tensor '{name}' is of type {part.get_dtype()}, not one of {', '.join(_NUMBERS)}; "
                         "save the adapter without quantisation")


def _options(config: Mapping[str, Any], r: int, tensors: Mapping, folder: Path) -> AdapterOptions:
    blocks, products = sorted({block for block, _ in tensors}), {product for _, product in tensors}
    targets: Any = tuple(product for product in dict.fromkeys(_PLACES.values()) if product in products)
    absent = [(block, product) for block in blocks for product in targets if (block, product) not in tensors]
    if absent:
        raise InputError(f"{folder}: block {absent[0][0]} has no adapter of {absent[0][1]}, and others have; adapters "
                         "of different products in different blocks are not read")
    dora = bool(config.get("use_dora", False))
    if any(("magnitude" in parts) != dora for parts in tensors.values()):
        raise InputError(f"{folder / CONFIG}: use_dora is {dora}, and {WEIGHTS} does not say so; get both again")
    try:
        return AdapterOptions("lora", layers=tuple(blocks), r=r, alpha=float(config.get("lora_alpha", 8)),
                              rank_stabilised=bool(config.get("use_rslora", False)), dora=dora, targets=targets)
    except OptionError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from None


@torch.no_grad()
def load_adapter(encoder: nn.Module, options: AdapterOptions, adapter: Adapter) -> None:
    """Into an encoder with adapters of `options`, which must be those of the file."""
    products = adapted_products(encoder)
    blocks = {"layers": tuple(sorted({block for block, _ in products}))}
    for key in ("r", "alpha", "rank_stabilised", "dora", "targets", "layers"):
        ours, theirs = blocks.get(key, getattr(options, key)), getattr(adapter.options, key)
        if isinstance(theirs, tuple):
            ours, theirs = sorted(ours), sorted(theirs)
        if ours != theirs:
            raise OptionError(f"adapters.{key}", f"is {ours}, and the adapter in {adapter.folder} has {theirs}; set "
                                                 f"{key}: {theirs}")
    for (block, name), parts in adapter.tensors.items():
        product = products[block, name]
        own = {"down": product.adapter.down.shape, "up": product.adapter.up.shape, "magnitude": product.bias.shape}
        for kind, tensor in parts.items():
            if tensor.shape != own[kind]:
                raise InputError(f"{adapter.folder / WEIGHTS}: {kind} of {name} of block {block} has shape "
                                 f"{tuple(tensor.shape)}, and this encoder wants {tuple(own[kind])}; it was trained "
                                 f"over another model ({adapter.base})")
        product.adapter.down.copy_(parts["down"])
        product.adapter.up.copy_(parts["up"])
        if "magnitude" in parts:
            product.adapter.gain.copy_(parts["magnitude"] / product.weight.norm(dim=1) - 1)


@torch.no_grad()
def save_adapter(encoder: nn.Module, options: AdapterOptions, folder: str | Path, base: str | None) -> list[Path]:
    """A folder that PEFT loads over the `transformers` model of this encoder; the files."""
    if options.type != "lora":
        raise InputError(f"adapters.type: PEFT has no form for {options.in_words()}; only lora is written")
    if options.norms:
        raise InputError("adapters.norms: layer norms were trained too, which PEFT's folder would leave behind; share "
                         "the model whole (wedefense export --format hub), or merge it")
    folder, family = Path(folder), encoder.architecture.family
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    products = adapted_products(encoder)
    for (block, name), product in products.items():
        start = f"base_model.model.encoder.layers.{block}.{_place(name, family)}"
        tensors[f"{start}.lora_A.weight"] = product.adapter.down
        tensors[f"{start}.lora_B.weight"] = product.adapter.up
        if options.dora:
            tensors[f"{start}.lora_magnitude_vector"] = (1 + product.adapter.gain) * product.weight.norm(dim=1)
    module, _, kind = _CLASSES[family].partition(":")
    config = {"peft_type": "LORA", "task_type": None, "base_model_name_or_path": base, "inference_mode": True,
              "auto_mapping": {"base_model_class": kind, "parent_library": f"transformers.models.{module}"},
              "r": options.r, "lora_alpha": options.alpha, "lora_dropout": options.dropout, "bias": "none",
              "use_rslora": options.rank_stabilised, "use_dora": options.dora, "fan_in_fan_out": False,
              "target_modules": _target(encoder, products, options, family)}
    with atomic_write(folder / WEIGHTS) as stream:
        stream.write(safetensors_bytes({name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
                                       metadata={"format": "pt"}))
    with atomic_write(folder / CONFIG, "w") as stream:
        json.dump(config, stream, indent=2)
    return [folder / CONFIG, folder / WEIGHTS]


def _place(product: str, family: str) -> str:
    """The name of a product inside a block of transformers."""
    named = [place for place, ours in _PLACES.items() if ours == product]
    return next(place for place in named if place.startswith(("self_attn.", "fc")) == (family == "whisper"))


def _target(encoder: nn.Module, products: Mapping, options: AdapterOptions, family: str) -> list[str] | str:
    """Names that PEFT looks for; an expression where they are in other blocks too, as in Whisper's decoder."""
    blocks = sorted({block for block, _ in products})
    if family != "whisper" and len(blocks) == len(blocks_of(encoder)):
        return list(options.targets)
    places = "|".join(re.escape(_place(name, family)) for name in options.targets)
    return rf"(.*\.)?encoder\.layers\.({'|'.join(map(str, blocks))})\.({places})"
