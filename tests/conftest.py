import contextlib

import pytest

with contextlib.suppress(pytest.skip.Exception):  # where Triton is missing
    import tests.gpu.interpreter  # noqa: F401  before any kernel is defined


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--all"):
        return
    skip = pytest.mark.skip(reason="slow; run with --all")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
