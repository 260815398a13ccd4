"""One step of every mode on a GPU in bfloat16, beside the step of the CPU in float32.

At base size; without a GPU the emulated one takes a step of a tiny encoder.
"""

import pytest
import torch

from tests.gpu.interpreter import DEVICE, gpu  # noqa: F401
from tests.train.steps import MODES, assert_close, step

ENCODER = "wavlm_base" if DEVICE == "cuda" else "wavlm_tiny"


@pytest.mark.parametrize("mode", MODES)
def test_a_step_on_the_gpu_is_that_of_the_cpu(gpu, tmp_path, mode, monkeypatch):  # noqa: F811
    uniform = torch.Tensor.uniform_  # gates are drawn on the CPU for both
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *span, generator=None: self.copy_(
        uniform(torch.empty(self.shape), *span, generator=generator)))
    reference = step(tmp_path, mode, ENCODER, "cpu", amp=False)
    assert_close(step(tmp_path, mode, ENCODER, "cuda", amp=True), reference)
