"""SECURITY.md and tests/FAULTS.md name tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_names_a_test_that_is_there():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    defined = {name for path in (ROOT / "tests").rglob("test_*.py")
               for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 25 and not named - defined
    files = set(re.findall(r"`([\w/]*test_\w+\.py)`", page))
    assert files and not [name for name in files if not list((ROOT / "tests").rglob(Path(name).name))]
    for path in set(re.findall(r"`(wedefense/[\w/.]+)`", page)):
        assert (ROOT / path).is_file(), path


def test_every_fault_names_a_test_that_is_there():
    page = (ROOT / "tests/FAULTS.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", page)
    lost = [f"{file}::{name}" for file, name in named if not (ROOT / "tests" / file).is_file() or not re.search(
        rf"^def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE)]
    assert len(named) > 100 and not lost
    rows = [line for line in page.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert all("::test_" in row or row.endswith("| test |") for row in rows)
