"""The encoders of s3prl, torchaudio and transformers, built from our architecture and holding our weights.

Used by the benchmark and by the tests that compare every layer with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.formats.tensor_names import locate, to_our_names
from wedefense.utils.log import get_logger


class PeerMissing(Exception):
    """A package cannot take part; the message says why."""


@dataclass
class Peer:
    """A model of another package; `layers(wav)` takes (batch, samples) of one length."""

    name: str
    model: nn.Module
    layers: Callable[[Tensor], list[Tensor]]
    has_first: bool = True   # z_0 is among the layers
    final_norm: bool = True  # the last layer of a norm-first model is normalised

    def our_state(self) -> dict[str, Tensor]:
        """The model's tensors under our names."""
        return _ours(self.model.state_dict(), self.name)

    def hold_weights_of(self, encoder: Encoder) -> "Peer":
        """Fill the model with our weights: numbers in the place of its own show where each of them goes."""
        state, ours = self.model.state_dict(), encoder.state_dict()
        sizes = [value.numel() for value in state.values()]
        numbers = torch.arange(sum(sizes)).split(sizes)
        places = _ours({name: part.view_as(value) for (name, value), part in zip(state.items(), numbers, strict=True)},
                       self.name)
        assert ours.keys() == places.keys(), ours.keys() ^ places.keys()
        flat = torch.cat([value.flatten() for value in state.values()])
        for name, place in places.items():
            flat[place] = ours[name]
        for value, part in zip(state.values(), flat.split(sizes), strict=True):
            value.copy_(part.view_as(value))
        return self


def _ours(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    return to_our_names(state, *locate(state), source)


def normalised(wav: Tensor, architecture: Architecture) -> Tensor:
    """What a user of the peer has to do before it."""
    return F.layer_norm(wav, wav.shape[-1:], eps=architecture.normalize_eps) if architecture.normalize_waveform else wav


def of_torchaudio(a: Architecture) -> Peer:
    import torchaudio

    common = dict(
        extractor_mode=a.extractor_norm, extractor_conv_layer_config=list(a.conv_layers),
        extractor_conv_bias=a.conv_bias, encoder_embed_dim=a.dim, encoder_projection_dropout=a.projection_dropout,
        encoder_pos_conv_kernel=a.pos_conv_kernel, encoder_pos_conv_groups=a.pos_conv_groups,
        encoder_num_layers=a.num_blocks, encoder_num_heads=a.total_heads,
        encoder_attention_dropout=a.attention_dropout, encoder_ff_interm_features=a.blocks[0].ff_dim,
        encoder_ff_interm_dropout=a.activation_dropout, encoder_dropout=a.hidden_dropout,
        encoder_layer_norm_first=a.norm_first, encoder_layer_drop=0.0, aux_num_out=None)
    if a.rel_buckets:
        model = torchaudio.models.wavlm_model(
            encoder_num_buckets=a.rel_buckets, encoder_max_distance=a.rel_max_distance, **common)
    else:
        model = torchaudio.models.wav2vec2_model(**common)
    return Peer("torchaudio", model, lambda wav: model.extract_features(normalised(wav, a))[0],
                has_first=False, final_norm=False)


def of_s3prl(a: Architecture) -> Peer:
    options = dict(
        extractor_mode="layer_norm" if a.extractor_norm == "layer_norm" else "default", conv_bias=a.conv_bias,
        conv_feature_layers=str(list(a.conv_layers)), encoder_embed_dim=a.dim, encoder_layers=a.num_blocks,
        encoder_ffn_embed_dim=a.blocks[0].ff_dim, encoder_attention_heads=a.total_heads, layer_norm_first=a.norm_first,
        dropout=a.hidden_dropout, attention_dropout=a.attention_dropout, activation_dropout=a.activation_dropout,
        dropout_input=a.projection_dropout, encoder_layerdrop=0.0, conv_pos=a.pos_conv_kernel,
        conv_pos_groups=a.pos_conv_groups, feature_grad_mult=1.0)
    model = _s3prl_model(a, options)
    return Peer("s3prl", model, lambda wav: _hooked(model, normalised(wav, a)))


def _s3prl_model(a: Architecture, options: dict) -> nn.Module:
    if a.family in ("wavlm", "unispeech_sat"):
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        return WavLM(WavLMConfig(dict(
            options, relative_position_embedding=bool(a.rel_buckets), gru_rel_pos=bool(a.rel_buckets),
            num_buckets=a.rel_buckets or 320, max_distance=a.rel_max_distance)))
    if a.family == "hubert":
        from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

        return HubertModel(HubertConfig(label_rate=50, **options), HubertPretrainingConfig(), [None])
    if a.family == "data2vec":
        from s3prl.upstream.data2vec.data2vec_model import Data2VecAudioConfig, Data2VecAudioModel

        return Data2VecAudioModel(Data2VecAudioConfig(**options, pos_conv_depth=a.pos_conv_depth))
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    # the quantizer is of pretraining alone: a handful of entries keeps it small
    return Wav2Vec2Model(Wav2Vec2Config(**options, quantize_targets=True, latent_vars=2, latent_groups=2,
                                        final_dim=a.dim))


def _hooked(model: nn.Module, wav: Tensor) -> list[Tensor]:
    """What s3prl's experts collect: the input of every block, and the encoder's output."""
    kept = []
    handles = [block.register_forward_hook(lambda _, inputs, kwargs, output: kept.append(inputs[0].transpose(0, 1)),
                                           with_kwargs=True) for block in model.encoder.layers]
    handles.append(model.encoder.register_forward_hook(lambda _, inputs, output: kept.append(output[0])))
    try:
        model.extract_features(wav, padding_mask=torch.zeros_like(wav, dtype=torch.bool), mask=False)
    finally:
        for handle in handles:
            handle.remove()
    frames = min(layer.shape[1] for layer in kept)  # some pad to an even number inside
    return [layer[:, :frames] for layer in kept]


def of_transformers(a: Architecture) -> Peer:
    import transformers

    prefix = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec": "Data2VecAudio",
              "unispeech_sat": "UniSpeechSat"}[a.family]
    channels, kernels, strides = zip(*a.conv_layers, strict=True)
    special = {}
    if a.rel_buckets:
        special = dict(num_buckets=a.rel_buckets, max_bucket_distance=a.rel_max_distance)
    if a.family == "data2vec":
        special = dict(num_conv_pos_embeddings=a.pos_conv_depth,
                       conv_pos_kernel_size=max(3, a.pos_conv_kernel // a.pos_conv_depth))
    else:
        special |= dict(num_conv_pos_embeddings=a.pos_conv_kernel, do_stable_layer_norm=a.norm_first,
                        feat_extract_norm="layer" if a.extractor_norm == "layer_norm" else "group")
    config = getattr(transformers, prefix + "Config")(
        hidden_size=a.dim, num_hidden_layers=a.num_blocks, num_attention_heads=a.total_heads,
        intermediate_size=a.blocks[0].ff_dim, conv_dim=channels, conv_kernel=kernels, conv_stride=strides,
        conv_bias=a.conv_bias, num_conv_pos_embedding_groups=a.pos_conv_groups, hidden_dropout=a.hidden_dropout,
        attention_dropout=a.attention_dropout, activation_dropout=a.activation_dropout,
        feat_proj_dropout=a.projection_dropout, layerdrop=0.0, apply_spec_augment=False, **special)
    model = getattr(transformers, prefix + "Model")(config)
    return Peer("transformers", model, lambda wav: _hidden_states(model(normalised(wav, a), output_hidden_states=True)))


def _hidden_states(output) -> list[Tensor]:
    """The last of the hidden states is as the last block gave it; `last_hidden_state` is what s3prl hands out."""
    return [*output.hidden_states[:-1], output.last_hidden_state]


def peers_of(architecture: Architecture, names: Sequence[str] = ("s3prl", "transformers", "torchaudio")) -> list[Peer]:
    """Those packages of `names` that are installed and have this family; the log says which one is left out and why.

    torchaudio has neither data2vec nor UniSpeech-SAT by name.
    """
    peers = []
    for name in names:
        try:
            peers.append(peer_of(name, architecture))
        except PeerMissing as reason:
            get_logger().warning("%s is left out: %s", name, reason)
    return peers


def peer_of(name: str, architecture: Architecture) -> Peer:
    """Raises PeerMissing with a word where the package is not installed or lacks the family."""
    if name == "torchaudio" and architecture.pos_conv_depth > 1:
        raise PeerMissing(f"it has no {architecture.family}")
    try:
        return {"s3prl": of_s3prl, "transformers": of_transformers, "torchaudio": of_torchaudio}[name](architecture)
    except (ImportError, OSError) as error:  # OSError: a library of the package does not fit this torch
        raise PeerMissing(f"not installed ({error})") from error
