"""The detector: front-end -> gradient scale -> cmvn -> back-end -> head, one module from samples to logits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from wedefense.config.frontend import FRONTENDS, SHORTEST
from wedefense.config.heads import HEADS
from wedefense.config.models import BACKENDS
from wedefense.config.schema import Config
from wedefense.frontend.features import CentredFeatures, LayerFeatures, Lengths
from wedefense.frontend.pretrained import PretrainedFrontend
from wedefense.frontend.protocol import Frontend
from wedefense.frontend.ssl.frontend import rename_upstream
from wedefense.gpu import kernels_run_on
from wedefense.gpu.recordings import gradient_place
from wedefense.models import published_localizers
from wedefense.models.cache import FeatureCache
from wedefense.models.heads import NoHead
from wedefense.models.localizer import FromSegments, Localizer, Segments, rest_idle, utterance_logits
from wedefense.models.published_detectors import naming_of
from wedefense.pruning.gates import attach
from wedefense.utils.log import get_logger


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        if torch.compiler.is_compiling():  # it cannot look for what comes next
            return gradient * ctx.factor, None
        return torch.mul(gradient, ctx.factor, out=gradient_place(ctx.next_functions[0], gradient)), None


class Cmvn(nn.Module):
    """Mean (and variance) normalisation as published checkpoints were trained with.

    Several layers are normalised over the feature dimension of each frame; one layer, one sum of layers and classical
    features over time.
    """

    def __init__(self, norm_mean: bool, norm_var: bool, over_time: bool):
        super().__init__()
        self.norm_mean, self.norm_var, self.over_time = norm_mean, norm_var, over_time

    def forward(self, features: LayerFeatures) -> LayerFeatures:
        if not (self.norm_mean or self.norm_var):
            return features
        if self.norm_mean and not (self.norm_var or self.over_time) and kernels_run_on(features.lengths.device):
            return CentredFeatures(features.layers, features.lengths, features.counts)
        mask = features.mask()[..., None] if self.over_time else None  # (batch, frames, 1)
        return features.with_layers([self._normalise(x, mask) for x in features.layers])

    def _normalise(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            mean = x.mean(dim=2, keepdim=True)
            variance = x.var(dim=2, keepdim=True) if self.norm_var else None
        else:
            count = mask.sum(dim=1, keepdim=True)                        # (batch, 1, 1)
            mean = (x * mask).sum(dim=1, keepdim=True) / count
            squares = ((x - mean).square() * mask).sum(dim=1, keepdim=True) if self.norm_var else None
            variance = squares / (count - 1).clamp(min=1) if self.norm_var else None
        if self.norm_mean:
            x = x - mean
        if variance is not None:
            x = x / (variance + 1e-7).sqrt()
        return x if mask is None else x * mask


class Outputs(NamedTuple):
    """All that a detector makes of a batch, for losses and training modes to look at."""

    layers: LayerFeatures    # as the front-end hands them out
    features: LayerFeatures  # as the back-end sees them: gradient scaled, normalised, in training masked
    embedding: Tensor        # (batch, embed_dim)
    logits: Tensor           # (batch, classes)
    segments: Segments | None = None  # where it is fake, of a detector that localises


class Detector(nn.Module):
    def __init__(self, frontend: Frontend, backend: nn.Module, projection: nn.Module,
                 cmvn: Cmvn | None = None, grad_mult: float = 1.0, spec_augment: nn.Module | None = None,
                 sample_rate: int = 16000, localizer: Localizer | None = None):
        super().__init__()
        self.sample_rate = sample_rate
        self.frontend = frontend
        self.backend = backend
        self.projection = projection
        self.cmvn = cmvn
        self.grad_mult = grad_mult
        self.spec_augment = spec_augment
        self.localizer = localizer
        self.cache: FeatureCache | None = None  # training sets it where a frozen front-end hears the same again

    @property
    def pretrained(self) -> PretrainedFrontend:
        """The front-end, where it is known to have an encoder, `upstream`."""
        return cast(PretrainedFrontend, self.frontend)

    @property
    def min_samples(self) -> int:
        """Shorter audio has to be repeated up to so many samples."""
        return max(SHORTEST, self.frontend.min_samples)

    def layers(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        """wav (batch, samples), lengths on the host -> what the front-end hands out."""
        return self.frontend(wav, lengths) if self.cache is None else self.cache(self.frontend, wav, lengths)

    def prepared(self, features: LayerFeatures) -> LayerFeatures:
        """The front-end's layers as the back-end sees them."""
        if self.grad_mult != 1.0 and torch.is_grad_enabled() and features.layers[-1].requires_grad:
            features = features.with_layers([_ScaleGradient.apply(x, self.grad_mult) for x in features.layers])
        if self.cmvn is not None:
            features = self.cmvn(features)
        if self.spec_augment is not None and self.training:
            features = self.spec_augment(features)
        return features

    def features(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        """wav (batch, samples), lengths on the host -> what the back-end sees."""
        return self.prepared(self.layers(wav, lengths))

    def embed(self, wav: Tensor, lengths: Lengths) -> Tensor:
        """wav (batch, samples), lengths on the host -> (batch, embed_dim)"""
        features = self.features(wav, lengths)
        if self.localizer is None or self.localizer.options.utterance == "head":
            return self.backend(features)
        return self.heard(features)[0]

    def embed_and_locate(self, wav: Tensor, lengths: Lengths) -> tuple[Tensor, Segments | None]:
        """wav (batch, samples), lengths on the host -> (batch, embed_dim), and what is said of its segments"""
        return self.heard(self.features(wav, lengths))

    def heard(self, features: LayerFeatures) -> tuple[Tensor, Segments | None]:
        """What the back-end sees -> embedding (batch, embed_dim), and segments of a detector that localises."""
        if self.localizer is None:
            return self.backend(features), None
        frames = self.backend.frames(features)
        segments = self.localizer(frames)
        how = self.localizer.options.utterance
        return frames.embedding if how == "head" else utterance_logits(segments, how), segments

    def forward(self, wav: Tensor, lengths: Lengths, labels: Tensor | None = None) -> Outputs:
        """wav (batch, samples), lengths on the host; the head's margin applies when labels are given."""
        layers = self.layers(wav, lengths)
        features = self.prepared(layers)
        embedding, segments = self.heard(features)
        return Outputs(layers, features, embedding, self.projection(embedding, labels), segments)


def build_detector(config: Config, num_classes: int, architecture=None) -> Detector:
    """The detector a config describes, its front-end with the pretrained weights that the config names.

    With `architecture` (of an SSL front-end) no pretrained file is read: the weights are loaded afterwards. Without
    classes it has no head.
    """
    data = config.dataset_args
    known = {} if architecture is None else {"architecture": architecture}
    frontend = FRONTENDS.load(data.frontend)(data.frontend_options, data.resample_rate, **known)
    if config.use_pruning_loss:
        attach(frontend.upstream, data.frontend_options.upstream_args.units(), config.initial_drop_rates)
    backend = BACKENDS.load(config.model)(config.model_args, frontend.feat_dim, frontend.num_layers)
    head, projection = config.projection_args, NoHead()
    if num_classes:
        projection = HEADS.load(head.project_type)(replace(head, do_lm=head.do_lm or config.do_lm), backend.embed_dim,
                                                   num_classes)
    localizer = None
    if num_classes and config.localization_args.wanted:
        localizer = Localizer(config.localization_args, backend, frontend.frame_shift)
        if config.localization_args.utterance != "head":
            projection = FromSegments()
            rest_idle(backend, frontend.feat_dim, frontend.num_layers)
    over_time = data.cmvn_args.over == "time"
    if data.cmvn_args.over == "auto":
        over_time = FRONTENDS.row(data.frontend).over_time or frontend.num_layers == 1
    if data.cmvn and over_time and data.cmvn_args.norm_mean and config.model == "SSL_BACKEND_MEAN":
        get_logger().warning("cmvn takes the mean over time off, and SSL_BACKEND_MEAN is that mean: every embedding is "
                             "the same; set dataset_args.cmvn: False, or cmvn_args.over: features")
    cmvn = Cmvn(data.cmvn_args.norm_mean, data.cmvn_args.norm_var, over_time) if data.cmvn else None
    spec_augment = None
    if data.spec_aug:
        from wedefense.frontend.spec_augment import SpecAugment

        spec_augment = SpecAugment(data.spec_aug_args)
    return Detector(frontend, backend, projection, cmvn, config.model_args.feature_grad_mult, spec_augment,
                    data.resample_rate, localizer)


OUTSIDE = ("frontend.", "projection.", "localizer.")  # in public checkpoints the back-end's names stand beside these


def public_weights(detector: Detector) -> dict[str, Tensor]:
    return public_names(detector.state_dict())


def public_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a detector under the names of public checkpoints: the back-end's stand at the top."""
    return {name.removeprefix("backend."): tensor.detach() for name, tensor in state.items()}


def own_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `public_weights`.

    A `module.` prefix of data-parallel training is dropped, and weights under the names of another toolkit
    (WeDefense over s3prl, whole detectors of authors, gMLP and BAM) get ours.
    """
    if published_localizers.is_published(weights):
        own = published_localizers.from_published(weights)
    elif (naming := naming_of(weights)) is not None:
        own = naming.own(weights)
    else:
        own = {}
        for name, tensor in weights.items():
            name = name.removeprefix("module.")
            own[name if name.startswith(OUTSIDE) else f"backend.{name}"] = tensor
    rename_upstream(None, own, "frontend.")
    return own
