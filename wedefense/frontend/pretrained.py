"""What all pretrained front-ends share: frozen or trained, and which layers come out."""

import contextlib

import torch
from torch import Tensor, nn

from wedefense.config.frontend import PretrainedOptions
from wedefense.frontend.features import LayerFeatures, Lengths, on_host
from wedefense.utils.errors import InputError, OptionError

SAMPLE_RATE = 16000


class LayerChoice(nn.Module):
    """One layer, all layers, a learnt weighted sum, or the last: see `wedefense.config.frontend.PretrainedOptions`."""

    def __init__(self, options: PretrainedOptions, num_layers: int):
        super().__init__()
        if options.layer >= num_layers:
            raise OptionError("layer", f"must be at most {num_layers - 1}, the last layer of this model, got "
                                       f"{options.layer}")
        self.layer = options.layer
        self.all = options.layer == -1 and options.layerwise_feature
        self.num_layers = num_layers if self.all else 1
        if self.layer == -1 and not self.all and options.multilayer_feature and num_layers > 1:
            self.weights = nn.Parameter(torch.zeros(num_layers))
        else:
            self.weights = None

    def adopt(self, weights: dict[str, Tensor], prefix: str) -> None:
        """s3prl keeps weights of a sum also where nothing is summed."""
        if self.weights is None:
            weights.pop(f"{prefix}weights", None)

    def forward(self, layers: list[Tensor]) -> list[Tensor]:
        if self.all:
            return layers
        if self.weights is None:
            return [layers[self.layer]]
        shares = self.weights.softmax(0)
        return [sum(share * layer for share, layer in zip(shares, layers, strict=True))]


class PretrainedFrontend(nn.Module):
    """A pretrained encoder as a front-end; a subclass says how to `encode` with `self.upstream`.

    Frozen means: evaluation mode whatever `train()` says (but for `frozen_dropout`), no gradients, no autograd graph.
    The weights of a layer sum are learnt all the same.
    """

    def __init__(self, options: PretrainedOptions, sample_rate: int, upstream: nn.Module, feat_dim: int,
                 num_layers: int, stride: int,
                 min_samples: int = 1):
        super().__init__()
        if sample_rate != SAMPLE_RATE:
            raise InputError(f"this front-end hears {SAMPLE_RATE} Hz, not {sample_rate}; set resample_rate: "
                             f"{SAMPLE_RATE}")
        self.frame_shift = 1000 * stride / SAMPLE_RATE
        if options.frame_shift != self.frame_shift:
            raise OptionError("frame_shift", f"this model makes a frame every {self.frame_shift:g} ms, got "
                                             f"{options.frame_shift:g}")
        self.frozen = options.frozen
        self.still = options.frozen and not options.frozen_dropout
        self.feat_dim, self.min_samples = feat_dim, min_samples
        self.upstream = upstream
        self.featurizer = LayerChoice(options, num_layers)
        self.num_layers = self.featurizer.num_layers
        if options.layer != -1:
            upstream.stop_after(options.layer)
        if self.frozen:
            self.upstream.requires_grad_(False)
        self.train(self.training)

    @staticmethod
    def is_native(name: str) -> bool:
        """Whether a model runs in an encoder of this toolkit."""
        return True

    def train(self, mode: bool = True):
        super().train(mode)
        if self.still:
            self.upstream.eval()
        return self

    def encode(self, wav: Tensor, lengths: list[int]) -> LayerFeatures:
        """All layers of the encoder."""
        return self.upstream(wav, lengths)

    def forward(self, wav: Tensor, lengths: Lengths | None = None) -> LayerFeatures:
        """wav (batch, samples), lengths on the host -> the chosen layers, each (batch, frames, feat_dim)."""
        lengths = [wav.shape[1]] * len(wav) if lengths is None else on_host(lengths)
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            features = self.encode(wav, lengths)
        return features.with_layers(self.featurizer(features.layers))
