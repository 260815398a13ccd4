import contextlib
import os
import shutil
import signal
import tempfile

import pytest

with contextlib.suppress(pytest.skip.Exception):  # where Triton is missing
    import tests.gpu.interpreter  # noqa: F401  before any kernel is defined

SLOW = 12


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the slow tests too")
    parser.addoption("--limit", type=float, default=600, help="seconds that the setup, the call and the teardown of a "
                     f"test may take; {SLOW} times as many where it is slow")


def pytest_configure(config):
    logs = tempfile.TemporaryDirectory(prefix="torchelastic_")
    config.add_cleanup(logs.cleanup)
    os.environ["PET_LOG_DIR"] = logs.name  # where torchrun makes a folder at each start, which stays


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    return (yield from _limited(item))


def _limited(item):
    """A test that waits for ever fails, and says where it stood, so that the others are run."""
    seconds = item.config.getoption("--limit") * (SLOW if item.get_closest_marker("slow") else 1)

    def late(*_):
        raise TimeoutError(f"{item.nodeid}: not over after {seconds:g} s (--limit)")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 60)  # again, for what it waits for while it ends
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--all"):
        return
    skip = pytest.mark.skip(reason="slow; run with --all")
    for item in items:
        if item.get_closest_marker("slow"):
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
