"""One step of every mode at base size on a GPU in bfloat16, beside the step of the CPU in float32."""

import pytest
import torch

from tests.train.steps import MODES, assert_close, step

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("mode", MODES)
def test_a_step_on_the_gpu_is_that_of_the_cpu(tmp_path, mode, monkeypatch):
    uniform = torch.Tensor.uniform_  # gates are drawn on the CPU for both
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *span, generator=None: self.copy_(
        uniform(torch.empty(self.shape), *span, generator=generator)))
    reference = step(tmp_path, mode, "wavlm_base", "cpu", amp=False)
    assert_close(step(tmp_path, mode, "wavlm_base", "cuda", amp=True), reference)
