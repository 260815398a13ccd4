"""Learning from the unpruned model: extra terms of the loss that hold a pruned detector near to it."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.pruning import DistillOptions
from wedefense.frontend.features import LayerFeatures, Lengths
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
    """The detector as it was before training, without gates; `terms` are what the student's last batch costs.

    The front-end's layers are compared as they are handed out, the logits as they are without a margin.
    """

    def __init__(self, options: DistillOptions, student: nn.Module):
        self.options, self.student = options, student
        self.detector = copy.deepcopy(student).requires_grad_(False).eval()
        for site in gated_sites(self.detector.frontend.upstream):
            setattr(site.module, site.attribute, None)
        self.theirs, self.own = _record_outputs(student), _record_outputs(self.detector)

    def terms(self, wav: Tensor, lengths: Lengths) -> dict[str, Tensor]:
        """Call after the student's forward pass of the same batch."""
        options, terms, teacher = self.options, {}, self.detector
        if next(teacher.parameters()).device != wav.device:  # moving it each time would undo what it keeps
            teacher.to(wav.device)
        with torch.no_grad():
            answer = (teacher if options.logits else teacher.frontend)(wav, lengths)
        if options.layers:
            terms["distill_layers"] = options.layers * layer_distance(self.theirs["frontend"], self.own["frontend"])
        if options.logits:
            student = self.student.projection(self.theirs["backend"])
            terms["distill_logits"] = options.logits * logit_distance(student, answer, options.temperature)
        self.theirs.clear()
        self.own.clear()
        return terms


def _record_outputs(detector: nn.Module) -> dict[str, object]:
    """What the front-end and the back-end of a detector said last."""
    outputs: dict[str, object] = {}
    for name in ("frontend", "backend"):
        getattr(detector, name).register_forward_hook(
            lambda module, inputs, output, name=name: outputs.__setitem__(name, output))
    return outputs
