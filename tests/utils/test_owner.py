"""One owner of a folder at a time; what dead ones left is cleared away, what living ones write is not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wedefense.utils import owner
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.owner import LOCK, owned, sweep
from wedefense.utils.processes import machine, runs, started, temporary_beside

HOLD = """import sys, time
from wedefense.utils.owner import owned
with owned(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
WRITE = """import sys, time
from wedefense.utils.files import atomic_write
with atomic_write(sys.argv[1], "w") as stream:
    stream.write("half")
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def started_with():
    """A function that runs code in a process of its own and waits for its first line."""
    processes = []

    def start(code: str, *arguments) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE,
                                   text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
        processes.append(process)
        assert process.stdout.readline().strip() in ("held", "writing")
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_owner_is_refused_by_name_and_goes_on_after_the_first(tmp_path, started_with):
    first = started_with(HOLD, tmp_path)
    with pytest.raises(InputError, match=rf"process {first.pid} on .*, since \d{{4}}-.*--exp_dir.*remove {tmp_path}/"):
        with owned(tmp_path):
            pass
    first.send_signal(signal.SIGINT)
    first.wait()
    with owned(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_killed_owner_holds_nothing_even_before_it_is_collected(tmp_path, started_with):
    first = started_with(HOLD, tmp_path)
    first.kill()
    while started(first.pid) is not None:  # a zombie counts as gone; nobody has waited for it
        time.sleep(0.01)
    with owned(tmp_path):
        pass


def test_a_number_that_another_process_has_now_is_no_owner(tmp_path):
    with owned(tmp_path):
        lock = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps(lock | {"started": lock["started"] - 1}))
    with owned(tmp_path):
        pass


def test_an_owner_on_another_machine_lives_while_it_renews_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "_SILENT", 2)
    waited, sleep = [], time.sleep
    monkeypatch.setattr(owner.time, "sleep", lambda seconds: (waited.append(seconds), sleep(seconds)))
    with owned(tmp_path):
        lock = json.loads((tmp_path / LOCK).read_text())
    there = json.dumps(lock | {"machine": "0" * 8, "host": "gpu7"})
    (tmp_path / LOCK).write_text(there)
    renewing = subprocess.Popen(["sh", "-c", 'while touch -c "$0"; do sleep 0.2; done', str(tmp_path / LOCK)])
    with pytest.raises(InputError, match="on gpu7"):
        with owned(tmp_path):
            pass
    renewing.kill()
    renewing.wait()
    waited.clear()
    with owned(tmp_path):
        assert waited  # until it was silent for long enough
    waited.clear()
    (tmp_path / LOCK).write_text(there)
    os.utime(tmp_path / LOCK, (0, 0))
    with owned(tmp_path):
        assert not waited


def test_a_lock_is_renewed_while_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "_RENEWED", 0.1)
    with owned(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        while not (tmp_path / LOCK).stat().st_mtime:
            time.sleep(0.05)


def test_half_written_files_of_the_dead_are_cleared_and_those_of_the_living_kept(tmp_path, started_with):
    dead, alive = tmp_path / "models/last.ckpt", tmp_path / "models/model_1.pt"
    killed = started_with(WRITE, dead)
    started_with(WRITE, alive)
    killed.kill()
    killed.wait()
    (tmp_path / f".x.{'0' * 8}-1-1.tmp").write_text("of another machine, which does not hold the folder")
    assert len(list(tmp_path.rglob(".*.tmp"))) == 3
    with owned(tmp_path):
        assert [path.name.split(".")[1] for path in tmp_path.rglob(".*.tmp")] == ["model_1"]


def test_what_nobody_need_hold_is_swept_of_the_dead_of_this_machine(tmp_path, started_with):
    dead, alive, held = tmp_path / "train/utt2lab", tmp_path / "dev/utt2lab", tmp_path / "eval"
    killed = started_with(WRITE, dead), started_with(HOLD, tmp_path / "train")
    started_with(WRITE, alive)
    started_with(HOLD, held)
    for process in killed:
        process.kill()
        process.wait()
    elsewhere = tmp_path / f".x.{'0' * 8}-1-1.tmp"
    elsewhere.write_text("of another machine, which may live")
    sweep(tmp_path)
    assert not list((tmp_path / "train").iterdir()) and (held / LOCK).exists() and elsewhere.exists()
    assert [path.name.split(".")[1] for path in (tmp_path / "dev").iterdir()] == ["utt2lab"]
    sweep(tmp_path / "not there")


def test_ranks_are_refused_together(tmp_path, started_with):
    told = []
    started_with(HOLD, tmp_path)
    for rank in (0, 1):
        with pytest.raises(InputError, match=r"is being worked on .*another folder \(--exp_dir, of data --data\)"):
            with owned(tmp_path, rank, lambda item: told.append(item) or told[:1]):
                pass


def test_a_folder_made_for_nothing_goes_again(tmp_path):
    with owned(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()
    with pytest.raises(ZeroDivisionError), owned(tmp_path / "b"):
        (tmp_path / "b/file").touch()
        1 / 0  # noqa: B018
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["file"]


def test_temporary_names_tell_their_process(tmp_path):
    own = temporary_beside(tmp_path / "a.b")
    assert owner.owner_of_temporary(own.name) == (machine(), os.getpid(), started(os.getpid()))
    assert runs(machine(), os.getpid(), started(os.getpid())) and runs("0" * 8, 1, 1) is None
    with atomic_write(tmp_path / "a.b") as stream:
        assert stream.name == str(own)
