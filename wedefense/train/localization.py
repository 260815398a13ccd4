"""What a batch's segments cost: at each resolution, and at boundaries; nothing counts whose truth is unknown."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.localization import LocalizationOptions
from wedefense.data.labels import Labels
from wedefense.data.span_crops import boundary_targets, frame_targets
from wedefense.data.spans import Span
from wedefense.models.heads import squared_distances
from wedefense.models.localizer import FAKE, Segments
from wedefense.utils.devices import send
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.tables import first_few


class SegmentLoss(nn.Module):
    """The mean over the resolutions, each a weighted mean over all known segments of the batch; and the boundaries'."""

    def __init__(self, options: LocalizationOptions):
        super().__init__()
        self.options = options
        self.register_buffer("weight", torch.tensor(options.weight or (1.0, 1.0)), persistent=False)
        self.last: dict[str, Tensor] = {}  # of the last batch, for the log

    def forward(self, segments: Segments, spans: Sequence[Sequence[Span] | None] | None) -> Tensor:
        """`spans` of the batch, in seconds of its audio."""
        options, known, total = self.options, spans or [None] * len(next(iter(segments.lengths.values()))), 0.0
        self.last = {}
        for ms, logits in segments.logits.items():
            targets = _sent(frame_targets(known, ms / 1000, logits.shape[1]), logits.device)
            loss, right = self.of_segments(logits, targets.masked_fill(~segments.mask(ms), -1))
            self.last |= {f"segment_loss_{ms}": loss.detach(), f"segment_accuracy_{ms}": right.detach()}
            total = total + options.segment_weight / len(segments.logits) * loss
        if options.boundary_weight and segments.boundaries is not None:
            loss = self._of_boundaries(segments, known)
            self.last["boundary_loss"] = loss.detach()
            total = total + options.boundary_weight * loss
        return total

    def of_segments(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """logits (batch, segments, 2), targets (batch, segments), -1: unknown -> loss, share of right answers"""
        is_known, wanted = targets >= 0, targets.clamp(min=0)
        weights = self.weight[wanted] * is_known
        if self.options.balance:
            weights = _balanced(weights, wanted == FAKE)
        losses = self._losses(logits.float().flatten(0, 1), wanted.flatten()).view_as(weights)
        loss = (losses * weights).sum() / weights.sum().clamp(min=1e-6)
        right = ((logits.argmax(dim=2) == wanted) & is_known).sum() / is_known.sum().clamp(min=1)
        return loss, right

    def _losses(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """(segments, 2), (segments,) -> (segments,)"""
        if self.options.loss == "p2sgrad":
            return squared_distances(logits, wanted)
        losses = F.cross_entropy(logits, wanted, reduction="none")
        if self.options.loss == "focal":  # Lin et al., ICCV 2017
            unsure = (1 - (-losses).exp()).clamp(min=1e-9)  # a root of 0 has no gradient
            losses = unsure ** self.options.gamma * losses
        return losses

    def _of_boundaries(self, segments: Segments, spans: Sequence[Sequence[Span] | None]) -> Tensor:
        logits, seconds = segments.boundaries, segments.boundary_ms / 1000
        assert logits is not None
        targets = _sent(boundary_targets(spans, seconds, logits.shape[1], self.options.boundary_reach,
                                         self.options.boundary_of == "runs"), logits.device)
        is_known = targets >= 0
        losses = F.binary_cross_entropy_with_logits(logits.float(), targets.clamp(min=0).float(), reduction="none")
        weights = is_known.float()
        if self.options.boundary_negatives:
            weights = _hardest(losses.detach(), targets, self.options.boundary_negatives)
        if self.options.balance:
            weights = _balanced(weights, targets == 1)
        return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def _balanced(weights: Tensor, is_one: Tensor) -> Tensor:
    """Both classes in sum the same, and together as many as before; one class alone stays as it is."""
    sums = torch.stack([(weights * ~is_one).sum(), (weights * is_one).sum()])
    factors = torch.where((sums > 0).all(), sums.sum() / (2 * sums.clamp(min=1e-6)), torch.ones_like(sums))
    return weights * factors[is_one.long()]


def _hardest(losses: Tensor, targets: Tensor, ratio: float) -> Tensor:
    """1 where the target is 1, and on the `ratio` times as many of 0 that cost most; 0 elsewhere."""
    is_one, is_zero = (targets == 1).flatten(), (targets == 0).flatten()
    order = losses.flatten().masked_fill(~is_zero, -torch.inf).argsort(descending=True, stable=True)
    wanted = (is_one.sum() * ratio).floor().clamp(max=is_zero.sum())
    first = torch.arange(len(order), device=order.device) < wanted
    return torch.zeros_like(losses.flatten()).scatter(0, order, first.to(losses.dtype)).add(is_one).view_as(losses)


def _sent(targets: Tensor, device: torch.device) -> Tensor:
    return send(targets.numpy(), device)


def check_data(options: LocalizationOptions, has_spans: bool, source: str | None, labels: Labels) -> None:
    """What training on segments needs of its list, known before epoch 1."""
    if not options.wanted:
        return
    if not has_spans:
        raise InputError(f"{source}: says of no utterance where it is fake, and localization_args.resolutions wants "
                         "targets of segments; write `segments` into the data folder (`wedefense segments LABELS "
                         "--data_dir DIR`) and make the list again (stage 2)")
    if options.utterance == "head" and not options.utterance_weight:
        raise OptionError("localization_args.utterance_weight", "nothing would train the head that scores whole "
                          "utterances; raise it, or set localization_args.utterance: min or mean")
    if options.utterance != "head" and labels.bonafide.tolist() != [True, False]:
        raise InputError(f"localization_args.utterance: {options.utterance}: what segments say is bona fide or fake, "
                         f"and the classes are {first_few(labels.names)}; set it to head")
