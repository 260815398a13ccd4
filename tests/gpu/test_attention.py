"""Attention over packed utterances beside its definition, written out; on a CPU by Triton's interpreter."""

import pytest
import torch

from tests.gpu.interpreter import DEVICE
from wedefense.gpu import attention
from wedefense.gpu.attention import attend, attend_backward, packed_attention
from wedefense.gpu.passes import totals_of

COUNTS, HEADS, DIM = [70, 33, 1, 12, 20], 2, 16


def written_out(qkv, gate, table, counts, frames):
    """Softmax(q k / sqrt(dim) + gate * table of distances) v, one utterance after the other."""
    parts, start = [], 0
    for count in counts:
        q, k, v = qkv[start:start + count].permute(1, 2, 0, 3)  # (heads, count, dim)
        scores = q @ k.transpose(1, 2) * qkv.shape[3] ** -0.5
        if table is not None:
            place = torch.arange(count, device=qkv.device)
            distance = place[None, :] - place[:, None] + frames - 1
            scores = scores + gate[start:start + count].t()[:, :, None] * table[:, distance]
        parts.append((scores.softmax(-1) @ v).transpose(0, 1))
        start += count
    return torch.cat(parts)


def inputs(biased, counts=COUNTS, requires_grad=True, dim=DIM):
    torch.manual_seed(0)
    rows, frames = sum(counts), max(counts)
    shapes = [(rows, 3, HEADS, dim)] + [(rows, HEADS), (HEADS, 2 * frames - 1)] * biased
    found = [torch.randn(shape, device=DEVICE).requires_grad_(requires_grad) for shape in shapes]
    starts = torch.tensor([0, *counts]).cumsum(0).int().to(DEVICE)
    return found + [None] * (3 - len(found)), starts, frames


@pytest.mark.parametrize("biased, dim", [(True, DIM), (False, DIM), (True, 24)], ids=str)  # XLS-R 1B has heads of 80
def test_values_and_gradients_are_those_of_the_definition(biased, dim):
    tensors, starts, frames = inputs(biased, dim=dim)
    given = [tensor for tensor in tensors if tensor is not None]
    here = packed_attention(*tensors, starts, frames)
    there = written_out(*tensors, COUNTS, frames)
    torch.testing.assert_close(here, there, rtol=0, atol=5e-6)
    weight = torch.randn_like(there)
    for one, other in zip(torch.autograd.grad(here, given, weight), torch.autograd.grad(there, given, weight)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("biased, dim", [(True, DIM), (False, DIM), (True, 24)], ids=str)
def test_bfloat16_is_near_the_definition_in_float32(biased, dim):
    (qkv, gate, table), starts, frames = inputs(biased, dim=dim)
    low = qkv.detach().bfloat16().requires_grad_()
    others = [tensor for tensor in (gate, table) if tensor is not None]
    here = packed_attention(low, gate, table, starts, frames)
    there = written_out(low.float(), gate, table, COUNTS, frames)
    assert here.dtype == torch.bfloat16
    weight = torch.randn_like(there).bfloat16()
    found = [here, *torch.autograd.grad(here, [low, *others], weight)]
    expected = [there, *torch.autograd.grad(there, [low, *others], weight.float())]
    for one, other in zip(found, expected, strict=True):
        assert (one.float() - other.float()).norm() <= 1e-2 * other.float().norm()


def test_an_utterance_alone_is_the_same_to_the_last_bit():
    (qkv, gate, table), starts, frames = inputs(True, requires_grad=False)
    together = packed_attention(qkv, gate, table, starts, frames)
    middle = table[:, frames - 33:frames + 32].contiguous()  # distances of 33 frames
    alone = packed_attention(qkv[70:103].contiguous(), gate[70:103], middle, torch.tensor([0, 33]).int().to(DEVICE), 33)
    assert torch.equal(together[70:103], alone)


def test_pairs_that_share_no_sheet_have_the_same_gradients_to_the_last_bit(monkeypatch):
    (qkv, gate, table), starts, frames = inputs(True, requires_grad=False)
    out, sums, _ = attend(qkv, gate, table, starts, None, frames, 0.0)
    dout, found = torch.randn_like(out), []
    for bound, most in ((2 ** 29, 2 ** 16), (1, 2 ** 16), (3 * 96 * 70 * 4, 2 ** 16), (2 ** 29, 3)):
        monkeypatch.setattr(attention, "SHEET", bound)  # all on one sheet, each on its own, three together
        monkeypatch.setattr(attention, "MOST_PROGRAMS", most)
        found.append(attend_backward(dout, qkv, gate, table, starts, None, out, sums, frames, 0.0, True, for_sums=True))
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_what_is_past_the_end_adds_nothing_beside_scores_however_low():
    """There scores are those of zeros, and their exponentials next to the sums of others beyond all numbers."""
    (qkv, gate, table), starts, frames = inputs(True, counts=[20, 9], requires_grad=False)
    qkv = qkv + torch.tensor([20.0, -20.0, 0.0], device=DEVICE)[None, :, None, None]
    out, sums, _ = attend(qkv, gate, table, starts, None, frames, 0.0)
    assert sums.max() < -2000
    dout = torch.randn_like(out)
    dqkv, dgate, of_table, partial = attend_backward(dout, qkv, gate, table, starts, None, out, sums, frames, 0.0, True,
                                                     for_sums=True)
    given = [tensor.clone().requires_grad_() for tensor in (qkv, gate, table)]
    there = torch.autograd.grad(written_out(*given, [20, 9], frames), given, dout)
    for here, expected in zip((dqkv, dgate, totals_of(of_table)[0]), there, strict=True):
        assert (here - expected).norm() <= 1e-2 * expected.norm()
    torch.testing.assert_close(totals_of(partial)[0], dqkv.flatten(1).sum(0), rtol=1e-4, atol=1e-3)


def test_dropout_leaves_its_share_and_every_kernel_sees_the_same():
    (qkv, gate, table), starts, frames = inputs(True, counts=[40, 9])

    def attended(q, t):
        torch.manual_seed(1)
        return packed_attention(torch.cat((q, qkv[:, 1:]), 1), gate, t, starts, frames, dropout=0.3)

    q, t = qkv[:, :1].detach().requires_grad_(), table.detach().requires_grad_()
    out = attended(q, t)
    assert torch.equal(out, attended(q, t))
    weight = torch.randn_like(out)
    gradients = torch.autograd.grad(out, (q, t), weight)
    for number, gradient in enumerate(gradients):
        step = [torch.zeros_like(q), torch.zeros_like(t)]
        step[number] = torch.randn_like(step[number]) * 2e-3
        up, down = (attended(q + sign * step[0], t + sign * step[1]) for sign in (1, -1))
        expected = ((up - down).double() * weight).sum().item() / 2
        assert (gradient * step[number]).sum().item() == pytest.approx(expected, rel=2e-2, abs=1e-4)


def test_dropout_keeps_the_mean():
    torch.manual_seed(2)
    qkv = torch.ones(64, 3, 1, 16, device=DEVICE)
    starts = torch.tensor([0, 64]).int().to(DEVICE)
    share = packed_attention(qkv, None, None, starts, 64, dropout=0.25)[:, 0, 0]
    assert share.std() > 0.01 and share.mean().item() == pytest.approx(1, abs=0.05)


def test_the_operator_keeps_what_compilers_ask_of_it():
    (qkv, gate, table), starts, frames = inputs(True)
    arguments = (qkv, gate, table, starts, None, frames, 0.0)
    found = torch.library.opcheck(torch.ops.wedefense.packed_attention.default, arguments,
                                  test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))
    assert len(found) == 3 and set(found.values()) == {"SUCCESS"}
