"""tools/download.py against a server on this machine: resumed, checked, unpacked, or refused."""

import hashlib
import importlib.util
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.utils.test_download import server  # noqa: F401, a fixture
from wedefense.utils.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "download.py"
SOUND = os.urandom(200_000)  # does not compress, so that a broken download is a broken archive


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("download_corpora", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tar(name: str, kind: str = "gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(SOUND)
        archive.addfile(info, io.BytesIO(SOUND))
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, SOUND)
    return buffer.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def of_url(server, name: str, content: bytes, checksum: str | None) -> dict:  # noqa: F811
    server.content[f"/{name}"] = content
    return {"page": "the page", "gives": "it", "urls": {f"{server.url}/{name}": checksum}}


def test_a_broken_download_goes_on_where_it_stopped_and_is_unpacked(tool, server, tmp_path):  # noqa: F811
    content = tar("musan/noise/a.wav")
    corpus = of_url(server, "musan.tar.gz", content, md5(content))
    server.breaks = 2
    tool.download("musan", corpus, tmp_path)
    third = len(content) // 3
    assert server.ranges == [None, f"bytes={third}-", f"bytes={third + (len(content) - third) // 3}-"]
    assert (tmp_path / "musan/noise/a.wav").read_bytes() == SOUND
    assert [p.name for p in (tmp_path / ".downloads").glob("musan*")] == ["musan.tar.gz.unpacked"]
    tool.download("musan", corpus, tmp_path)  # nothing left to do
    assert len(server.ranges) == 3


def test_a_wrong_checksum_is_refused_and_nothing_unpacked(tool, server, tmp_path):  # noqa: F811
    corpus = of_url(server, "musan.tar.gz", tar("musan/a.wav"), "00" * 16)
    with pytest.raises(InputError, match="its MD5 is [0-9a-f]{32}, expected 00.*thrown away"):
        tool.download("musan", corpus, tmp_path)
    assert os.listdir(tmp_path) == [".downloads"] and len(server.ranges) == 1


def test_an_archive_put_there_by_hand_is_checked_too(tool, server, tmp_path):  # noqa: F811
    corpus = of_url(server, "musan.tar.gz", b"", "00" * 16)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads/musan.tar.gz").write_bytes(b"something else")
    with pytest.raises(InputError, match="musan.tar.gz: its MD5 is"):
        tool.download("musan", corpus, tmp_path)


@pytest.mark.parametrize("name, content", [("a.tar.gz", tar("a.wav")), ("a.zip", zipped("a.wav"))])
def test_without_a_checksum_the_archive_itself_is_the_check(tool, server, tmp_path, name, content):  # noqa: F811
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    with pytest.raises(InputError, match="damaged .*removed"):
        tool.download("a", of_url(server, name, bytes(damaged), None), tmp_path)
    assert not (tmp_path / ".downloads" / name).exists()
    tool.download("a", of_url(server, name, content, None), tmp_path, keep=True)
    assert (tmp_path / "a.wav").read_bytes() == SOUND and (tmp_path / ".downloads" / name).exists()


def test_zenodo_says_the_checksums(tool, server, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(tool, "ZENODO", server.url)
    parts = {f"flac_{part}.tar": tar(f"flac/{part}.flac", "") for part in "ab"}
    files = [{"key": name, "size": len(content), "checksum": f"md5:{md5(content)}",
              "links": {"self": f"{server.url}/{name}"}} for name, content in parts.items()]
    server.content.update({f"/{name}": content for name, content in parts.items()})
    server.content["/api/records/7"] = json.dumps({"files": files}).encode()
    corpus = {"page": "the page", "gives": "flac", "zenodo": {7: ["flac_*.tar"]}}
    tool.download("x", corpus, tmp_path)
    assert sorted(path.name for path in (tmp_path / "flac").iterdir()) == ["a.flac", "b.flac"]
    with pytest.raises(InputError, match="has no file key.txt any more .it has flac_a.tar, flac_b.tar."):
        tool.download("x", {**corpus, "zenodo": {7: ["key.txt"]}}, tmp_path)
    files[0]["size"] = 10 ** 18
    server.content["/api/records/7"] = json.dumps({"files": files}).encode()
    with pytest.raises(InputError, match="the disk has"):
        tool.download("x", corpus, tmp_path / "elsewhere")


def test_the_hub_wants_a_token_and_parts_are_joined(tool, server, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(tool, "HUB", server.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    whole = tar("spoofceleb/flac/a.flac")
    parts = {"s.tar.gzaa": whole[:70_000], "s.tar.gzab": whole[70_000:]}
    server.content.update({f"/datasets/some/one/resolve/main/{name}": content for name, content in parts.items()})
    server.content["/api/datasets/some/one/tree/main?recursive=true"] = json.dumps(
        [{"type": "file", "path": "README.md", "size": 3}] +
        [{"type": "file", "path": name, "size": len(content), "lfs": {"oid": hashlib.sha256(content).hexdigest()}}
         for name, content in parts.items()]).encode()
    corpus = {"page": "the page", "gives": "flac", "token": True, "joined": True, "hub": {"some/one": ["s.tar.gz*"]}}
    with pytest.raises(InputError, match="ask for access at the page, .* set HF_TOKEN"):
        tool.download("spoofceleb", corpus, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "a word")
    tool.download("spoofceleb", corpus, tmp_path)
    assert (tmp_path / "spoofceleb/flac/a.flac").read_bytes() == SOUND


def test_what_no_program_may_fetch_is_said(tool, tmp_path, capsys):
    with pytest.raises(InputError, match="Session1 to Session5 .*sail.usc.edu"):
        tool.main(["iemocap", str(tmp_path)])
    with pytest.raises(InputError, match="unknown corpus 'iemocab', did you mean 'iemocap'"):
        tool.main(["iemocab", str(tmp_path)])
    assert tool.main([]) == 0 and "asvspoof5" in capsys.readouterr().out


def test_every_corpus_of_the_recipes_has_a_place_to_come_from(tool):
    table = yaml.safe_load(tool.TABLE.read_text())
    recipes = (TOOL.parents[1] / "egs").glob("*/*/*/run.sh")
    own = {"mini", "own"}  # one makes its corpus, the other is given the user's
    assert {path.parents[1].name for path in recipes if path.parents[1].name not in own} <= table.keys()
    readers = {path.stem for path in (TOOL.parent / "prepare").glob("*.py")} - {"corpus", "table", "mix"}
    layouts = yaml.safe_load((TOOL.parent / "layouts.yaml").read_text())
    assert readers <= table.keys() <= readers | layouts.keys()
    for name, corpus in table.items():
        assert corpus["page"].startswith("https://") and corpus["gives"], name
        assert corpus.keys() & {"zenodo", "hub", "urls", "by_hand"}, name
        for url, checksum in corpus.get("urls", {}).items():
            assert url.startswith("https://") and (checksum is None or len(bytes.fromhex(checksum)) == 16), url
