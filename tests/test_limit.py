"""A test that waits for ever ends, and those after it are run."""

import ast
import subprocess
import sys
from pathlib import Path

WAITS = """
import subprocess
import pytest

@pytest.fixture
def never():
    subprocess.run(["sleep", "1000"])

def test_setup(never): ...

def test_call():
    try:
        subprocess.run(["sleep", "1000"])
    finally:
        print("tidied up")

def test_after(): ...

@pytest.mark.slow
def test_slow():
    subprocess.run(["sleep", "1000"])
"""


def test_what_waits_for_ever_fails_and_says_where(tmp_path):
    folder = tmp_path / "slow"  # whose name makes no test slow
    folder.mkdir()
    (folder / "test_waits.py").write_text(WAITS)
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--limit",
                           "0.3", "--all", "-p", "no:warnings", "--rootdir", tmp_path, folder],
                          cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 1 and "2 failed, 1 passed, 1 error" in done.stdout, done.stdout
    assert "TimeoutError: slow/test_waits.py::test_call: not over after 0.3 s (--limit)" in done.stdout
    assert "slow/test_waits.py::test_slow: not over after 3.6 s" in done.stdout
    assert "TimeoutError: slow/test_waits.py::test_setup: not over" in done.stdout and "tidied up" in done.stdout


def test_no_test_bounds_by_itself_what_it_waits_for():
    """A loaded machine takes ten times as long, and what waits for ever is ended by --limit."""
    sources = {path: path.read_text() for path in Path(__file__).parent.rglob("*.py")}
    found = [f"{path}:{node.lineno}" for path, text in sources.items() if "timeout=" in text
             for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.Call) and any(keyword.arg == "timeout" for keyword in node.keywords)]
    assert not found
