import contextlib

import pytest

from tests.gpu.interpreter import DEVICE


@pytest.fixture(autouse=True)
def _watched():
    """What kernels do to memory, where the interpreter runs them."""
    with contextlib.ExitStack() as stack:
        if DEVICE == "cpu":
            from tests.gpu.memory import watched

            stack.enter_context(watched())
        yield
