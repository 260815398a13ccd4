"""The native SSL front-end: `frontend: ssl`, and `frontend: huggingface` in WeDefense's configs."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.frontend import SSLOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.frontend.pretrained import PretrainedFrontend
from wedefense.frontend.ssl.adapters import adapt
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.encoder import Encoder, pad_to_s3prl
from wedefense.frontend.ssl.formats.peft import load_adapter, read_adapter
from wedefense.frontend.ssl.formats.read import find_checkpoint, load_encoder
from wedefense.frontend.ssl.formats.tensor_names import locate, to_our_names
from wedefense.frontend.ssl.source import looks_like_reference
from wedefense.frontend.ssl.summary import describe, rows
from wedefense.frontend.ssl.zoo import MODELS, find_model
from wedefense.utils.devices import numbers_on
from wedefense.utils.log import get_logger

_CHOICES = ("projection_dropout", "hidden_dropout", "attention_dropout", "activation_dropout", "layer_drop",
            "normalize_waveform", "final_norm")
S3PRL_MINIMUM = 800  # samples: s3prl pads anything shorter with zeros


class SSLFrontend(PretrainedFrontend):
    """An encoder of the wav2vec 2.0 family, read from any checkpoint of the field.

    With `architecture` the encoder is built without reading a checkpoint, for weights that are loaded afterwards.
    State dicts of WeDefense load as they are, whether its front-end was s3prl's or Hugging Face's.
    """

    def __init__(self, options: SSLOptions, sample_rate: int = 16000, architecture: Architecture | None = None):
        own = {"freeze_extractor": options.freeze_extractor, "gradient_checkpointing": options.gradient_checkpointing}
        read = architecture is None
        if architecture is not None:
            upstream = Encoder(with_choices(architecture, options), **own)
        else:
            upstream = _read(options, own)
        architecture = upstream.architecture
        super().__init__(options, sample_rate, upstream, architecture.dim, architecture.num_blocks + 1,
                         architecture.stride, architecture.receptive_field)
        if architecture.norm_first and not architecture.final_norm:
            upstream.encoder.transformer.layer_norm.requires_grad_(False)  # takes no part
        adapt(upstream, options.adapters)
        if options.adapters.path and read:
            load_adapter(upstream, options.adapters, read_adapter(options.adapters.path))
        self.s3prl_frames = options.s3prl_frames
        self.register_load_state_dict_pre_hook(rename_upstream)

    @property
    def architecture(self) -> Architecture:
        return self.upstream.architecture

    @staticmethod
    def serves(name: str) -> bool:
        """Names of the table, and whatever names a file or folder or a hub's model: its content is looked at later."""
        return find_model(name) is not None or Path(name).exists() or looks_like_reference(name)

    @staticmethod
    def model_names() -> Iterable[str]:
        return MODELS

    @staticmethod
    def summary(name: str, download_dir: str | None) -> dict[str, str]:
        return rows(find_checkpoint(name, None, download_dir))

    def encode(self, wav: Tensor, lengths: list[int]) -> LayerFeatures:
        if not self.s3prl_frames:
            return self.upstream(wav, lengths)
        return encode_as_s3prl(self.upstream, wav, lengths)


def with_choices(architecture: Architecture, options: SSLOptions) -> Architecture:
    """The architecture with what the options set: dropouts and norms at either end."""
    chosen = {name: getattr(options, name) for name in _CHOICES if getattr(options, name) is not None}
    return dataclasses.replace(architecture, **chosen)


def without_layer_drop(architecture: Architecture) -> Architecture:
    return dataclasses.replace(architecture, layer_drop=0.0)


def _read(options: SSLOptions, own: dict) -> Encoder:
    upstream = options.upstream_args
    checkpoint = find_checkpoint(upstream.name, upstream.path_or_url, options.download_dir)
    get_logger().info(describe(checkpoint))
    return load_encoder(checkpoint, with_choices(checkpoint.architecture, options), **own)


def encode_as_s3prl(encoder: Encoder, wav: Tensor, lengths: list[int]) -> LayerFeatures:
    """s3prl's frames: ceil(samples / 320) of them, the last one repeated."""
    extended, stride = [max(samples, S3PRL_MINIMUM) for samples in lengths], encoder.architecture.stride
    if extended == lengths:
        return pad_to_s3prl(encoder(wav, extended), extended, stride)
    wav = wav * frame_mask(numbers_on(tuple(lengths), wav.device), wav.shape[1])
    wav = F.pad(wav, (0, max(max(extended) - wav.shape[1], 0)))
    return cut(pad_to_s3prl(encoder(wav, extended), extended, stride), [-(-samples // stride) for samples in lengths])


def cut(features: LayerFeatures, counts: list[int]) -> LayerFeatures:
    """Keep the first `counts` frames of each utterance."""
    layers = [layer[:, :max(counts)] for layer in features.layers]
    features = LayerFeatures(layers, numbers_on(tuple(counts), layers[0].device), counts)
    valid = features.mask()[:, :, None]
    return features.with_layers([layer * valid for layer in layers])


def rename_upstream(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """Before loading: the encoder's tensors under foreign names (WeDefense with s3prl, ...) get ours."""
    start = prefix + "upstream."
    inside = {key: value for key, value in state_dict.items() if key.startswith(start)}
    found = locate(inside)
    if found is None or found == ("torchaudio", start) and not any(key.endswith("weight_g") for key in inside):
        return
    for key in inside:
        del state_dict[key]
    renamed = to_our_names(inside, *found, "the checkpoint")
    state_dict.update({start + name: value for name, value in renamed.items()})
