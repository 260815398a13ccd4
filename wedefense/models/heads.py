"""Heads: from an embedding to a logit for each class; some have a loss of their own.

Parameter names are those of WeSpeaker. A margin applies only in training mode and when labels are given;
it is a tensor, so that a schedule can move it under torch.compile. All arithmetic is float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.heads import InterTopKOptions, ProjectionOptions, SphereFace2Options, SphereOptions
from wedefense.utils.errors import InputError

SMALLEST_SINE2 = 1e-7  # of sin^2: keeps the gradient of a sine finite at angles 0 and pi


class Head(nn.Module):
    def __init__(self, options: ProjectionOptions, embed_dim: int, num_classes: int):
        super().__init__()
        self.options, self.embed_dim, self.num_classes = options, embed_dim, num_classes

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """embedding (batch, embed_dim), labels (batch,) -> logits (batch, classes)"""
        with torch.autocast(embedding.device.type, enabled=False):
            dtype = next(self.parameters()).dtype
            return self.logits(embedding.to(dtype), labels if self.training else None)

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        raise AssertionError("each head says how its logits are made")

    def set_margin(self, margin: float) -> None:
        """Heads without a scheduled margin take no notice."""

    def loss(self, logits: Tensor, labels: Tensor, criterion: nn.Module) -> Tensor:
        return criterion(logits, labels)


class NoHead(nn.Module):
    """In the place of the head that a file lacks: embeddings come out, no class has a logit."""

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """embedding (batch, embed_dim) -> (batch, 0)"""
        return embedding.new_zeros(len(embedding), 0)


class Softmax(Head):
    def __init__(self, options: ProjectionOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.trans = nn.Sequential(nn.BatchNorm1d(embed_dim), nn.ReLU(), nn.Linear(embed_dim, num_classes))

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.trans(x)


class Linear(Head):
    def __init__(self, options: ProjectionOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.linear = nn.Linear(embed_dim, num_classes)

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.linear(x)


class TanhLinear(Head):
    def __init__(self, options: ProjectionOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.trans = nn.Sequential(nn.Tanh(), nn.Linear(embed_dim, num_classes))

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.trans(x)


class SLSHead(Head):
    """log-softmax(SELU(fc3(x))), as the published SLS model ends."""

    def __init__(self, options: ProjectionOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.fc3 = nn.Linear(embed_dim, num_classes)

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return F.selu(self.fc3(x)).log_softmax(dim=1)


class CosineHead(Head):
    """Cosines to one or more centres of each class; what labels do to them is `with_margin`."""

    def __init__(self, options: ProjectionOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.scale = options.scale
        self.weight = nn.Parameter(torch.empty(options.centres * num_classes, embed_dim))
        nn.init.xavier_uniform_(self.weight)
        self.register_buffer("margin", torch.zeros(()), persistent=False)

    def set_margin(self, margin: float) -> None:
        self.margin.fill_(margin)

    def cosines(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), F.normalize(self.weight))      # (batch, centres * classes)

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        cosine = self.cosines(x)
        if labels is not None:
            cosine = self.with_margin(cosine, labels)
        return self.scale * cosine

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return cosine


def _own_class(labels: Tensor, like: Tensor) -> Tensor:
    """(batch, classes) bool, True at the label."""
    return F.one_hot(labels, like.shape[1]).bool()


def _sine(cosine: Tensor) -> Tensor:
    return (1 - cosine.square()).clamp(min=SMALLEST_SINE2).sqrt()


def _add_angle(cosine: Tensor, angle: Tensor, easy: bool = False) -> Tensor:
    """cos(theta + angle), continued by a straight line where theta + angle exceeds pi.

    `easy`: the angle is added only to acute theta.
    """
    moved = cosine * angle.cos() - _sine(cosine) * angle.sin()
    if easy:
        return torch.where(cosine > 0, moved, cosine)
    return torch.where(cosine > -angle.cos(), moved, cosine - (1 - angle.cos()))


def _subtract_angle(cosine: Tensor, angle: Tensor) -> Tensor:
    """cos(theta - angle)"""
    return cosine * angle.cos() + _sine(cosine) * angle.sin()


class AddMargin(CosineHead):
    """scale * (cos(theta) - margin) at the label."""

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return cosine - self.margin * _own_class(labels, cosine)


class ArcMargin(CosineHead):
    """scale * cos(theta + margin) at the label."""

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        moved = _add_angle(cosine, self.margin, self.options.easy_margin)
        return torch.where(_own_class(labels, cosine), moved, cosine)


class InterTopK(ArcMargin):
    """ArcMargin with K centres for each class, and cos(theta - penalty) at the k_top closest wrong classes."""

    options: InterTopKOptions

    def __init__(self, options: InterTopKOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.k_top = 0 if options.do_lm else min(options.k_top, num_classes - 1)

    def cosines(self, x: Tensor) -> Tensor:
        cosine = super().cosines(x).unflatten(1, (self.num_classes, self.options.centres))
        return cosine.amax(dim=2)                                      # (batch, classes)

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        moved = super().with_margin(cosine, labels)
        if self.k_top == 0:
            return moved
        own = _own_class(labels, cosine)
        closest = cosine.masked_fill(own, -2).topk(self.k_top, dim=1).indices
        wrong = torch.zeros_like(own).scatter(1, closest, True)
        return torch.where(wrong, _subtract_angle(cosine, self.options.mp * self.margin / 0.2), moved)


class Sphere(CosineHead):
    """|x| * cos(margin * theta) at the label, mixed with |x| * cos(theta), of which less and less remains."""

    options: SphereOptions
    base, gamma, least = 1000.0, 0.12, 5.0

    def __init__(self, options: SphereOptions, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))  # resumed with the weights

    def set_margin(self, margin: float) -> None:
        """The margin of this head is its own option."""

    def adopt(self, weights: dict[str, Tensor], prefix: str) -> None:
        """WeSpeaker does not keep the count; a training that goes on from its file starts it anew."""
        weights.setdefault(f"{prefix}iteration", torch.zeros_like(self.iteration))

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        cosine = self.cosines(x).clamp(-1, 1)
        if labels is not None:
            self.iteration += 1
            remains = (self.base / (1 + self.gamma * self.iteration)).clamp(min=self.least)
            steeper = (self._multiple(cosine) - cosine) / (1 + remains)
            cosine = cosine + steeper * _own_class(labels, cosine)
        return x.norm(dim=1, keepdim=True) * cosine

    def _multiple(self, cosine: Tensor) -> Tensor:
        """(-1)^k cos(m theta) - 2k, which falls all the way from 1 to 1 - 2m."""
        m = self.options.margin
        previous, chebyshev = torch.ones_like(cosine), cosine          # cos(0 theta), cos(1 theta)
        for _ in range(m - 1):
            previous, chebyshev = chebyshev, 2 * cosine * chebyshev - previous
        k = (m * cosine.detach().acos() / torch.pi).floor().clamp(max=m - 1)
        return (1 - 2 * (k % 2)) * chebyshev - 2 * k


class SphereFace2(CosineHead):
    """A binary classifier for each class: own class against the others, weighted by `lanbuda`."""

    options: SphereFace2Options

    def __init__(self, options: SphereFace2Options, embed_dim: int, num_classes: int):
        super().__init__(options, embed_dim, num_classes)
        self.bias = nn.Parameter(torch.zeros(1, 1))

    def loss(self, logits: Tensor, labels: Tensor, criterion: nn.Module) -> Tensor:
        cosine = logits.float() / self.scale
        margin = self.margin if self.training else torch.zeros_like(self.margin)
        if self.options.margin_type == "A":
            own, other = self._spread(_add_angle(cosine, margin)), self._spread(_subtract_angle(cosine, margin))
        else:
            own, other = self._spread(cosine) - margin, self._spread(cosine) + margin
        weight = self.options.lanbuda
        loss_own = weight * F.softplus(-(self.scale * own + self.bias))
        loss_other = (1 - weight) * F.softplus(self.scale * other + self.bias)
        loss = torch.where(_own_class(labels, cosine), loss_own, loss_other).sum(dim=1)  # (batch,)
        return class_weighted_mean(loss, labels, criterion)

    def _spread(self, cosine: Tensor) -> Tensor:
        return 2 * ((cosine + 1) / 2).pow(self.options.t) - 1


class P2SGrad(CosineHead):
    """Mean squared error of cosines; logits are 2 artanh(cosine), the log-odds of (1 + cosine) / 2."""

    largest = 1 - 2e-5

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return 2 * self.cosines(x).clamp(-self.largest, self.largest).atanh()

    def loss(self, logits: Tensor, labels: Tensor, criterion: nn.Module) -> Tensor:
        return class_weighted_mean(squared_distances(logits, labels), labels, criterion)


def squared_distances(logits: Tensor, labels: Tensor) -> Tensor:
    """(batch,) mean squared error of P2SGrad's cosines, from its logits (batch, classes)."""
    cosine = (logits.float() / 2).tanh()
    return (cosine - _own_class(labels, cosine).float()).square().mean(dim=1)


def class_weighted_mean(loss: Tensor, labels: Tensor, criterion: nn.Module | None) -> Tensor:
    """The mean over a batch, each utterance weighted by its class as cross-entropy does."""
    if criterion is None:
        return loss.mean()
    if type(criterion).forward is not nn.CrossEntropyLoss.forward:
        raise InputError(f"loss: this projection has a loss of its own, in the place of {type(criterion).__name__}; "
                         "set loss: CrossEntropyLoss, whose class weights it takes")
    if criterion.label_smoothing:
        raise InputError("loss_args.label_smoothing has no meaning for this projection, which has a loss of its own; "
                         "set it to 0")
    if criterion.weight is None:
        return loss.mean()
    weight = criterion.weight[labels]
    return (weight * loss).sum() / weight.sum()
