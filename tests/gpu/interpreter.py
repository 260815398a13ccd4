"""Where kernels are tested: on the GPU if there is one, else on the CPU by Triton's interpreter.

Without a GPU this module must be imported before `wedefense.gpu`; `tests/conftest.py` does.
"""

import os

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
pytest.importorskip("triton", reason="kernels need Triton")

if DEVICE == "cpu":
    from triton.runtime import interpreter

    _patch = interpreter._patch_lang_tensor

    def _patch_index(tensor, scope) -> None:
        """Bounds of loops are arrays of one number, which numpy no longer takes for a number."""
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = _patch_index
