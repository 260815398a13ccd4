"""What stands still while a copy is made, and what does not: what a kill of the session would leave alive."""

import subprocess
import sys
import time
from pathlib import Path

from tests.kills.forked import in_session, others_stopped

COUNTS = "import sys, time\nwhile True:\n    open(sys.argv[1], 'a').write('.')\n    time.sleep(0.001)"


def counting(path: Path, **options) -> subprocess.Popen:
    child = subprocess.Popen([sys.executable, "-c", COUNTS, path], **options)
    while not path.exists():
        time.sleep(0.01)
    return child


def grows(path: Path) -> bool:
    before, end = path.stat().st_size, time.monotonic() + 0.5
    while path.stat().st_size == before and time.monotonic() < end:
        time.sleep(0.01)
    return path.stat().st_size > before


def stopped_and_gone_on(folder: Path) -> None:
    children = [counting(folder / "here"), counting(folder / "elsewhere", start_new_session=True)]
    with others_stopped():
        assert not grows(folder / "here") and grows(folder / "elsewhere")
    assert grows(folder / "here")
    for child in children:
        child.kill()
        child.wait()


def test_processes_of_the_session_stand_still_and_go_on(tmp_path):
    assert in_session(tmp_path / "log", stopped_and_gone_on, tmp_path) == 0, (tmp_path / "log").read_text()


def waiting(folder: Path) -> None:
    (folder / "begun").touch()
    time.sleep(1000)


def test_what_takes_too_long_is_killed(tmp_path):
    assert in_session(tmp_path / "log", waiting, tmp_path, kill_after=5) == -9
    assert (tmp_path / "begun").exists()
