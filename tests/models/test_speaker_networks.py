"""Parts of the speaker networks, written out by loops."""

import pytest
import torch
import torch.nn.functional as F

from wedefense.config.models import RepVGGOptions
from wedefense.frontend.features import frame_mask
from wedefense.models.campplus import SEGMENT, _segment_means
from wedefense.models.pooling import POOLINGS, XI
from wedefense.models.repvgg import Block


@torch.no_grad()
def test_xi_pooling_is_a_gaussian_posterior():
    """Precisions add up, and each frame and the prior count by theirs."""
    torch.manual_seed(0)
    pool = XI(6, hidden=5).eval()
    pool.prior_mean.normal_()
    pool.prior_logprec.normal_()
    x, lengths = torch.randn(2, 6, 9), (9, 4)
    mask = torch.arange(9)[None] < torch.tensor(lengths)[:, None]
    found = pool(x, mask)
    for row, utterance, frames in zip(found, x, lengths):
        precisions = [F.softplus(pool.lin2(pool.lin1_relu_bn(utterance[None, :, t:t + 1])))[0, :, 0] ** 2
                      for t in range(frames)]
        prior = pool.prior_logprec[0].exp()
        total = prior + sum(precisions)
        mean = (prior * pool.prior_mean[0] + sum(p * utterance[:, t] for t, p in enumerate(precisions))) / total
        torch.testing.assert_close(row, mean, atol=1e-5, rtol=1e-4)


def test_the_context_of_a_frame_is_its_segment():
    x, lengths = torch.randn(2, 3, 260), (260, 130)
    mask = (torch.arange(260)[None] < torch.tensor(lengths)[:, None])[:, None]
    found = _segment_means(x * mask, mask)
    for row, utterance, frames in zip(found, x, lengths):
        for t in range(0, frames, 13):
            start = t // SEGMENT * SEGMENT
            expected = utterance[:, start:min(start + SEGMENT, frames)].mean(1)
            torch.testing.assert_close(row[:, t], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_branches_are_one_convolution_when_they_are_merged():
    torch.manual_seed(0)
    branches = Block(4, 4, 1, RepVGGOptions()).eval()
    for norm in (branches.rbr_identity, branches.rbr_dense.bn, branches.rbr_1x1.bn):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    merged = Block(4, 4, 1, RepVGGOptions(deploy=True))
    centre = torch.eye(4)[:, :, None, None]
    kernel, bias = torch.zeros(4, 4, 3, 3), torch.zeros(4)
    for norm, weight in ((branches.rbr_identity, F.pad(centre, (1, 1, 1, 1))),
                         (branches.rbr_dense.bn, branches.rbr_dense.conv.weight),
                         (branches.rbr_1x1.bn, F.pad(branches.rbr_1x1.conv.weight, (1, 1, 1, 1)))):
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        kernel += weight * scale[:, None, None, None]
        bias += norm.bias - norm.running_mean * scale
    merged.rbr_reparam.weight.copy_(kernel)
    merged.rbr_reparam.bias.copy_(bias)
    x, mask = torch.randn(2, 4, 6, 10), torch.ones(2, 1, 1, 10)
    torch.testing.assert_close(merged(x, mask), branches(x, mask), atol=1e-5, rtol=1e-4)


def test_a_frame_of_no_precision_leaves_the_gradient_finite():
    pool, x = XI(4, hidden=8), torch.randn(2, 4, 10, requires_grad=True)
    torch.nn.init.constant_(pool.lin2.bias, -120.0)  # exp of it is 0 in float32
    pool(x, torch.ones(2, 10, dtype=torch.bool)).sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in (x, *pool.parameters()))


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("lengths", [(10, 7), (1, 1)])
def test_what_does_not_move_is_pooled_with_finite_gradients(name, lengths):
    """The deviation of silence, or of one frame, is 0: its root has no gradient there."""
    pool, x = POOLINGS[name](16).train(), torch.zeros(2, 16, max(lengths), requires_grad=True)
    pooled = pool(x, frame_mask(torch.tensor(lengths), max(lengths)))
    pooled.square().sum().backward()
    assert pooled.shape == (2, pool.out_dim) and pooled.isfinite().all()
    assert all(part.grad is None or part.grad.isfinite().all() for part in (x, *pool.parameters()))
