"""What is written: whole or not at all, at the end of links, and never in the place of a device."""

import contextlib
import os
import resource
import stat
import threading

import pytest
import torch

from wedefense.experiment import checkpoint
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write, files_under, require_regular, require_writable


def write(path, text="new"):
    with atomic_write(path, "w") as stream:
        stream.write(text)


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link, chain = tmp_path / "elsewhere/report", tmp_path / "link", tmp_path / "chain"
    target.write_text("old")
    link.symlink_to(target)
    chain.symlink_to("link")
    write(chain)
    assert link.is_symlink() and chain.is_symlink() and target.read_text() == "new"
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["report"]
    target.unlink()
    write(link, "again")  # a link to what is not there yet
    assert link.is_symlink() and target.read_text() == "again"


def test_a_device_is_written_to_and_stays_one(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for path in (device, "/dev/null"):
        write(path)
        assert stat.S_ISCHR(os.stat(path).st_mode)
    assert os.listdir(tmp_path) == ["null"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join()
    assert read == ["new"] and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_a_stream_that_a_shell_opened_is_written_to(tmp_path):
    """`--out /dev/stdout > file`: renaming over the file would leave the shell's stream to nothing."""
    with open(tmp_path / "file", "w") as stream:
        write(f"/dev/fd/{stream.fileno()}")
    assert (tmp_path / "file").read_text() == "new"


@contextlib.contextmanager
def files_of_at_most(size: int):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("save", [lambda path: write(path, "x" * 100_000),
                                  lambda path: checkpoint.save(path, {"w": torch.zeros(1 << 20)})],
                         ids=["text", "checkpoint"])
def test_a_disk_that_takes_no_more_is_told_and_the_old_file_kept(tmp_path, save):
    """By a limit on the size of files, in real writes: torch hides what the disk said."""
    path = tmp_path / "file"
    path.write_text("old")
    with files_of_at_most(10_000):
        with pytest.raises(InputError, match="file: cannot be written .File too large.; what was there before is unt"):
            save(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("save", [lambda path: write(path, "x" * 100_000),
                                  lambda path: checkpoint.save(path, {"w": torch.zeros(1 << 20)})],
                         ids=["text", "checkpoint"])
def test_a_full_device(save):
    with pytest.raises(InputError, match="/dev/full: cannot be written .No space left on device"):
        save("/dev/full")


@pytest.mark.parametrize("name, reason", [
    ("folder", "it is a folder"), ("file/below", "is a file"), ("n" * 300, "File name too long"), ("a\0b", "null"),
    ("file/deeper/below", "is a file"), ("loop", "Too many levels|cannot be written")])
def test_what_cannot_be_written_is_said_before_the_work(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for ask in (require_writable, write):
        with pytest.raises(InputError, match=f"cannot be written .*({reason})"):
            ask(tmp_path / name)


def test_a_name_with_a_nul_is_no_file():
    with pytest.raises(InputError, match=r"a\\x00b: cannot be read"):
        require_regular("a\0b")


def test_asking_makes_nothing(tmp_path):
    require_writable(tmp_path / "a/b/c", None, "/dev/null")
    assert not os.listdir(tmp_path)


def test_no_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="file: cannot be written .no permission"):
        require_writable(tmp_path / "file")


def test_a_name_that_is_no_text_is_told(tmp_path):
    with pytest.raises(InputError, match=r"table: cannot be written, a name in it is no text .\\xff.wav"):
        write(tmp_path / "table", os.fsdecode(b"key /data/\xff.wav\n"))
    assert not os.listdir(tmp_path)


def test_files_under_a_folder_are_those_of_linked_folders_too_and_links_lead_in_no_circle(tmp_path):
    for name in ("corpus/a/1.wav", "corpus/2.wav", "far/deep/3.wav", "outside.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    corpus = tmp_path / "corpus"
    for name, target in {"again": "a", "a/loop": "..", "up": "../..", "linked": "../far", "gone": "nowhere",
                         "a/4.wav": "../2.wav"}.items():
        (corpus / name).symlink_to(target)
    (tmp_path / "far/deep/back").symlink_to("..")
    found = sorted(str(path.relative_to(corpus)) for path in files_under(corpus))
    assert found == ["2.wav", "a/1.wav", "a/4.wav", "gone", "linked/deep/3.wav"]
    (tmp_path / "link").symlink_to("corpus")
    assert sum(1 for _ in files_under(tmp_path / "link")) == 5
