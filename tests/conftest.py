import contextlib
import shutil

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


@pytest.fixture(scope="session")
def walked_through(tmp_path_factory):
    from tests.walkthrough import prepare

    root = tmp_path_factory.mktemp("walked") / "through"
    root.mkdir()
    prepare(root)
    return root


@pytest.fixture(scope="module")
def walkthrough(walked_through, tmp_path_factory):
    """A folder of one's own in which everything stands that examples name."""
    return shutil.copytree(walked_through, tmp_path_factory.mktemp("walk") / "through")
