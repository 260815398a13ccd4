"""Gates against the closed forms of their distribution, and what evaluation keeps."""

import math

import pytest
import torch

from wedefense.pruning.hard_concrete import HardConcrete, draw_together, forget

ALPHAS = torch.linspace(-4, 4, 9)


def gate_of(values, **options) -> HardConcrete:
    gate = HardConcrete(len(values), 0.5, **options)
    with torch.no_grad():
        gate.log_alpha.copy_(torch.as_tensor(values, dtype=torch.float32))
    return gate


def test_samples_follow_the_closed_forms():
    gate = gate_of(ALPHAS.repeat(20000))
    torch.manual_seed(0)
    samples = gate.sample().detach().view(20000, 9)
    assert samples.min() == 0 and samples.max() == 1
    opened = (samples > 0).float().mean(0)
    torch.testing.assert_close(opened, torch.sigmoid(ALPHAS - 2 / 3 * math.log(0.1 / 1.1)), atol=0.01, rtol=0)
    torch.testing.assert_close(opened, gate.open_probability().detach()[:9], atol=0.01, rtol=0)
    full = torch.sigmoid(ALPHAS - 2 / 3 * math.log(1.1 / 0.1))  # P(s > 1/1.1 of the range)
    torch.testing.assert_close((samples == 1).float().mean(0), full, atol=0.01, rtol=0)
    # the mean as the integral of P(gate > x) over x from 0 to 1
    x = (torch.arange(2000) + 0.5) / 2000
    s = (x + 0.1) / 1.2
    survival = torch.sigmoid(ALPHAS[:, None] - 2 / 3 * (s / (1 - s)).log())
    torch.testing.assert_close(samples.mean(0), survival.mean(1), atol=0.01, rtol=0)


def test_gates_that_are_drawn_together_are_those_drawn_one_by_one():
    gates = [gate_of(ALPHAS[:count]) for count in (3, 1, 9)]

    def values_and_gradients():
        values = [gate() for gate in gates]
        return values + [*torch.autograd.grad(sum(x.square().sum() for x in values), [g.log_alpha for g in gates])]

    torch.manual_seed(3)
    alone = values_and_gradients()
    torch.manual_seed(3)
    draw_together(gates)
    for _ in range(2):  # a gate that is asked twice says the same
        assert all(map(torch.equal, [gate() for gate in gates], alone))
    assert all(map(torch.equal, values_and_gradients(), alone))
    forget(gates)
    assert not torch.equal(gates[2](), alone[2])


@pytest.mark.parametrize("drop_rate", [0.01, 0.5])
def test_the_start_is_as_closed_as_asked(drop_rate):
    torch.manual_seed(0)
    log_alpha = HardConcrete(1000, drop_rate).log_alpha
    assert torch.sigmoid(-log_alpha).mean().item() == pytest.approx(drop_rate, rel=0.01)


def test_evaluation_keeps_the_expected_number_of_the_largest():
    """Open probabilities of 0.9, 0.8, 0.6, 0.1: 2.4 expected, 2 are kept."""
    probability = torch.tensor([0.1, 0.9, 0.6, 0.8])
    gate = gate_of(torch.logit(probability) + 2 / 3 * math.log(0.1 / 1.1)).eval()
    torch.testing.assert_close(gate.open_probability().detach(), probability)
    assert gate.is_open().tolist() == [False, True, False, True]
    log_alpha = gate.log_alpha.detach()
    expected = torch.sigmoid(0.8 * log_alpha / (2 / 3)) * torch.tensor([0.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(gate().detach(), expected)
    assert torch.equal(gate(), gate())


def test_a_minimum_is_kept_and_may_be_zero():
    assert gate_of([-9.0, -8.0, -9.0], minimum=1).is_open().tolist() == [False, True, False]
    assert not gate_of([-9.0, -8.0, -9.0]).eval()().any()


def test_loading_other_weights_changes_what_is_kept():
    gate = gate_of([9.0, -9.0]).eval()
    assert gate().argmax() == 0
    gate.load_state_dict(gate_of([-9.0, 9.0]).state_dict())
    assert gate().tolist() == [0.0, pytest.approx(1.0, abs=1e-4)]
    assert list(gate.state_dict()) == ["log_alpha"]


def test_training_samples_and_learns():
    gate = gate_of([0.0] * 50)
    torch.manual_seed(0)
    first = gate()
    assert not torch.equal(first, gate())
    torch.manual_seed(0)
    assert torch.equal(first, gate())
    first.sum().backward()
    assert (gate.log_alpha.grad > 0).sum() > 25 and torch.isfinite(gate.log_alpha.grad).all()
