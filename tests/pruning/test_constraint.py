"""The counted size against the real one, and multipliers that learn by ascent with any optimiser."""

from types import SimpleNamespace

import pytest
import torch

from tests.pruning.helpers import FAMILIES, batch, gated, holding, randomly, set_gates
from wedefense.config.pruning import PruningOptions
from wedefense.config.train import OPTIMIZER_ARGS
from wedefense.pruning.constraint import STIFFNESS, Lagrangian, ReleasedLagrangian, sparsity_text
from wedefense.pruning.gates import gated_sites
from wedefense.pruning.settle import settle
from wedefense.pruning.size import Size, _Product, decided_openness, expected_openness
from wedefense.pruning.surgery import cut
from wedefense.train.prune import Prune
from wedefense.utils.errors import InputError


@pytest.mark.parametrize("family", FAMILIES)
def test_multiply_adds_of_the_gated_are_those_of_the_cut(family):
    encoder = gated(family)
    set_gates(encoder, randomly(2, 0.6))
    counted, small = Size(encoder, "multiply-adds").of(decided_openness), cut(encoder)
    assert counted == Size(small, "multiply-adds").original < Size(encoder, "multiply-adds").original


def test_the_expected_size_is_the_mean_over_independent_gates():
    encoder = gated("wavlm")
    with torch.no_grad():
        for site in gated_sites(encoder):
            site.gate.log_alpha.copy_(torch.randn(site.count) - 1.6)
    size = Size(encoder)
    torch.manual_seed(0)
    sizes = [size.of(lambda gates: torch.cat([gate.sample() > 0 for gate in gates]).double()).item()
             for _ in range(400)]
    assert size.of(expected_openness).item() == pytest.approx(sum(sizes) / len(sizes), rel=0.02)


def test_the_gradient_of_a_product_that_has_zeros():
    rows = torch.tensor([[0.2, 0.5, 0.9], [0.0, 0.3, 0.4], [0.0, 0.0, 0.7], [1.0, 1.0, 1.0]], dtype=torch.float64)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    scale = torch.arange(1.0, 5.0, dtype=torch.float64)
    (_Product.apply(ours) * scale).sum().backward()
    (theirs.prod(1) * scale).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_every_gate_feels_the_size():
    encoder = gated("wavlm_large")
    size = Size(encoder).of(expected_openness)
    size.backward()
    for site in gated_sites(encoder):
        assert (site.gate.log_alpha.grad > 0).all(), site


def mode_of(units=(), **options):
    encoder = gated("wavlm", units)
    detector = holding(encoder)
    mode = Prune(PruningOptions(use_pruning_loss=True, **options), detector)
    groups = mode.groups(detector, SimpleNamespace(frontend_modules=("frontend",), frontend_lr_ratio=0.1))
    return encoder, mode, groups


def test_groups_hold_every_parameter_once():
    encoder, mode, groups = mode_of(target_sparsity=0.5)
    by_name = {group["name"]: group for group in groups}
    assert by_name["gates"]["fixed_lr"] == by_name["multipliers"]["fixed_lr"] == 5e-2
    assert by_name["gates"]["weight_decay"] == by_name["multipliers"]["weight_decay"] == 0
    everything = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in everything}) == len(everything) == len([*encoder.parameters()]) + 2


@pytest.mark.parametrize("optimizer", OPTIMIZER_ARGS)
def test_multipliers_climb_and_gates_descend(optimizer):
    """A little over a target of 0: l1 must rise; l2 always does; and the gates must open."""
    encoder, mode, groups = mode_of(target_sparsity=0.0, sparsity_warmup_epochs=0, initial_reg_lr=0.01)
    with torch.no_grad():
        for site in gated_sites(encoder):
            site.gate.log_alpha.fill_(2.5)
    chosen = getattr(torch.optim, optimizer)([{**group, "lr": 0.01} for group in groups if "fixed_lr" in group])
    before = mode.size.sparsity(expected_openness).item()
    for step in range(12):
        chosen.zero_grad()
        mode.before_step(step, 10)
        mode.terms(None, None)["penalty"].backward()
        chosen.step()
    assert mode.lagrangian.l1 > 0 and mode.lagrangian.l2 > 0
    assert mode.size.sparsity(expected_openness).item() < before


@pytest.mark.parametrize("gap, learnt_by_l1", [(-0.02, -0.02), (0.04, 0.04), (-0.2, 0.0), (0.2, 0.0)])
def test_l1_learns_near_the_target_and_pulls_everywhere(gap, learnt_by_l1):
    """Far from it the quadratic term works alone, so that l1 does not wind up; l1 may become negative."""
    lagrangian = Lagrangian()
    with torch.no_grad():
        lagrangian.l1.fill_(-3.0)
    sparsity = torch.tensor(0.5 + gap, requires_grad=True)
    lagrangian(sparsity, 0.5).backward()
    assert lagrangian.l1.grad.item() == pytest.approx(learnt_by_l1, abs=1e-6)
    assert lagrangian.l2.grad.item() == pytest.approx(gap ** 2, abs=1e-6)
    assert sparsity.grad.item() == pytest.approx(-3.0 + 2 * STIFFNESS * gap, rel=1e-4)


@pytest.mark.parametrize("gap", [-0.2, 0.02])
def test_the_released_constraint_by_hand(gap):
    lagrangian = ReleasedLagrangian()
    with torch.no_grad():
        lagrangian.l1.fill_(-3.0)
        lagrangian.l2.fill_(0.5)
    lagrangian.hold()
    sparsity = torch.tensor(0.5 + gap, requires_grad=True)
    penalty = lagrangian(sparsity, 0.5)
    penalty.backward()
    assert lagrangian.l1.item() == 0 and penalty.item() == pytest.approx(0.5 * gap ** 2, rel=1e-4)
    assert lagrangian.l1.grad.item() == pytest.approx(gap, abs=1e-6)
    assert sparsity.grad.item() == pytest.approx(gap, rel=1e-4)


def test_a_released_run_holds_l1_at_zero_and_clips_its_gates():
    _, mode, groups = mode_of(target_sparsity=0.5, constraint="released", clip_gates=True)
    with torch.no_grad():
        mode.lagrangian.l1.fill_(-1.0)
    mode.before_step(0, 10)
    assert mode.lagrangian.l1.item() == 0
    assert [group["name"] for group in groups if group.get("clipped", "fixed_lr" not in group)] == ["frontend", "gates"]
    _, _, groups = mode_of(target_sparsity=0.5)
    assert [group["name"] for group in groups if group.get("clipped", "fixed_lr" not in group)] == ["frontend"]


def test_budgets_become_fractions():
    encoder, mode, _ = mode_of(target_sparsity=0.0, target_params=0.6 * Size(gated("wavlm")).original)
    assert mode.final == pytest.approx(0.4)
    _, mode, _ = mode_of(target_macs=0.7 * Size(encoder, "multiply-adds").original)
    assert mode.final == pytest.approx(0.3) and mode.size.measure == "multiply-adds"


def test_a_target_out_of_reach_is_refused():
    with pytest.raises(InputError, match="no more than .* can be removed; name more .attlayer, conv, ffnlayer, interm"):
        mode_of(("head",), target_sparsity=0.5)
    with pytest.raises(InputError, match="has no units to cut"):
        mode_of(target_sparsity=0.99)
    with pytest.raises(InputError, match="nothing has to be removed"):
        mode_of(target_params=1e9)


@pytest.mark.parametrize("target", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("layers_open", [3, -9])
def test_settling_meets_the_target(target, layers_open):
    """With whole sublayers that are open, and with all of them closed, which leaves too little."""
    encoder = gated("wavlm")
    torch.manual_seed(1)
    with torch.no_grad():
        for site in gated_sites(encoder):
            whole = site.unit in ("attlayer", "ffnlayer")
            site.gate.log_alpha.copy_(torch.randn(site.count) + (layers_open if whole else -1))
    size = Size(encoder)
    settled = settle(encoder, size, target)
    assert settled.final == pytest.approx(target, abs=0.01)
    assert 1 - sum(p.numel() for p in cut(encoder).parameters()) / size.original == pytest.approx(settled.final)
    assert settled.layers > 0 or layers_open > 0 or target > 0.5
    again = settle(encoder, size, settled.final)
    assert again.shift == again.layers == 0 and again.rounded == settled.final


def test_sparsity_in_words():
    assert sparsity_text(0.1) == "remove 10 %, keep 90 %" and sparsity_text(0.333) == "remove 33.3 %, keep 66.7 %"


def test_gates_survive_gradient_checkpointing():
    """The recomputed forward must see the same samples."""
    gradients = []
    for checkpointing in (False, True):
        encoder = gated("wavlm").train()
        for part in encoder.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
            elif hasattr(part, "dropout") and isinstance(part.dropout, float):
                part.dropout = 0.0
        encoder.gradient_checkpointing = checkpointing
        torch.manual_seed(0)
        encoder(batch(), torch.tensor([7000, 5001, 3000])).layers[-1].square().mean().backward()
        gradients.append([site.gate.log_alpha.grad for site in gated_sites(encoder)])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
