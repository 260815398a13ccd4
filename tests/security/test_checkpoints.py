"""No checkpoint runs, writes, links, changes modes or takes memory that its size does not explain."""

import builtins
import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.security.pickles import MAGIC, global_, legacy, string, tar_that_links
from wedefense.utils import unpickle
from wedefense.utils.errors import InputError
from wedefense.utils.pickled_record import records_to_builtin
from wedefense.utils.safe_load import load_torch

HUGE = b"J" + struct.pack("<i", 2**31 - 1)


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The message with which a file of these bytes is refused; nothing else may happen in the working folder."""
    monkeypatch.chdir(tmp_path)

    def refuse(content: bytes) -> str:
        (tmp_path / "model.pt").write_bytes(content)
        before, started = sorted(os.listdir(tmp_path)), time.process_time()
        with pytest.raises(InputError, match="model.pt") as error:
            load_torch(tmp_path / "model.pt")
        assert sorted(os.listdir(tmp_path)) == before and time.process_time() - started < 5
        return str(error.value)

    return refuse


@pytest.mark.parametrize("first", [MAGIC, b"\x80"], ids=["whole magic number", "one byte"])
def test_the_oldest_format_a_tar_is_never_opened(refused, tmp_path, first):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o600)
    os.utime(victim, (1000, 1000))
    content = tar_that_links(victim)
    if first == b"\x80":
        content = b"\x80" + content[1:]
    assert "damaged" in refused(content)
    after = victim.stat()
    assert (after.st_mode & 0o777, after.st_mtime, after.st_nlink, victim.read_text()) == (0o600, 1000, 1, "mine")


def test_the_source_of_a_class_is_not_compared_nor_a_patch_written(refused):
    """torch writes `<__name__>.patch` for a class with dump_patches, both of which a pickle can set."""
    container = global_("collections", "OrderedDict")
    state = (pickle.NONE + b"}(" + string("dump_patches") + pickle.NEWTRUE + string("__name__") + string("written")
             + b"u" + pickle.TUPLE2)
    assert "attributes given" in refused(legacy(container + state + pickle.BUILD))
    module = (b"(" + string("module") + global_("somebody", "Net") + string("net.py") + string("source") + b"t"
              + pickle.BINPERSID)
    Path("model.pt").write_bytes(legacy(module))  # inert: the class, as a record
    assert load_torch("model.pt").path == "somebody.Net" and os.listdir() == ["model.pt"]


@pytest.mark.parametrize("target", [
    global_("torch._utils", "_rebuild_tensor_v2"), global_("collections", "OrderedDict"), global_("somebody", "Net"),
    global_("torch", "FloatStorage"), pickle.EMPTY_DICT, pickle.EMPTY_LIST, global_("torch", "device")])
def test_attributes_are_given_to_records_and_ordered_dicts_alone(refused, target):
    before = torch._utils._rebuild_tensor_v2.__defaults__
    state = pickle.NONE + b"}(" + string("__defaults__") + pickle.EMPTY_TUPLE + b"u" + pickle.TUPLE2
    assert "attributes given" in refused(legacy(target + state + pickle.BUILD))
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


@pytest.mark.parametrize("body, reason", [
    (global_("os", "system") + string("touch x") + pickle.TUPLE1 + pickle.REDUCE, "os.system"),
    (global_("builtins", "eval") + string("1") + pickle.TUPLE1 + pickle.REDUCE, "builtins.eval"),
    (pickle.EMPTY_DICT + b")" + pickle.REDUCE, "a call of a dict"),
    (string("text") + b")" + pickle.NEWOBJ, "a call of a str"),
    (global_("builtins", "bytes") + HUGE + pickle.TUPLE1 + pickle.REDUCE, "bytes of a int"),
    (global_("builtins", "list") + global_("builtins", "range") + HUGE + pickle.TUPLE1 + pickle.REDUCE + pickle.TUPLE1
     + pickle.REDUCE, "list of a range"),
    (pickle.LONG4 + struct.pack("<i", 1000) + b"\1" * 1000, "a number of 1000 bytes"),
    (pickle.BYTEARRAY8 + struct.pack("<Q", 2**40), "an instruction"),
    (pickle.EXT1 + b"\1", "an instruction"),
    (string("a file") + pickle.BINPERSID, "no tensor"),
    (b"(" + string("storage") + string("float") + string("0") + string("cpu") + b"K\1t" + b"Q", "no tensor"),
    (b"(" + string("storage") + global_("torch", "FloatStorage") + string("0") + string("cpu") + HUGE + b"t"
     + pickle.BINPERSID, "not of the length"),
], ids=range(12))
def test_what_a_pickle_may_not_ask_for(refused, body, reason):
    assert reason in refused(legacy(body))


def test_a_key_that_takes_for_ever_to_hash(refused):
    """A tuple of twice the last one, sixty times: hashing it would take 2**60 steps."""
    doubled = pickle.EMPTY_TUPLE + b"".join(b"2\x86" for _ in range(60))
    assert "as a key" in refused(legacy(pickle.EMPTY_DICT + doubled + b"N" + pickle.SETITEM))


def test_copies_of_copies_are_held_to_a_limit(refused, monkeypatch):
    monkeypatch.setattr(unpickle, "_COPIED", 1 << 20)
    one = global_("_codecs", "encode") + b"q\1" + b"0" + string("x" * 100_000) + b"q\2" + b"0" + b"("
    copies = (b"h\1h\2" + pickle.TUPLE1 + pickle.REDUCE) * 1000
    assert "more memory" in refused(legacy(one + copies + b"t"))


def test_a_tensor_stays_within_what_is_stored(refused):
    def body(size: int, stride: int, offset: int = 0) -> bytes:
        numbers = b"".join(b"\x8a\x06" + value.to_bytes(6, "little") for value in (offset, size, stride))
        offset_, size_, stride_ = numbers[:8], numbers[8:16] + pickle.TUPLE1, numbers[16:] + pickle.TUPLE1
        storage = (b"(" + string("storage") + global_("torch", "FloatStorage") + string("0") + string("cpu") + b"K\4N"
                   + b"t" + pickle.BINPERSID)
        return (global_("torch._utils", "_rebuild_tensor") + b"(" + storage + offset_ + size_ + stride_ + b"t"
                + pickle.REDUCE)

    keys, data = pickle.dumps(["0"], protocol=2), struct.pack("<q4f", 4, 1, 2, 3, 4)
    Path("good.pt").write_bytes(legacy(body(4, 1), keys, data))
    assert load_torch("good.pt").tolist() == [1, 2, 3, 4]
    assert "out of bounds" in refused(legacy(body(5, 1), keys, data))
    assert "out of bounds" in refused(legacy(body(2, 1, offset=3), keys, data))
    assert "more values" in refused(legacy(body(2**40, 0), keys, data))
    assert "not of the length" in refused(legacy(body(4, 1), keys, struct.pack("<q4f", 5, 1, 2, 3, 4)))
    assert "cut short" in refused(legacy(body(4, 1), keys, data[:-1]))


def test_settings_nested_without_end(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(legacy(pickle.EMPTY_LIST * 100_000 + pickle.APPEND * 99_999))
    content = load_torch(path)
    with pytest.raises(InputError, match="nested too deeply"):
        records_to_builtin(content)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o600 | 0o140000), os.mkdir],
                         ids=["fifo", "socket", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "model.pt")
    with pytest.raises(InputError, match="model.pt: cannot be read .*(pipe|folder)"):
        load_torch(tmp_path / "model.pt")


def test_nothing_of_torch_s_own_reader_is_reached(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    for how in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"w": torch.arange(4.0), "b": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(3),
                    "e": torch.empty(0), "u": torch.ones(3, dtype=torch.uint16)}, path, **how)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "load", None)
            patch.setattr(builtins, "exec", None)
            content = load_torch(path)
        assert content["w"].tolist() == [0, 1, 2, 3] and content["b"].dtype == torch.bfloat16
        assert content["n"].item() == 3 and content["e"].numel() == 0
        assert np.array_equal(content["u"].int().numpy(), [1, 1, 1])
