"""One step of every mode in bfloat16, beside the same step in float32."""

import pytest
import torch

from tests.train.steps import MODES, assert_close, step


@pytest.mark.parametrize("mode", MODES)
def test_a_step_in_bfloat16_is_close_to_one_in_float32(tmp_path, mode):
    reference = step(tmp_path, mode, "wavlm_tiny", "cpu", amp=False)
    made = step(tmp_path, mode, "wavlm_tiny", "cpu", amp=True)
    assert_close(made, reference)
    assert any(not torch.equal(made[1][name], reference[1][name]) for name in made[1])  # it was another precision
    assert any(name.startswith("detector.frontend") for name in made[1]) == (mode != "frozen")
