"""Losses: modules made by `Class(options, names)`, `names` being the labels in the order of their ids."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wedefense.config.heads import LossOptions
from wedefense.data.batch import Batch
from wedefense.models.detector import Outputs
from wedefense.models.heads import Head
from wedefense.utils.errors import InputError, did_you_mean


class Loss(nn.Module):
    """`forward(logits (batch, classes), labels (batch,))` is the mean over a batch, which validation reports too.

    One that looks at more (frames, embeddings, other targets) says in `of_batch` what training minimises.
    """

    def of_batch(self, outputs: Outputs, batch: Batch, head: Head) -> Tensor:
        return head.loss(outputs.logits, batch.labels, self)


class CrossEntropyLoss(Loss, nn.CrossEntropyLoss):
    """Of logits (batch, classes) and labels (batch,), with the class weights of the options."""

    def __init__(self, options: LossOptions, names: Sequence[str]):
        super().__init__(weight=_class_weights(options.weight, names), label_smoothing=options.label_smoothing)


def _class_weights(weight, names: Sequence[str]) -> Tensor | None:
    if weight is None:
        return None
    if isinstance(weight, dict):
        for name in weight:
            if name not in names:
                raise InputError(f"loss_args.weight: no class '{name}' in the training labels"
                                 f"{did_you_mean(name, names)}")
        missing = [name for name in names if name not in weight]
        if missing:
            raise InputError(f"loss_args.weight: give class '{missing[0]}' a weight too")
        weight = [weight[name] for name in names]
    if len(weight) != len(names):
        raise InputError(f"loss_args.weight has {len(weight)} numbers for {len(names)} classes "
                         f"(in this order: {', '.join(names)})")
    return torch.tensor(weight, dtype=torch.float32)
