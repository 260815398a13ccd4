"""What back-ends share: the check of their inputs, the weighted sum of layers, masks for padded frames."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from wedefense.config.models import BackendOptions, SSLBackendOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.mix import mix_features
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger


def check_inputs(options: BackendOptions, feat_dim: int, num_layers: int) -> None:
    """Compare what the config says of the front-end with what the front-end is."""
    if options.feat_dim not in (-1, feat_dim):
        raise InputError(f"model_args.feat_dim is {options.feat_dim}, but the front-end gives {feat_dim} features "
                         "per frame; leave it at -1 to follow the front-end")
    stated = options.nb_layer if isinstance(options, SSLBackendOptions) else -1
    if stated not in (-1, num_layers):
        get_logger().warning("model_args.nb_layer is %d, but the front-end gives %d layers: all %d are used",
                             stated, num_layers, num_layers)


@runtime_checkable
class ScoresFrames(Protocol):
    """What a back-end has that can say what each frame adds to the score.

    In two steps, so that a long recording may be heard in windows: what is known of a frame from what is near it, and
    what takes the whole.
    """

    def frame_parts(self, features: LayerFeatures) -> Tensor:
        """-> (batch, frames, numbers)"""

    def scores_of_parts(self, parts: Tensor, lengths: Tensor, head: nn.Module) -> Tensor:
        """Of the frames of whole utterances -> (batch, frames, classes)"""

    def frame_scores(self, features: LayerFeatures, head: nn.Module) -> Tensor:
        """Both at once."""


class AttentionShares(NamedTuple):
    """What a back-end takes from where, of a batch."""

    layers: dict[str, Tensor]     # by what the layers are mixed for: (layers,), or (batch, layers) where it depends on
                                  # the recording
    frames: Tensor | None = None  # (batch, frames, heads), over the frames of an utterance each head sums to 1
    head: str = "head"            # what such a head is called: a layer where each looks by itself


@runtime_checkable
class ShowsAttention(Protocol):
    """What a back-end has that can say where it looks."""

    def attention_shares(self, features: LayerFeatures) -> AttentionShares:
        """Of what `forward` would be given."""


class ReadLinear(nn.Linear):
    """A linear layer whose weight is looked at too, so that nothing without one may stand in its place."""


class LayerSum(nn.Module):
    """The softmax-weighted sum of all layers; one layer passes as it is."""

    def __init__(self, num_layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers)) if num_layers > 1 else None

    def forward(self, features: LayerFeatures) -> Tensor:
        """num_layers x (batch, frames, dim) -> (batch, frames, dim)"""
        if self.weights is None:
            return features.layers[0]
        return mix_features(features, self.weights.softmax(dim=0))[0]


class Backend(nn.Module):
    """A back-end of one input; several layers enter it as their weighted sum, short utterances repeated."""

    min_frames = 1  # fewer are repeated up to it; every back-end says it

    def __init__(self, options: BackendOptions, feat_dim: int, num_layers: int):
        super().__init__()
        check_inputs(options, feat_dim, num_layers)
        self.layer_sum = LayerSum(num_layers)
        self.embed_dim = options.embed_dim

    def one_input(self, features: LayerFeatures) -> tuple[Tensor, Tensor]:
        """-> x (batch, frames, dim), zero where padded, and lengths, at least `min_frames`"""
        return repeat_short(self.layer_sum(features), features.lengths, self.min_frames)

    def attention_shares(self, features: LayerFeatures) -> AttentionShares:
        """Of the layers in their sum; one layer is no choice."""
        weights = self.layer_sum.weights
        return AttentionShares({} if weights is None else {"sum": weights.softmax(dim=0)})


class SpeakerNetwork(Backend):
    """A back-end that ends as networks for speakers do: in a linear layer, or in two with a norm between them."""

    def add_embedding(self, inputs: int, two_layers: bool) -> None:
        self.seg_1 = nn.Linear(inputs, self.embed_dim)
        self.two_layers = two_layers
        if two_layers:
            self.seg_bn_1 = nn.BatchNorm1d(self.embed_dim, affine=False)
            self.seg_2 = nn.Linear(self.embed_dim, self.embed_dim)

    def embedding(self, pooled: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, embed_dim)"""
        x = self.seg_1(pooled)
        return self.seg_2(self.seg_bn_1(x.relu())) if self.two_layers else x


def repeat_short(x: Tensor, lengths: Tensor, minimum: int) -> tuple[Tensor, Tensor]:
    """Utterances (batch, frames, dim) of fewer than `minimum` frames begin anew until they have them."""
    lengths = lengths.to(x.device)
    if minimum > 1:
        start = torch.arange(minimum, device=x.device) % lengths.clamp(min=1)[:, None]  # (batch, minimum)
        start = start.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2])
        x = torch.cat([x.gather(1, start), x[:, minimum:]], dim=1)
        lengths = lengths.clamp(min=minimum)
    return x * frame_mask(lengths, x.shape[1])[..., None], lengths


def halved(lengths, times: int = 1):
    """Frames that are left of `lengths` (a tensor or a number) by convolutions of stride 2 (kernel 3, padding 1)."""
    for _ in range(times):
        lengths = (lengths + 1) // 2
    return lengths
