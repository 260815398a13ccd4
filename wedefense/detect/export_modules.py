"""Detectors in operations that exporters know, with dynamic shapes.

The front-ends here compute on the padded batch what the fast ones in `wedefense.frontend` compute on packed rows, by
frequencies or in chunks; weights are the same, and outputs agree to rounding.

Why there are two encoders: exporters know neither packed rows nor oneDNN's products, so that one for both would be the
padded form here with fast products laid over it. `tools/bench/twin.py` measures that: on one CPU thread WavLM Base in
float32 then takes 1.57 times as long as the encoder on four crops of 3 s and 2.58 times on eight utterances of 3 to
10 s (1.49 and 2.56 times with PyTorch's own products). What the encoder gains is little of the products; it is padding
that is not computed, norms folded into convolutions and chunks that stay in the cache.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wedefense.config.frontend import FRONTENDS
from wedefense.config.registry import imported
from wedefense.frontend.acoustic import fourier_kernels, power
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.frontend.pretrained import PretrainedFrontend
from wedefense.frontend.protocol import Frontend
from wedefense.frontend.ssl.adapters import merge
from wedefense.frontend.ssl.attention import Attention, distance_buckets
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.frontend import S3PRL_MINIMUM
from wedefense.frontend.ssl.positional import StackedPositionalConv, same_conv
from wedefense.frontend.ssl.transformer import Block
from wedefense.frontend.whisper import HOP, N_FFT, WINDOW, WhisperEncoder, mel_filters
from wedefense.models.backend import ReadLinear
from wedefense.models.lcnn import BLSTM
from wedefense.pruning.hard_concrete import HardConcrete
from wedefense.utils.errors import InputError


def exportable_frontend(frontend: Frontend) -> Frontend:
    """The exportable counterpart of a front-end."""
    own = FRONTENDS.row_of(type(frontend))
    if own.exportable:
        return imported(own.exportable)(frontend)
    others = ", ".join(name for name in FRONTENDS.names() if FRONTENDS.row(name).exportable)
    raise InputError(f"the front-end {type(frontend).__name__} cannot be exported: it computes with code of its own "
                     f"that exporters do not know; {others} can (ssl with s3prl_frames: True also with "
                     "weights of frontend s3prl)")


def exportable_copy(module: nn.Module) -> nn.Module:
    """A copy in which modules with a fast path of their own are PyTorch's, and weight norms are folded in."""
    module = copy.deepcopy(module)
    merge(module)
    for name, part in list(module.named_modules()):
        if isinstance(part, HardConcrete):
            raise InputError("pruning is under way in this model; cut the closed units out first and export that")
        if parametrize.is_parametrized(part):  # PyTorch's own removal would break the original, which shares the class
            _put(module, name, _folded(part))
        for kind in (nn.Linear, nn.Conv1d):
            if isinstance(part, kind) and type(part) not in (kind, ReadLinear):
                part.__class__ = _bare(part, kind)
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not part.affine:  # ONNX's norm has them
            part.weight = nn.Parameter(torch.ones(part.num_features))
            part.bias = nn.Parameter(torch.zeros(part.num_features))
        if isinstance(part, BLSTM):
            _put(module, name, ExportableBLSTM(part))
    return module.eval()


def _bare(part: nn.Module, kind: type) -> type:
    for name in [name for name, value in vars(part).items() if type(value).__module__.startswith("wedefense.")]:
        delattr(part, name)
    return kind


def _folded(part: nn.Conv1d) -> nn.Conv1d:
    conv = nn.Conv1d(part.in_channels, part.out_channels, part.kernel_size, padding=part.padding, groups=part.groups)
    conv.load_state_dict({"weight": part.weight.detach(), "bias": part.bias.detach()})
    return conv


def _put(root: nn.Module, name: str, part: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(root.get_submodule(owner), last, part)


class ExportableSSL(nn.Module):
    """The native encoder."""

    longest = math.inf

    def __init__(self, frontend: PretrainedFrontend):
        super().__init__()
        self.architecture, self.s3prl_frames = frontend.architecture, frontend.s3prl_frames
        self.feat_dim, self.num_layers, self.frame_shift = frontend.feat_dim, frontend.num_layers, frontend.frame_shift
        self.min_samples = frontend.min_samples
        self.featurizer = copy.deepcopy(frontend.featurizer)
        self.encoder: Encoder = exportable_copy(frontend.upstream)

    def forward(self, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        extended = lengths.clamp(min=S3PRL_MINIMUM) if self.s3prl_frames else lengths
        x, frames = self._extracted(self._prepared(wav * frame_mask(lengths, wav.shape[1]), extended), extended)
        layers = self._transformed(x, frames)
        if self.s3prl_frames:
            stride = self.architecture.stride
            wanted = torch.div(lengths + stride - 1, stride, rounding_mode="floor")  # of ONNX -(-a // b) is no ceiling
            layers, frames = self._repeated_last(layers, frames, wanted, wav.shape[1] // stride)
        return LayerFeatures(self.featurizer(layers), frames)

    def _prepared(self, wav: Tensor, lengths: Tensor) -> Tensor:
        if not self.architecture.normalize_waveform:
            return wav
        valid, count = frame_mask(lengths, wav.shape[1]), lengths[:, None]
        wav = (wav - wav.sum(1, keepdim=True) / count) * valid
        return wav * torch.rsqrt(wav.square().sum(1, keepdim=True) / count + self.architecture.normalize_eps)

    def _extracted(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """-> (batch, frames, channels) and the valid frames of each utterance"""
        extractor, x = self.encoder.feature_extractor, wav[:, None]
        for layer, (_, kernel, stride) in zip(extractor.conv_layers, self.architecture.conv_layers):
            x = F.conv1d(x, layer.conv.weight, layer.conv.bias, stride=stride)  # (batch, channels, frames)
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
            if layer.norms_time:
                x = self._normed_over_time(x, lengths, layer.layer_norm)
            elif layer.norms_channels:
                x = layer.layer_norm(x.transpose(1, 2)).transpose(1, 2)
            x = F.gelu(x)
        x = x.transpose(1, 2)
        return (x if extractor.dummy_weight is None else x * extractor.dummy_weight), lengths

    @staticmethod
    def _normed_over_time(x: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
        valid, count = frame_mask(lengths, x.shape[2])[:, None], lengths[:, None, None]
        centred = x - (x * valid).sum(2, keepdim=True) / count
        variance = (centred.square() * valid).sum(2, keepdim=True) / count
        return centred * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]

    def _transformed(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        projection, transformer = self.encoder.encoder.feature_projection, self.encoder.encoder.transformer
        frames = x.shape[1]
        valid = frame_mask(lengths, frames)[..., None]                          # (batch, frames, 1)
        x = projection.projection(projection.layer_norm(x)) * valid
        x = x + self._position(transformer.pos_conv_embed, x, valid)
        if not transformer.norm_first:
            x = transformer.layer_norm(x)
        mask = _key_mask(valid)
        bias = self._position_bias(transformer.layers[0].attention, frames) if transformer.relative else None
        outputs = [x * valid]
        for block in transformer.layers:
            x = _block(block, x, mask, bias)
            outputs.append(x * valid)
        if transformer.norm_first and transformer.final_norm:
            outputs[-1] = transformer.layer_norm(x) * valid
        return outputs

    @staticmethod
    def _position(embed: nn.Module, x: Tensor, valid: Tensor) -> Tensor:
        if not isinstance(embed, StackedPositionalConv):
            return F.gelu(same_conv(embed.conv, x))
        for layer in embed.layers:
            x = F.gelu(F.layer_norm(same_conv(layer.conv, x), (layer.conv.out_channels,))) * valid
        return x

    @staticmethod
    def _position_bias(attention: Attention, frames: int) -> Tensor:
        """(all heads, frames, frames)"""
        embed, time = attention.rel_attn_embed, torch.arange(frames, device=attention.rel_attn_embed.weight.device)
        buckets = distance_buckets(frames, embed.num_embeddings, embed.max_distance).to(time.device)
        index = time[None, :] - time[:, None] + frames - 1                      # distance key - query, from 0
        return embed.weight[buckets[index]].permute(2, 0, 1)

    @staticmethod
    def _repeated_last(layers: list[Tensor], lengths: Tensor, wanted: Tensor, frames: int):
        """s3prl's frame count, the last frame repeated."""
        time = torch.arange(frames, device=lengths.device)[None]
        index = torch.minimum(time, lengths[:, None] - 1)[..., None]            # (batch, frames, 1)
        valid = (time < wanted[:, None])[..., None]
        return [layer.gather(1, index.expand(-1, -1, layer.shape[2])) * valid for layer in layers], wanted


def _key_mask(valid: Tensor) -> Tensor:
    """valid (batch, frames, 1) -> (batch, 1, 1, frames): what to add to the scores of each key."""
    keys = valid[:, None, None, :, 0]
    return torch.zeros_like(keys, dtype=torch.float32).masked_fill(~keys, float("-inf"))


def _block(block: Block, x: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
    def attention(x):
        return _attention(block.attention, x, mask, bias)

    def feed_forward(x):
        part = block.feed_forward
        return 0 if part is None else part.output_dense(F.gelu(part.intermediate_dense(x)))

    after_attention, after_feed_forward = block.bottlenecks or (nn.Identity(), nn.Identity())
    if block.norm_first:
        x = after_attention(x + attention(block.layer_norm(x))) if block.has_attention else x
        return after_feed_forward(x + feed_forward(block.final_layer_norm(x)))
    x = block.layer_norm(after_attention(x + attention(x)) if block.has_attention else x)
    return block.final_layer_norm(after_feed_forward(x + feed_forward(x)))


def _attention(part: Attention, x: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
    q, k, v = (product(x).unflatten(2, (part.heads, part.head_dim)).transpose(1, 2)
               for product in (part.q_proj, part.k_proj, part.v_proj))      # (batch, heads, frames, head_dim)
    if bias is not None:
        heads, const = x.unflatten(2, (part.total_heads, part.head_dim)), part.gru_rel_pos_const.flatten()
        if part.kept is not None:
            kept = torch.tensor(part.kept, device=x.device)
            heads, const, bias = heads[:, :, kept], const[kept], bias[kept]
        gates = part.gru_rel_pos_linear(heads).unflatten(3, (2, 4)).sum(4).sigmoid()  # (batch, frames, heads, 2)
        gate = gates[..., 0] * (gates[..., 1] * const - 1) + 2
        mask = mask + gate.transpose(1, 2)[..., None] * bias
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return part.out_proj(y.transpose(1, 2).flatten(2))


class ExportableWhisper(nn.Module):
    """The encoder of Whisper, up to the 30 seconds that its positions reach; of longer audio it hears the beginning."""

    longest = HOP * WINDOW  # samples

    def __init__(self, frontend: PretrainedFrontend):
        super().__init__()
        self.architecture, self.min_samples = frontend.architecture, frontend.min_samples
        self.feat_dim, self.num_layers, self.frame_shift = frontend.feat_dim, frontend.num_layers, frontend.frame_shift
        self.featurizer = copy.deepcopy(frontend.featurizer)
        self.encoder: WhisperEncoder = exportable_copy(frontend.upstream)
        taper = torch.hann_window(N_FFT, dtype=torch.float64)
        self.register_buffer("kernels", fourier_kernels(torch.fft.rfft(torch.diag(taper))))
        self.register_buffer("filters", mel_filters(frontend.architecture.mel_bins))

    def forward(self, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        encoder, (x, lengths) = self.encoder, self._log_mel(wav, lengths.clamp(max=self.longest))
        x = F.gelu(encoder.conv1(x))
        x = F.gelu(encoder.conv2(x * frame_mask(lengths, x.shape[2])[:, None])).transpose(1, 2)
        lengths = torch.div(lengths + 1, 2, rounding_mode="floor")
        valid = frame_mask(lengths, x.shape[1])[..., None]                      # (batch, frames, 1)
        x = x + encoder.positions[:x.shape[1]]
        mask, layers = _key_mask(valid), [x * valid]
        for block in encoder.layers:
            x = _block(block, x, mask, None)
            layers.append(x * valid)
        layers[-1] = encoder.layer_norm(x) * valid
        return LayerFeatures(self.featurizer(layers), lengths)

    def _log_mel(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """-> (batch, bands, frames), zero past its end, and the frames of each"""
        wav = F.pad(wav * frame_mask(lengths, wav.shape[1]), (0, N_FFT))
        wav = torch.cat([wav[:, 1:N_FFT // 2 + 1].flip(1), wav], dim=1)         # reflected at its beginning
        log = (power(wav, self.kernels, HOP) @ self.filters).clamp(min=1e-10).log10().transpose(1, 2)
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8)[:, :, :WINDOW]
        frames = torch.div(lengths + HOP - 1, HOP, rounding_mode="floor")
        return (log + 4) / 4 * frame_mask(frames, log.shape[2])[:, None], frames


class ExportableBLSTM(nn.Module):
    """Both directions as LSTMs that run forward; the backward one sees each utterance turned around."""

    def __init__(self, source: BLSTM):
        super().__init__()
        both = source.l_blstm
        self.ways = nn.ModuleList(nn.LSTM(both.input_size, both.hidden_size, batch_first=True) for _ in range(2))
        for way, suffix in zip(self.ways, ("", "_reverse")):
            way.load_state_dict({name: getattr(both, name + suffix) for name in way.state_dict()})

    def forward(self, x: Tensor, lengths: Tensor, counts: None) -> Tensor:
        time = torch.arange(x.shape[1], device=x.device)[None]
        valid = time < lengths[:, None]
        turn = torch.where(valid, lengths[:, None] - 1 - time, time)[..., None]  # (batch, frames, 1)
        ahead = self.ways[0](x)[0]
        back = self.ways[1](x.gather(1, turn.expand(-1, -1, x.shape[2])))[0]
        back = back.gather(1, turn.expand(-1, -1, back.shape[2]))
        return torch.cat([ahead, back], dim=2) * valid[..., None]
