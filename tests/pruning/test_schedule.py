"""The four schedules against values computed by hand."""

import pytest

from wedefense.config.pruning import PruningOptions
from wedefense.pruning.schedule import SHAPES, target_at
from wedefense.utils.errors import InputError

EXPECTED = {  # at p = 0, 0.25, 0.5, 0.75, 1
    "linear": (0, 0.25, 0.5, 0.75, 1),
    "cosine": (0, 0.1464466, 0.5, 0.8535534, 1),
    "exponential": (0, 0.0625, 0.25, 0.5625, 1),
    "sigmoid": (0.0066929, 0.0758582, 0.5, 0.9241418, 0.9933071),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_shapes(name):
    assert [SHAPES[name](p) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(EXPECTED[name], abs=1e-6)


@pytest.mark.parametrize("name", EXPECTED)
def test_targets_between_two_sparsities_and_constant_after(name):
    """A warm-up of 2.5 epochs from 0.2 to 0.6."""
    for p, shape in zip((0, 0.25, 0.5, 0.75), EXPECTED[name]):
        assert target_at(2.5 * p, name, 2.5, 0.2, 0.6) == pytest.approx(0.2 + 0.4 * shape, abs=1e-6)
    assert target_at(2.5, name, 2.5, 0.2, 0.6) == target_at(9, name, 2.5, 0.2, 0.6) == 0.6
    assert target_at(0, name, 0, 0.2, 0.6) == 0.6


@pytest.mark.parametrize("changes, message", [
    ({"target_sparsity": 1.0}, "fraction to remove"), ({"target_sparsity": 50}, "fraction to remove"),
    ({"target_sparsity": 0.3, "min_sparsity": 0.5}, "must not exceed"),
    ({"target_sparsity": 0.3, "target_params": 1e6}, "target_sparsity is given too"),
    ({"initial_reg_lr": 0}, "greater than 0"), ({"sparsity_warmup_epochs": -1}, "at least 0")])
def test_impossible_options_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        PruningOptions(**changes)
