"""The wav2vec 2.0 family of encoders: samples to the features of every layer."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.frontend.ssl.attention import Attention, attends_packed, gate_sublayer
from wedefense.frontend.ssl.dropping import hand_on
from wedefense.frontend.ssl.extractor import Extractor, conv_lengths, open_layer_norm
from wedefense.frontend.ssl.fusing import fused, fuses
from wedefense.frontend.ssl.packing import Packing, Span
from wedefense.frontend.ssl.positional import positional_conv
from wedefense.frontend.ssl.products import Derived, Linear, clear_derived, wide_dtype
from wedefense.gpu import kernels_run_on
from wedefense.gpu.graphs import Graphs
from wedefense.utils.devices import numbers_on
from wedefense.utils.errors import InputError


class FeatureProjection(nn.Module):
    """Layer norm and a product from the extractor's channels to the transformer's dimension."""

    def __init__(self, channels: int, dim: int, dropout: float):
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels)
        self.projection = Linear(channels, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """`gate`: that of the channels, which decides over which of them the norm runs."""
        return self.dropout(self.projection(open_layer_norm(x, self.layer_norm, gate)))


class FeedForward(nn.Module):
    """Two products with GELU between; `gate` multiplies the hidden units, `sublayer_gate` the output."""

    def __init__(self, dim: int, hidden: int, dropout: float):
        super().__init__()
        self.intermediate_dense = Linear(dim, hidden)
        self.output_dense = Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)
        self.gate = None
        self.sublayer_gate = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.intermediate_dense(x, gelu=True))
        units = None if self.gate is None else self.gate()
        if units is not None:
            x = x * units
        return gate_sublayer(self.output_dense(x), units, self.sublayer_gate)


class Block(nn.Module):
    """Attention and feed-forward, each added to its input; a pruned block may lack either."""

    def __init__(self, architecture: Architecture, shape: BlockShape, first: bool):
        super().__init__()
        self.has_attention = bool(shape.heads)
        if shape.heads or (first and architecture.rel_buckets):
            self.attention = Attention(architecture, shape, first)
        self.layer_norm = nn.LayerNorm(architecture.dim)
        self.feed_forward = None
        if shape.ff_dim:
            self.feed_forward = FeedForward(architecture.dim, shape.ff_dim, architecture.activation_dropout)
        self.final_layer_norm = nn.LayerNorm(architecture.dim)
        self.dropout = nn.Dropout(architecture.hidden_dropout)
        self.norm_first = architecture.norm_first
        self.products = Derived()

    def forward(self, x: Tensor, spans: list[Span], dropped: bool = False) -> Tensor:
        """(rows, dim) -> (rows, dim); `dropped`: hands on its input, see `Transformer.calls_dropped`."""
        if dropped:
            return hand_on(x, self)
        if fuses(self, x, spans[0]):
            return fused(self, x, None, spans[0])[0]
        if self.norm_first:
            if self.has_attention:
                x = x + self.dropout(self.attention(self.layer_norm(x), spans))
            if self.feed_forward is not None:
                x = x + self.dropout(self.feed_forward(self.final_layer_norm(x)))
            return x
        if self.has_attention:
            x = x + self.dropout(self.attention(x, spans))
        x = self.layer_norm(x)  # a block without a sublayer still has its norm
        if self.feed_forward is not None:
            x = x + self.dropout(self.feed_forward(x))
        return self.final_layer_norm(x)


def run_block(block: Block, x: Tensor, copy: Tensor | None, spans: list[Span], checkpointing: bool,
              calls: bool = False) -> tuple[Tensor, Tensor | None]:
    """(rows, dim) -> (rows, dim), and its copy for the next block if there is one, see `fusing.fused`.

    With checkpointing, activations are computed again on the way back; `calls`: by a call, which hooks see.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(block, x, spans, use_reentrant=False), None
    if calls or not fuses(block, x, spans[0]):
        return block(x, spans), None
    return fused(block, x, copy, spans[0])


class Transformer(nn.Module):
    """The positional convolution and the blocks; hands out the input of the first block and every block's output."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.pos_conv_embed = positional_conv(architecture)
        self.layer_norm = nn.LayerNorm(architecture.dim)
        self.layers = nn.ModuleList(
            Block(architecture, shape, first=number == 0) for number, shape in enumerate(architecture.blocks))
        self.dropout = nn.Dropout(architecture.hidden_dropout)
        self.norm_first, self.final_norm = architecture.norm_first, architecture.final_norm
        self.relative, self.head_dim = architecture.rel_buckets > 0, architecture.head_dim
        self.layer_drop = architecture.layer_drop
        self.depth = len(self.layers)  # how many blocks run: those of the layers that are wanted
        self.calls_dropped = False     # set where parameters are shared among ranks, which must all call each block
        self.gradient_checkpointing = False

    def forward(self, x: Tensor, packing: Packing) -> list[Tensor]:
        """(rows, dim) -> z_0 .. z_depth, each (rows, dim), in the parameters' precision.

        Under autocast too: what the blocks add to is never rounded to what they compute in.
        """
        x = x.to(self.layer_norm.weight.dtype)
        padded = packing.pad(x)  # (batch, frames, dim), zeros on padding
        present = None if packing.index is None else frame_mask(packing.lengths, packing.frames)[:, :, None]
        x = x + packing.pack(self.pos_conv_embed(padded, present))
        if not self.norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        spans = packing.spans(wide_dtype(x.dtype), self.layers[0].attention.rel_attn_embed if self.relative else None,
                              attends_packed(self.head_dim, x.device))
        outputs, copy = [x], None
        for block in self.layers[:self.depth]:
            if not self._dropped():
                x, copy = run_block(block, x, copy, spans, self.gradient_checkpointing, self.calls_dropped)
            elif self.calls_dropped:
                x = block(x, spans, dropped=True)
            outputs.append(x)
        if self.norm_first and self.final_norm and self.depth == len(self.layers):
            outputs[-1] = self.layer_norm(x)
        return outputs

    def _dropped(self) -> bool:
        """Layer drop: in training a block is now and then left out, and hands on its input."""
        return self.training and self.layer_drop > 0 and torch.rand(()).item() < self.layer_drop


class FrameEncoder(nn.Module):
    """What follows the extractor."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        channels = architecture.conv_layers[-1][0]
        self.feature_projection = FeatureProjection(channels, architecture.dim, architecture.projection_dropout)
        self.transformer = Transformer(architecture)


def groups_of(counts: list[int], rows: int = 768) -> list[list[int]]:
    """Utterances of like lengths that together have at most so many frames (or one that has more by itself).

    On a CPU a larger batch gains nothing: its attention scores leave the cache, and short utterances are padded.

    >>> groups_of([300, 900, 310, 290], rows=700)
    [[1], [2, 0], [3]]
    """
    groups: list[list[int]] = []
    filled = rows
    for i in sorted(range(len(counts)), key=lambda i: -counts[i]):
        if filled + counts[i] > rows:
            groups.append([])
            filled = 0
        groups[-1].append(i)
        filled += counts[i]
    return groups


class Encoder(nn.Module):
    """An encoder of the wav2vec 2.0 family.

    `forward(wav (batch, samples), lengths)`, the lengths on the host, gives all N+1 layers: z_0, the input of the
    first block, then the output of every block. In models that normalise first (`norm_first`) the last layer has been
    through the transformer's final layer norm, as in s3prl and transformers, unless the architecture's `final_norm` is
    False.
    An utterance's features do not depend on what shares its batch; frames past its end are zero.

    Parameters carry torchaudio's names. `freeze_extractor` keeps the convolutions out of training;
    `gradient_checkpointing` trades time for memory in training.
    """

    # what can be cut, and where
    blocks_at, convolutions_at = "encoder.transformer.layers", "feature_extractor.conv_layers"

    def __init__(self, architecture: Architecture, freeze_extractor: bool = False,
                 gradient_checkpointing: bool = False):
        super().__init__()
        self.architecture = architecture
        self.feature_extractor = Extractor(architecture)
        self.encoder = FrameEncoder(architecture)
        self.gradient_checkpointing = gradient_checkpointing
        self.freeze_extractor = freeze_extractor
        self.graphs: Graphs | None = None  # set where training may play back its launches, see `wedefense.gpu.graphs`
        if freeze_extractor:
            self.feature_extractor.requires_grad_(False)

    @property
    def depth(self) -> int:
        return self.encoder.transformer.depth

    def stop_after(self, layer: int) -> None:
        """Run no further than `layer` (0: the input of the first block); what follows is frozen and stays as it is."""
        transformer = self.encoder.transformer
        transformer.depth = layer
        transformer.layers[layer:].requires_grad_(False)
        if transformer.norm_first and layer < len(transformer.layers):
            transformer.layer_norm.requires_grad_(False)

    def adopt(self, weights: dict[str, Tensor], prefix: str) -> None:
        """A file whose block 0 lost its attention, and with it WavLM's position bias, keeps the gates of that bias."""
        own = [name for name in weights if name.startswith(prefix)]
        if not (self.architecture.rel_buckets or any(name.endswith(".rel_attn_embed.weight") for name in own)):
            for name in own:
                if ".attention.gru_rel_pos_" in name:
                    del weights[name]

    @property
    def gradient_checkpointing(self) -> bool:
        return self.encoder.transformer.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.encoder.transformer.gradient_checkpointing = value
        self.feature_extractor.gradient_checkpointing = value

    def train(self, mode: bool = True) -> "Encoder":
        self._forget()
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> "Encoder":
        self._forget()
        return super()._apply(*args, **kwargs)

    def _forget(self) -> None:
        """What was made from the weights, or has them in it."""
        clear_derived(self)
        if self.graphs is not None:
            self.graphs.clear()

    def forward(self, wav: Tensor, lengths: Lengths | None = None) -> LayerFeatures:
        """wav (batch, samples), lengths in samples (None: all valid) -> N+1 layers (batch, frames, dim)."""
        samples = [wav.shape[1]] * len(wav) if lengths is None else on_host(lengths)
        counts = self._checked(samples)
        wav = self._prepared(wav, samples)
        groups = [list(range(len(counts)))]
        if wav.device.type == "cpu" and not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
            groups = groups_of(counts)
        if self.graphs is not None and self._can_be_recorded(wav, samples):
            layers = self.graphs(self, wav, lambda wav: self._encode(wav, samples, counts))
        else:
            layers = (self._encode if len(groups) == 1 else self._in_groups)(wav, samples, counts)
        return LayerFeatures(layers, numbers_on(tuple(counts), wav.device), counts)

    def _can_be_recorded(self, wav: Tensor, samples: list[int]) -> bool:
        """Whether the same kernels run for every batch of this shape, and nobody has to be called for each block."""
        transformer = self.encoder.transformer
        drops = self.training and transformer.layer_drop > 0
        return (kernels_run_on(wav.device) and min(samples) == wav.shape[1]
                and not (drops or transformer.calls_dropped or self.gradient_checkpointing))

    def _encode(self, wav: Tensor, samples: list[int], counts: list[int]) -> list[Tensor]:
        """`counts`: frames of each -> layers (batch, frames, dim)."""
        packing = Packing.of(counts, wav.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_extractor):
            x, gate = self.feature_extractor(wav, samples, counts)
        x = self.encoder.feature_projection(x, gate)
        return [packing.pad(layer) for layer in self.encoder.transformer(x, packing)]

    def _in_groups(self, wav: Tensor, samples: list[int], counts: list[int]) -> list[Tensor]:
        """The same, some utterances at a time."""
        layers: list[Tensor] = []
        for group in groups_of(counts):
            own = [samples[i] for i in group]
            outputs = self._encode(wav[group, :max(own)], own, [counts[i] for i in group])
            if not layers:
                layers = [x.new_zeros(len(counts), max(counts), x.shape[2]) for x in outputs]
            for layer, output in zip(layers, outputs, strict=True):
                layer[group, :output.shape[1]] = output
        return layers

    def _checked(self, samples: list[int]) -> list[int]:
        """-> the frames of each."""
        counts = conv_lengths(samples, self.architecture.conv_layers).tolist()
        if min(counts) < 1:
            shortest = counts.index(min(counts))
            raise InputError(
                f"utterance {shortest} of the batch has {samples[shortest]} samples, and this model makes a frame "
                f"of no fewer than {self.architecture.receptive_field}; repeat or drop such short audio")
        return counts

    def _prepared(self, wav: Tensor, samples: list[int]) -> Tensor:
        """Zeros past each utterance's end; zero mean and unit variance over what is before it, if the model asks."""
        wav = wav[:, :max(samples)]
        if wav.dtype != torch.float64:
            wav = wav.float()
        ragged, lengths = min(samples) < wav.shape[1], numbers_on(tuple(samples), wav.device)
        if ragged:
            valid = frame_mask(lengths, wav.shape[1])
            wav = wav.masked_fill(~valid, 0)
        if self.architecture.normalize_waveform:
            count = lengths[:, None]
            wav = wav - wav.sum(1, keepdim=True) / count
            if ragged:
                wav = wav * valid
            variance = wav.square().sum(1, keepdim=True) / count
            wav = wav * torch.rsqrt(variance + self.architecture.normalize_eps)
        return wav


def pad_to_s3prl(features: LayerFeatures, wav_lengths: Lengths, stride: int = 320) -> LayerFeatures:
    """s3prl's frame count, ceil(samples / stride): an utterance's last valid frame fills up what is missing."""
    counts = [-(-samples // stride) for samples in on_host(wav_lengths)]
    wanted = numbers_on(tuple(counts), features.lengths.device)
    position = torch.arange(max(counts), device=wanted.device)[None, :]
    index = torch.minimum(position, features.lengths[:, None] - 1)  # (batch, frames)
    present = (position < wanted[:, None])[:, :, None]
    layers = [layer.gather(1, index[:, :, None].expand(-1, -1, layer.shape[2])) * present
              for layer in features.layers]
    return LayerFeatures(layers, wanted, counts)
