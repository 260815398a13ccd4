"""A hub whose large files lie in chunks (Xet): pushed, pulled, and told where the hub has no such storage."""

import numpy as np
import pytest

from tests.hub import TOKEN, hub  # noqa: F401, a fixture
from wedefense.utils import hub as hub_files
from wedefense.utils.errors import InputError
from wedefense.utils.hub import Push, Repository, push_folder

constants = pytest.importorskip("huggingface_hub.constants")
pytest.importorskip("hf_xet")
WEIGHTS = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def pushed(hub, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.pt").write_bytes(WEIGHTS)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return lambda: push_folder(folder, Push("a/b", token=TOKEN))


@pytest.mark.parametrize("large", [10**9, 1000], ids=["by the library", "by fetch"])
def test_large_files_go_and_come_in_chunks(pushed, hub, tmp_path, monkeypatch, large):  # noqa: F811
    """Those that are resumed come by an address of the whole file."""
    hub.xet = tmp_path / "chunks"
    pushed()
    assert ("GET", "/api/models/a/b/xet-write-token/main") in hub.asked
    assert not [path for method, path in hub.asked if path.endswith("/objects/batch") or method == "PUT"]
    monkeypatch.setattr(hub_files, "LARGE", large)
    del hub.asked[:]
    assert Repository("a/b").get("weights.pt").read_bytes() == WEIGHTS
    read = [path for _, path in hub.asked if "/xet-read-token/" in path]
    assert (bool(read), hub.ranges) == ((True, []) if large > len(WEIGHTS) else (False, [None]))


def test_a_hub_without_such_storage_is_told_with_the_cure(pushed, hub, monkeypatch):  # noqa: F811
    with pytest.raises(InputError, match=rf"'a/b': {hub.url} takes no files by Xet .*; set HF_HUB_DISABLE_XET=1"):
        pushed()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    pushed()
    assert Repository("a/b").get("weights.pt").read_bytes() == WEIGHTS
