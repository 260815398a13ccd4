"""A hub's files from a server on this machine: revisions, tokens, one cache, broken downloads, no network."""

import os
import sys
from pathlib import Path

import pytest

from tests.hub import TOKEN, hub  # noqa: F401, a fixture
from wedefense.utils import hub as hub_files
from wedefense.utils.download import NotFound
from wedefense.utils.errors import InputError
from wedefense.utils.hub import Repository, parse_name

huggingface_hub, constants = (pytest.importorskip(f"huggingface_hub{part}") for part in ("", ".constants"))
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB


def test_names_of_a_hub():
    assert parse_name("a/b") == parse_name("a/b", None) and parse_name("a/b").revision is None
    assert parse_name("a/b@v1.0").revision == parse_name("a/b", "v1.0").revision == "v1.0"
    named = parse_name("a/b/c/d.pt@refs/pr/1")
    assert (named.hub_id, named.file, named.revision, str(named)) == ("a/b", "c/d.pt", "refs/pr/1", "a/b@refs/pr/1")
    assert parse_name("no_owner") is parse_name("/a/b") is parse_name("a/b@x y") is None
    with pytest.raises(InputError, match="names a revision, and another one, v2"):
        parse_name("a/b@v1", "v2")


def test_all_files_are_of_one_commit_and_are_asked_for_once(hub, tmp_path):  # noqa: F811
    first = hub.add("a/b", {"config.yaml": b"one", "deep/weights.pt": WEIGHTS})
    repository = Repository("a/b")
    assert repository.get("config.yaml").read_bytes() == b"one"
    second = hub.add("a/b", {"config.yaml": b"two", "deep/weights.pt": WEIGHTS[::-1]})
    assert repository.get("deep/weights.pt").read_bytes() == WEIGHTS
    assert repository.folder(["deep/weights.pt", "config.yaml"]).name == first
    assert Repository("a/b").get("config.yaml").read_bytes() == b"two"
    assert Repository("a/b", first).get("config.yaml").read_bytes() == b"one"
    hub.repos["a/b"].refs["v1"] = first
    assert Repository("a/b", "v1").folder(["config.yaml"]).name == first != second
    asked = len(hub.asked)
    assert Repository("a/b", first).get("deep/weights.pt").read_bytes() == WEIGHTS and len(hub.asked) == asked
    assert tmp_path / "cache/models--a--b" in Repository("a/b").get("config.yaml").parents  # as the library's own


@pytest.mark.parametrize("large", [10**9, 1000], ids=["by the library", "by fetch"])
def test_a_broken_download_goes_on_where_it_stopped(hub, monkeypatch, large):  # noqa: F811
    monkeypatch.setattr(hub_files, "LARGE", large)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.add("a/b", {"weights.pt": WEIGHTS})
    hub.breaks = 1
    if large < len(WEIGHTS):  # a process that was stopped leaves a part, and the next one goes on with it
        with pytest.raises(InputError, match="connection broke after 349525 of 1048576 bytes; start again to resume"):
            Repository("a/b").get("weights.pt")
    assert Repository("a/b").get("weights.pt").read_bytes() == WEIGHTS
    assert hub.ranges == [None, "bytes=349525-" if large < len(WEIGHTS) else "bytes=349000-"]


@pytest.mark.parametrize("large", [10**9, 1000], ids=["by the library", "by fetch"])
def test_a_gated_model_asks_for_a_token_and_the_storage_never_sees_it(hub, monkeypatch, large):  # noqa: F811
    monkeypatch.setattr(hub_files, "LARGE", large)
    hub.add("a/b", {"config.yaml": b"one", "weights.pt": WEIGHTS}, gated=True, granted=(TOKEN,))
    with pytest.raises(InputError, match=rf"'a/b' is gated: accept its conditions at {hub.url}/a/b, then make a token "
                                         rf"that may read at {hub.url}/settings/tokens and give it by `hf auth login`"):
        Repository("a/b").get("config.yaml")
    with pytest.raises(InputError, match="the account of this token has no access yet; ask for it at"):
        Repository("a/b", token="hf_another").get("config.yaml")
    assert Repository("a/b", token=TOKEN).get("weights.pt").read_bytes() == WEIGHTS  # the storage refuses tokens
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert Repository("a/b").get("config.yaml").read_bytes() == b"one"
    assert TOKEN not in repr(Repository("a/b", token=TOKEN))


def test_what_is_not_there_is_told_with_the_cure(hub, monkeypatch):  # noqa: F811
    hub.add("a/b", {"config.yaml": b"one"})
    hub.add("a/private", {"config.yaml": b"one"}, private=True)
    with pytest.raises(NotFound, match="'a/b': .*/a/b has no file weights.pt"):
        Repository("a/b").get("weights.pt")
    with pytest.raises(InputError, match="'a/b' at v9: no such branch, tag or commit; .*/a/b/tree/main lists them"):
        Repository("a/b", "v9").get("config.yaml")
    for name in ("a/other", "a/private"):
        with pytest.raises(InputError, match=f"'{name}': {hub.url} shows no such model; if it is private, make a"):
            Repository(name).get("config.yaml")
    with pytest.raises(InputError, match="leads out of"):
        Repository("a/b").get("../x")
    with pytest.raises(InputError, match="'a--b/c' is no name of a hub"):
        Repository("a--b/c").get("config.yaml")
    assert Repository("a/private", token=TOKEN).has("config.yaml") and not Repository("a/b").has("labels")


def test_without_a_network_the_cache_serves(hub, monkeypatch, caplog):  # noqa: F811
    commit = hub.add("a/b", {"config.yaml": b"one", "late.txt": b"x"})
    Repository("a/b").get("config.yaml")
    hub.close()
    asked = len(hub.asked)
    assert Repository("a/b").get("config.yaml").read_bytes() == b"one"
    assert "cannot be talked to" in caplog.text and "taken from the cache" in caplog.text
    with pytest.raises(InputError, match=r"'a/c': .* cannot be talked to \(.*\); mend the network or HF_ENDPOINT"):
        Repository("a/c").has("config.yaml")
    for name in ("WEDEFENSE_OFFLINE", "HF_HUB_OFFLINE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            for revision in (None, "main", commit):
                assert Repository("a/b", revision).get("config.yaml").read_bytes() == b"one"
            with pytest.raises(NotFound, match="late.txt is not in the cache .*OFFLINE forbids fetching it; load"):
                Repository("a/b").get("late.txt")
    assert len(hub.asked) == asked


def test_the_cache_is_that_of_all_programs_unless_one_is_chosen(hub, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.delenv("WEDEFENSE_CACHE")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "shared"))
    hub.add("a/b", {"config.yaml": b"one"})
    path = Repository("a/b").get("config.yaml")
    assert Path(huggingface_hub.hf_hub_download("a/b", "config.yaml", cache_dir=tmp_path / "shared",
                                                local_files_only=True)) == path
    assert tmp_path / "own" in Repository("a/b", download_dir=tmp_path / "own").get("config.yaml").parents
    assert sorted(os.listdir(tmp_path)) == ["own", "shared"]


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "huggingface_hub.errors", raising=False)
    with pytest.raises(InputError, match=r"'a/b': to talk to a hub needs the package huggingface_hub: pip install "
                                         r"'wedefense\[hub\]'"):
        Repository("a/b")
