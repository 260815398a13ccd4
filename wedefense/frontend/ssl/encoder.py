"""The wav2vec 2.0 family of encoders: samples to the features of every layer."""

import torch
from torch import Tensor

from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.extractor import Extractor, conv_lengths
from wedefense.frontend.ssl.packing import Packing
from wedefense.frontend.ssl.products import Forgetting
from wedefense.frontend.ssl.transformer import FrameEncoder
from wedefense.gpu import kernels_run_on
from wedefense.gpu.graphs import Graphs
from wedefense.utils.devices import numbers_on
from wedefense.utils.errors import InputError


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


class Encoder(Forgetting):
    """An encoder of the wav2vec 2.0 family.

    `forward(wav (batch, samples), lengths)`, the lengths on the host, gives all N+1 layers: z_0, the input of the
    first block, then the output of every block. In models that normalise first (`norm_first`) the last layer has been
    through the transformer's final layer norm, unless the architecture's `final_norm` is False. So has s3prl's last,
    `last_hidden_state` of transformers and what torchaudio's `forward` gives; `hidden_states[-1]` of transformers 5 and
    the last of torchaudio's `extract_features` have not.
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

    def forget(self) -> None:
        """What was made from the weights, or has them in it."""
        super().forget()
        if self.graphs is not None:
            self.graphs.clear()

    def forward(self, wav: Tensor, lengths: Lengths | None = None) -> LayerFeatures:
        """wav (batch, samples), lengths in samples (None: all valid) -> N+1 layers (batch, frames, dim)."""
        samples = [wav.shape[1]] * len(wav) if lengths is None else on_host(lengths)
        counts = self._checked(samples)
        wav = wav[:, :max(samples)]
        if self.graphs is not None and self._can_be_recorded(wav, samples):
            transformer = self.encoder.transformer
            layers = self.graphs(self, wav, lambda wav: self._layers(wav, samples, counts),
                                 transformer.dropped if transformer.blocks_at_once else None)
        else:
            layers = self._layers(wav, samples, counts)
        return LayerFeatures(layers, numbers_on(tuple(counts), wav.device), counts)

    def _can_be_recorded(self, wav: Tensor, samples: list[int]) -> bool:
        """Whether the same kernels run for every batch of this shape, and nobody has to be called for each block."""
        return (kernels_run_on(wav.device) and min(samples) == wav.shape[1]
                and not (self.encoder.transformer.calls_dropped or self.gradient_checkpointing))

    def _layers(self, wav: Tensor, samples: list[int], counts: list[int]) -> list[Tensor]:
        """`counts`: frames of each -> layers (batch, frames, dim)."""
        self.begin()
        wav = self._prepared(wav, samples)
        if wav.device.type == "cpu" and not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
            groups = groups_of(counts)
            if len(groups) > 1:
                return self._in_groups(wav, samples, counts, groups)
        return self._encode(wav, samples, counts)

    def _encode(self, wav: Tensor, samples: list[int], counts: list[int]) -> list[Tensor]:
        """The same, by one batch."""
        packing = Packing.of(counts, wav.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_extractor):
            x, gate = self.feature_extractor(wav, samples, counts)
        x = self.encoder.feature_projection(x, gate)
        return [packing.pad(layer) for layer in self.encoder.transformer(x, packing)]

    def _in_groups(self, wav: Tensor, samples: list[int], counts: list[int], groups: list[list[int]]) -> list[Tensor]:
        """The same, some utterances at a time."""
        layers: list[Tensor] = []
        for group in groups:
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
