"""From what a back-end says of frames to logits of segments, at every resolution that training asks for.

A back-end that localises has two methods more than others, those of `LocalizingBackend`. It gives its frames at one
resolution or at several; those that it lacks are made here of the finest that divides them, each feature the largest of
the frames in a segment, as the multi-resolution countermeasure of PartialSpoof halves (arXiv 2204.05177).
"""

import math
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.heads import LinearOptions, P2SGradOptions
from wedefense.config.localization import LocalizationOptions
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.models.heads import Linear, P2SGrad
from wedefense.utils.errors import OptionError

LOCALIZING = ("SSL_BACKEND_MHFA", "SSL_BACKEND_CA_MHFA", "SSL_BACKEND_SLS", "SSL_BACKEND_aasist", "SSL_BACKEND_BAM",
              "SSL_BACKEND_multireso_MaxPool1dLin_gmlp", "SSL_BACKEND_LLGF", "LCNN_LSTM")
BONAFIDE, FAKE = 0, 1  # the classes of a segment, whatever those of utterances are


class Frames(NamedTuple):
    """What a back-end makes of a batch that is asked where."""

    # by how many of the front-end's frames are in one: x (batch, frames, dim), 0 where padded, lengths on the device
    at: dict[int, tuple[Tensor, Tensor]]
    embedding: Tensor                 # (batch, embed_dim) of the utterance, as `forward` gives it
    boundaries: Tensor | None = None  # (batch, frames), at the finest resolution: logits that the class changes
                                      # there, of a back-end that has a part for it and says `has_boundaries`


@runtime_checkable
class LocalizingBackend(Protocol):
    """What a back-end has that localises. Frame 0 begins with the audio; all follow without a gap."""

    frame_dims: dict[int, int]  # how many of the front-end's frames are in one of those that it gives -> their features
    has_boundaries: bool        # whether it has a part of its own that says where the class changes

    def frames(self, features: LayerFeatures) -> Frames:
        """The frames of an utterance do not depend on what else is in the batch."""


class Segments(NamedTuple):
    """What a detector says of the segments of a batch, by their ms."""

    logits: dict[int, Tensor]         # (batch, segments, 2), float32: BONAFIDE, FAKE
    lengths: dict[int, Tensor]        # (batch,), on the device
    boundaries: Tensor | None = None  # (batch, segments) logits, at the back-end's finest resolution
    boundary_ms: int = 0              # which that is

    def mask(self, ms: int) -> Tensor:
        """(batch, segments) bool, True where a segment is of the utterance."""
        return frame_mask(self.lengths[ms], self.logits[ms].shape[1])

    def scores(self, ms: int) -> Tensor:
        """(batch, segments), higher = more bona fide; inf where padded."""
        return log_odds(self.logits[ms]).masked_fill(~self.mask(ms), torch.inf)

    def rows(self, ms: int) -> list[Tensor]:
        """The logits (segments, 2) of each utterance alone, on the CPU; waits for the device."""
        return [row[:length] for row, length in zip(self.logits[ms].float().cpu(), self.lengths[ms].tolist())]


def log_odds(logits: Tensor) -> Tensor:
    """(..., 2) -> (...): the score of segments, higher = more bona fide; by the shares of classes in training."""
    return logits[..., BONAFIDE] - logits[..., FAKE]


class Localizer(nn.Module):
    """A head for each resolution, and for boundaries where they are a target that the back-end has no part for."""

    def __init__(self, options: LocalizationOptions, backend: nn.Module, frame_shift: float):
        super().__init__()
        self.options = options
        if not isinstance(backend, LocalizingBackend):
            raise OptionError("localization_args.resolutions", f"the back-end {type(backend).__name__} says nothing of "
                              f"frames; {', '.join(LOCALIZING)} do")
        dims = backend.frame_dims
        if not dims:
            raise OptionError("model_args.multi_reso_active", "names no branch for segments, and "
                              "localization_args.resolutions asks for some; name them here too")
        self.finest = min(dims)                              # of the back-end, in the front-end's frames
        self.boundary_ms = round(self.finest * frame_shift)
        self.sources: dict[int, tuple[int, int]] = {
            ms: _source(ms, dims, frame_shift) for ms in sorted(options.resolutions)}
        self._all_trained(backend, frame_shift)
        head, given = (P2SGrad, P2SGradOptions()) if options.loss == "p2sgrad" else (Linear, LinearOptions())
        self.heads = nn.ModuleDict({str(ms): head(given, dims[own], 2) for ms, (own, _) in self.sources.items()})
        own = options.boundary_weight and not backend.has_boundaries
        self.boundary = Linear(LinearOptions(), dims[self.finest], 1) if own else None

    def _all_trained(self, backend: LocalizingBackend, frame_shift: float) -> None:
        """A part of the back-end that nothing trains is a mistake."""
        idle = set(backend.frame_dims) - {own for own, _ in self.sources.values()}
        if idle and len(backend.frame_dims) > 1:
            names = ", ".join(f"{own * frame_shift:g}" for own in sorted(idle))
            raise OptionError("localization_args.resolutions", f"the back-end has branches that none of them is made "
                              f"of: for {names} ms; name these here too, or leave them out of model_args")
        if backend.has_boundaries and not self.options.boundary_weight:
            raise OptionError("localization_args.boundary_weight", f"{type(backend).__name__} has a part for "
                              "boundaries, which nothing else trains; set it (published: 0.5)")

    def forward(self, frames: Frames) -> Segments:
        logits: dict[int, Tensor] = {}
        lengths: dict[int, Tensor] = {}
        for ms, (own, times) in self.sources.items():
            x, lengths[ms] = joined(*frames.at[own], times)
            logits[ms] = per_frame(self.heads[str(ms)], x)                     # (batch, segments, 2)
        boundaries = frames.boundaries
        if self.boundary is not None:
            boundaries = per_frame(self.boundary, frames.at[self.finest][0])[..., 0]
        return Segments(logits, lengths, boundaries, self.boundary_ms)


def _source(ms: int, dims: dict[int, int], shift: float) -> tuple[int, int]:
    """The coarsest frames of which segments of `ms` can be made, and how many make one."""
    found = [own for own in dims if math.isclose(ms / (own * shift), round(ms / (own * shift))) and ms >= own * shift]
    if not found:
        raise OptionError("localization_args.resolutions", f"segments of {ms} ms cannot be made of the back-end's "
                          f"frames of {', '.join(f'{own * shift:g}' for own in sorted(dims))} ms; name multiples of "
                          "one of these")
    return max(found), round(ms / (max(found) * shift))


def per_frame(head: nn.Module, x: Tensor) -> Tensor:
    """(batch, frames, dim) -> (batch, frames, classes)"""
    return head(x.flatten(0, 1)).float().view(x.shape[0], x.shape[1], -1)  # exporters do not follow `unflatten`


def joined(x: Tensor, lengths: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """The largest of each feature over every `times` frames; a last segment may have fewer. 0 where padded."""
    if times == 1:
        return x, lengths
    outside = ~frame_mask(lengths, x.shape[1])[..., None]
    x = F.pad(x.masked_fill(outside, -torch.inf), (0, 0, 0, -x.shape[1] % times), value=-torch.inf)
    x = x.view(x.shape[0], -1, times, x.shape[2]).amax(dim=2)                  # (batch, segments, dim)
    lengths = (lengths + times - 1).div(times, rounding_mode="floor")
    return x.masked_fill(~frame_mask(lengths, x.shape[1])[..., None], 0.0), lengths


def rest_idle(backend: nn.Module, feat_dim: int, num_layers: int) -> None:
    """Freezes what none of the frames is made of: where segments speak for utterances nothing would train it.

    A few frames of silence tell: what has no gradient.
    """
    frames, training = 2 * cast(int, backend.min_frames), backend.training
    layers = [torch.zeros(2, frames, feat_dim, requires_grad=True) for _ in range(num_layers)]
    trained = [parameter for parameter in backend.parameters() if parameter.requires_grad]
    backend.eval()  # no dropout is drawn, and no statistics move
    with torch.enable_grad():
        found = cast(LocalizingBackend, backend).frames(LayerFeatures(layers, torch.tensor([frames] * 2)))
        said = [x for x, _ in found.at.values()] + ([] if found.boundaries is None else [found.boundaries])
        gradients = torch.autograd.grad([x.sum() for x in said], [*layers, *trained], allow_unused=True)
    backend.train(training)
    for parameter, gradient in zip(trained, gradients[num_layers:]):
        parameter.requires_grad_(gradient is not None)


class FromSegments(nn.Module):
    """In the place of a head: what an utterance's segments say is what is said of the utterance."""

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """embedding (batch, 2), which `utterance_logits` made -> logits (batch, classes)"""
        return embedding.float()

    def set_margin(self, margin: float) -> None:
        """There is none."""

    def loss(self, logits: Tensor, labels: Tensor, criterion: nn.Module) -> Tensor:
        return criterion(logits, labels)


def utterance_logits(segments: Segments, how: str) -> Tensor:
    """(batch, 2): those of the finest segments' `mean`, or of the one that is fakest (`min`)."""
    ms = min(segments.logits)
    logits = segments.logits[ms]
    if how == "min":
        place = segments.scores(ms).argmin(dim=1)[:, None, None].expand(-1, 1, 2)
        return logits.gather(1, place)[:, 0]
    mask = segments.mask(ms)[..., None]
    return (logits * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
