"""What training computes of a batch."""

import torch
from torch import Tensor, nn

from wedefense.data.batch import Batch
from wedefense.models.detector import Detector
from wedefense.models.losses import Loss
from wedefense.train.localization import SegmentLoss
from wedefense.train.modes import Mode


class TrainStep(nn.Module):
    """From a batch to its loss, in one module, so that data-parallel training sees the whole graph."""

    def __init__(self, detector: Detector, criterion: Loss, mode: Mode):
        super().__init__()
        self.detector, self.criterion, self.mode = detector, criterion, mode
        localizer = detector.localizer
        self.segment_loss = None if localizer is None else SegmentLoss(localizer.options)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """-> the loss, and (task loss, share of right answers) for the log"""
        outputs = self.detector(batch.wav, batch.lengths.tolist(), batch.labels)
        task = self.criterion.of_batch(outputs, batch, self.detector.projection)
        if self.segment_loss is not None:
            weight = self.segment_loss.options.utterance_weight
            task = weight * task + self.segment_loss(outputs.segments, batch.spans)
        loss = task + sum(self.mode.terms(batch, outputs).values())
        right = (outputs.logits.argmax(dim=1) == batch.labels).float().mean()
        return loss, torch.stack([task, right]).detach()

    def scalars(self) -> dict[str, float]:
        """What to log beside the loss, of the last batch."""
        found = {} if self.segment_loss is None else self.segment_loss.last
        return {name: value.item() for name, value in found.items()} | self.mode.scalars()
