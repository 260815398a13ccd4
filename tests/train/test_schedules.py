import inspect
import math

import pytest
import torch

from wedefense.config.train import (
    OPTIMIZER_ARGS,
    ExponentialDecreaseOptions,
    MarginOptions,
    StepDecreaseOptions,
    TriAngular2Options,
)
from wedefense.train.schedules import ExponentialDecrease, StepDecrease, TriAngular2, margin_at


def test_exponential_decrease_follows_the_formula_without_warm_up():
    schedule = ExponentialDecrease(ExponentialDecreaseOptions(0.1, 0.001, warm_up_epoch=0), 10, 20, scale=1.0)
    assert schedule.lr(0) == pytest.approx(0.1)
    assert schedule.lr(100) == pytest.approx(0.01)  # half way down two decades
    assert schedule.lr(200) == pytest.approx(0.001)


def test_warm_up_from_zero_reaches_the_scale():
    options = ExponentialDecreaseOptions(0.1, 0.1, warm_up_epoch=2, warm_from_zero=True)
    schedule = ExponentialDecrease(options, 10, 5, scale=4.0)
    assert [schedule.lr(t) for t in (0, 5, 10, 49)] == pytest.approx([0.0, 0.2, 0.4, 0.4])


def test_warm_up_from_one_happens_only_for_large_batches():
    options = ExponentialDecreaseOptions(0.1, 0.1, warm_up_epoch=2)
    assert [ExponentialDecrease(options, 10, 5, 3.0).lr(t) for t in (0, 5, 10)] == pytest.approx([0.1, 0.2, 0.3])
    assert [ExponentialDecrease(options, 10, 5, 0.5).lr(t) for t in (0, 5, 10)] == pytest.approx([0.05, 0.05, 0.05])


def test_triangles_shrink_from_cycle_to_cycle():
    options = TriAngular2Options(1.0, 0.0001, warm_up_epoch=0, cycle_step=2, reduce_lr_diff_ratio=0.5)
    schedule = TriAngular2(options, 8, 10, scale=1.0)
    low = 0.0001
    assert [schedule.lr(t) for t in (0, 5, 10, 15, 20, 30)] == pytest.approx(
        [low, low + (1 - low) / 2, 1.0, low + (1 - low) / 2, low, low + (1 - low) / 2])


def test_steps_fall_after_whole_epochs():
    options = StepDecreaseOptions(0.8, 0.15, warm_up_epoch=0, factor=0.5, every_epochs=2)
    schedule = StepDecrease(options, 100, 10, scale=0.125)
    assert [schedule.lr(t) for t in (0, 19, 20, 39, 40, 60, 900)] == pytest.approx(
        [0.1, 0.1, 0.05, 0.05, 0.025, 0.01875, 0.01875])
    assert [StepDecrease(options, epochs, 10, 0.125).lr(20) for epochs in (3, 50)] == pytest.approx([0.05, 0.05])
    assert not options.spans_all_epochs


@pytest.mark.parametrize("kind, half", [("linear", 0.1), ("exp", 0.2 * (1 - math.sqrt(1e-3)))])
def test_margin_rises_between_its_epochs(kind, half):
    options = MarginOptions(0.0, 0.2, increase_start_epoch=3, fix_start_epoch=5, increase_type=kind)
    margins = [margin_at(options, step, 10) for step in (0, 19, 20, 30, 40, 99)]
    assert margins == pytest.approx([0, 0, 0, half, 0.2, 0.2])
    still = MarginOptions(0.1, 0.2, 3, 5, update_margin=False)
    assert margin_at(still, 99, 10) == 0.1


@pytest.mark.parametrize("name", OPTIMIZER_ARGS)
def test_the_table_of_optimisers_is_that_of_torch(name):
    known = set(inspect.signature(getattr(torch.optim, name)).parameters) - {"params", "lr"}
    assert set(OPTIMIZER_ARGS[name]) == known
