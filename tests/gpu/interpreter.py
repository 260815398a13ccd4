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
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    _patch_all, _patched = interpreter._patch_lang, set()
    _patch, _convert = interpreter._patch_lang_tensor, interpreter._convert_float
    _builder = interpreter.InterpreterBuilder
    _dot, _binary, _unary = _builder.create_dot, _builder.binary_op, _builder.unary_op

    def _patch_index(tensor, scope) -> None:
        """Bounds of loops are arrays of one number, which numpy no longer takes for a number."""
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    def _patch_once(function):
        """For a kernel and what it calls; the interpreter looks through the whole language at every call."""
        own = {id(value) for value in function.__globals__.values() if value is tl or value is tl.core}
        if own <= _patched:
            return interpreter._LangPatchScope()
        scope, outermost = _patch_all(function), not _patched
        _patched.update(own)
        if outermost:
            restore = scope.restore
            scope.restore = lambda: (_patched.clear(), restore())
        return scope

    def _rounded(data, source, target, rounding_mode):
        """To bfloat16 as GPUs round: to the nearest, to even between two. The interpreter cuts off."""
        if (source, target) == (tl.float32, tl.bfloat16):
            return torch.tensor(data).bfloat16().view(torch.int16).numpy().view(np.uint16)
        if (source, target) == (tl.bfloat16, tl.float32):
            return data.astype(np.uint32) << 16
        return _convert(data, source, target, rounding_mode)

    OWN = "a kernel computes in bfloat16 itself, whose bits the interpreter takes for numbers"

    def _is_low(operand) -> bool:
        return operand.dtype.scalar == tl.bfloat16

    def _wide(operand):
        """bfloat16, which the interpreter keeps as its bits, as the float32 of the same value."""
        if not _is_low(operand):
            return operand
        data = _rounded(operand.data, tl.bfloat16, tl.float32, None).view(np.float32)
        return interpreter.TensorHandle(data, tl.float32)

    def _product(self, a, b, *others):
        return _dot(self, _wide(a), _wide(b), *others)

    def _sum(self, one, other, operation):
        assert not _is_low(one), OWN
        return _binary(self, one, other, operation)

    def _function(self, operand, operation):
        assert not _is_low(operand), OWN
        return _unary(self, operand, operation)

    interpreter._patch_lang, interpreter._patch_lang_tensor = _patch_once, _patch_index
    interpreter._convert_float = _rounded
    _builder.create_dot, _builder.binary_op, _builder.unary_op = _product, _sum, _function


@pytest.fixture
def gpu():
    """The GPU; where there is none an emulated one, whose kernels are interpreted, and which has no TF32."""
    if DEVICE == "cuda":
        yield torch.device("cuda")
        return
    from tests.emulation.cuda import emulated_cuda  # no kernel may be defined before the interpreter is chosen

    with emulated_cuda(kernels=True) as cuda:
        yield cuda.device
