"""The restricted unpickler: nothing in a file runs, and what it holds can still be read."""

import argparse
import builtins
import collections
import enum
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch

from wedefense.utils.errors import InputError
from wedefense.utils.pickled_record import Record, records_to_builtin
from wedefense.utils.safe_load import load_torch


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


FORMATS = pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])


@FORMATS
@pytest.mark.parametrize("function, template", [
    (os.system, "touch {}"), (builtins.eval, "open('{}', 'w')"), (builtins.exec, "open('{}', 'w')"),
    (subprocess.getoutput, "touch {}"), (builtins.__import__, "os"),
], ids=["os.system", "eval", "exec", "subprocess", "import"])
def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path, how, function, template):
    path, marker = tmp_path / "model.pt", tmp_path / "pwned"
    torch.save({"model": {"w": torch.zeros(2)}, "cfg": Call(function, template.format(marker))}, path, **how)
    with pytest.raises(InputError, match="model.pt: refused, it asks for .*malicious"):
        load_torch(path)
    assert not marker.exists()


def test_a_nested_load_and_an_attribute_chain_stay_inert(tmp_path):
    inner = tmp_path / "inner.pt"
    marker = tmp_path / "pwned"
    torch.save(Call(os.system, f"touch {marker}"), inner)
    path = tmp_path / "model.pt"
    chain = Call(getattr, Record, "path")
    torch.save({"load": Call(torch.storage._load_from_bytes, inner.read_bytes()), "chain": chain}, path)
    content = load_torch(path)
    assert isinstance(content["load"], Record) and isinstance(content["chain"], Record)
    assert not marker.exists()


class Mode(enum.Enum):
    layer_norm = "layer_norm"


class Symbols:
    def __init__(self):
        self.symbols, self.owner = ["a", "b"], self


@FORMATS
def test_containers_tensors_and_settings_come_through(tmp_path, how):
    path = tmp_path / "model.pt"
    weights = collections.OrderedDict(w=torch.arange(6.0).view(2, 3).t(), h=torch.ones(2).half(),
                                      p=torch.nn.Parameter(torch.full((1,), 3.0)))
    args = argparse.Namespace(mode=Mode.layer_norm, dropout=np.float64(0.25), layers=np.int32(12), flag=np.bool_(True),
                              sizes=(1, [2, {"three": 3}]), half=np.float32(0.5))
    torch.save({"model": weights, "args": args, "dictionary": Symbols(), "kinds": {1, 2}, "raw": b"\x00\xff",
                "array": np.zeros(3), "dtype": torch.float16}, path, **how)
    content = load_torch(path)
    assert torch.equal(content["model"]["w"], weights["w"]) and content["model"]["h"].dtype == torch.float16
    assert torch.equal(content["model"]["p"], weights["p"])
    assert records_to_builtin(content["args"]) == {"mode": "layer_norm", "dropout": 0.25, "layers": 12, "flag": True,
                                                   "sizes": [1, [2, {"three": 3}]], "half": 0.5}
    assert records_to_builtin(content["dictionary"]) == {"symbols": ["a", "b"], "owner": None}
    assert content["kinds"] == {1, 2} and content["raw"] == b"\x00\xff" and content["dtype"] is torch.float16


def test_a_truncated_file_says_so(tmp_path):
    path = tmp_path / "model.pt"
    for how in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"w": torch.randn(1000)}, path, **how)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(InputError, match="model.pt: truncated or damaged"):
            load_torch(path)


def test_other_files_are_named_for_what_they_are(tmp_path):
    text = tmp_path / "notes.pt"
    text.write_text("hello")
    with pytest.raises(InputError, match="notes.pt: not a PyTorch file"):
        load_torch(text)
    with pytest.raises(InputError, match="absent.pt: cannot be read"):
        load_torch(tmp_path / "absent.pt")
    script = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    with pytest.raises(InputError, match="script.pt: a TorchScript archive"):
        load_torch(script)
    other = tmp_path / "plain.pt"
    other.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="plain.pt: truncated or damaged"):
        load_torch(other)
