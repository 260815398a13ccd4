"""Log-likelihood ratios do not depend on what the classes were in training: how many there were, what they weighed."""

import numpy as np
import pytest
import torch

from wedefense.config.heads import LossOptions
from wedefense.data.labels import Labels
from wedefense.models.losses import CrossEntropyLoss
from wedefense.scoring.llr import llr
from wedefense.utils.errors import InputError

NAMES = ("bonafide", "spoof")


def learnt(counts: tuple[int, int], weights: tuple[float, float] | None) -> tuple[float, float]:
    """Slope and offset of the LLRs that a linear layer learns: bona fide is drawn around 1, spoofs around -1."""
    quantiles = [torch.distributions.Normal(mean, 1.0).icdf((torch.arange(n) + 0.5) / n).double()
                 for mean, n in zip((1.0, -1.0), counts)]
    x, labels = torch.cat(quantiles)[:, None], torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    criterion = CrossEntropyLoss(LossOptions(weight=weights), NAMES).double()
    layer = torch.nn.Linear(1, 2).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        found = criterion(layer(x), labels)
        found.backward()
        return found

    optimizer.step(loss)
    logits = layer(torch.tensor([[0.0], [1.0]]).double()).detach().numpy()
    at_0, at_1 = llr(logits, Labels(NAMES, counts, weights or ()))
    return at_1 - at_0, at_0


@pytest.mark.parametrize("counts", [(400, 400), (100, 900)])
@pytest.mark.parametrize("weights", [None, (0.9, 0.1), (0.2, 0.8)])
def test_class_counts_and_class_weights_are_taken_out(counts, weights):
    slope, offset = learnt(counts, weights)
    assert slope == pytest.approx(2.0, abs=0.1) and offset == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("counts, ends", [((500, 500), (-2.94, 2.94)), ((100, 900), (-0.75, 5.14))])
def test_label_smoothing_is_not_taken_out(counts, ends):
    """Where a detector is sure, as docs/calibration.md says."""
    criterion = CrossEntropyLoss(LossOptions(label_smoothing=0.1), NAMES).double()
    logits = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)  # of a sure spoof, of a sure bona fide
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        found = criterion(logits, torch.tensor([1, 0]))
        found.backward()
        return found

    optimizer.step(loss)
    assert llr(logits.detach().numpy(), Labels(NAMES, counts)) == pytest.approx(ends, abs=0.01)


@pytest.mark.parametrize("weights", [(), (0.9, 0.1), (1 / 3, 1234567.0)])
def test_labels_keep_what_the_classes_weighed(tmp_path, weights):
    labels = Labels(NAMES, (2580, 22800), weights)
    labels.save(tmp_path / "label2id")
    assert Labels.load(tmp_path / "label2id") == labels
    assert np.exp(labels.log_priors).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("lines", ["bonafide 0 3 0.5\nspoof 1 4\n", "bonafide 0 3 0\nspoof 1 4 1\n",
                                   "bonafide 0 3 nan\nspoof 1 4 1\n", "bonafide 0 3 1 1\nspoof 1 4 1 1\n"])
def test_weights_that_are_none_are_refused(tmp_path, lines):
    (tmp_path / "label2id").write_text(lines)
    with pytest.raises(InputError, match="label2id: expected lines `LABEL ID COUNT`, with a WEIGHT above 0"):
        Labels.load(tmp_path / "label2id")


def test_missing_ones_are_told_with_the_stage_that_writes_them(tmp_path):
    with pytest.raises(InputError, match=r"label2id: no such file; training writes it \(stage 3\)"):
        Labels.load(tmp_path / "label2id")
