"""Learning from the unpruned model: extra terms of the loss that hold a pruned detector near to it."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from wedefense.config.pruning import DistillOptions
from wedefense.data.batch import Batch
from wedefense.frontend.features import LayerFeatures
from wedefense.models.detector import Detector, Outputs
from wedefense.pruning.gates import gated_sites


def layer_distance(student: LayerFeatures, teacher: LayerFeatures) -> Tensor:
    """The mean over the layers of |student - teacher|^2 / |teacher|^2: 0 if equal, 1 for a student that says nothing.

    Both are zero past an utterance's end.
    """
    return torch.stack([(s.float() - t.float()).square().sum() / t.float().square().sum()
                        for s, t in zip(student.layers, teacher.layers, strict=True)]).mean()


def logit_distance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The divergence of the student's classes from the teacher's, both softened, times temperature^2 so that its
    gradients keep their size; logits (batch, classes)."""
    wanted, given = ((logits.float() / temperature).log_softmax(1) for logits in (teacher, student))
    return temperature ** 2 * F.kl_div(given, wanted, reduction="batchmean", log_target=True)


class Teacher:
    """The detector as it was before training, without gates; `terms` are what the student's outputs cost.

    The front-end's layers are compared as they are handed out, the logits as they are without a margin.
    """

    def __init__(self, options: DistillOptions, student: Detector):
        self.options, self.head = options, student.projection
        self.detector = copy.deepcopy(student).requires_grad_(False).eval()
        for site in gated_sites(self.detector.pretrained.upstream):
            setattr(site.module, site.attribute, None)

    def terms(self, batch: Batch, student: Outputs) -> dict[str, Tensor]:
        options, terms, teacher = self.options, {}, self.detector
        if next(teacher.parameters()).device != batch.wav.device:  # moving it each time would undo what it keeps
            teacher.to(batch.wav.device)
        lengths = batch.lengths.tolist()
        with torch.no_grad():
            answer = teacher(batch.wav, lengths) if options.logits else None
            layers = answer.layers if answer else teacher.frontend(batch.wav, lengths)
        if options.layers:
            terms["distill_layers"] = options.layers * layer_distance(student.layers, layers)
        if answer:
            logits = self.head(student.embedding)
            terms["distill_logits"] = options.logits * logit_distance(logits, answer.logits, options.temperature)
        return terms
