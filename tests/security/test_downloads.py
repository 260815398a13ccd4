"""What is fetched lies in the cache alone, under names of ours; what is unpacked lies in its folder, as files."""

import importlib.util
import io
import json
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.hub import hub  # noqa: F401, a fixture
from tests.utils.test_download import server  # noqa: F401, a fixture
from wedefense import load_detector
from wedefense.frontend.ssl.source import find_source
from wedefense.utils.download import s3prl_name, within
from wedefense.utils.errors import InputError

OUTSIDE = ["../x", "a/../../x", "/etc/x", "..", "a/..", "", "a\0b", "..\\x", "a\\..\\..\\x"]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("download_corpora", Path(__file__).parents[2] / "tools/download.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fetched(tool, server, tmp_path):  # noqa: F811
    """Unpacks an archive of this content into a folder, beside which nothing may appear."""
    (tmp_path / "victim").write_text("mine")

    def fetch(name: str, content: bytes) -> Path:
        server.content[f"/{name}"] = content
        corpus = {"page": "the page", "gives": "it", "urls": {f"{server.url}/{name}": None}}
        try:
            tool.download("c", corpus, tmp_path / "into")
        finally:
            assert sorted(os.listdir(tmp_path)) == ["into", "victim"] and (tmp_path / "victim").read_text() == "mine"
        return tmp_path / "into"

    return fetch


def tarred(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            member.size = 3 if member.isreg() else 0
            archive.addfile(member, io.BytesIO(b"abc"))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name and "\0" not in name])
def test_a_tar_that_leads_out(fetched, name):
    with pytest.raises(InputError, match="leads out of .*/into"):
        fetched("a.tar.gz", tarred(member(name)))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x"])
def test_a_zip_that_leads_out(fetched, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "abc")
    with pytest.raises(InputError, match="leads out of .*/into"):
        fetched("a.zip", buffer.getvalue())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("target", ["../victim", "inside", "/etc/passwd"])
def test_links_and_devices_in_a_tar(fetched, kind, target):
    with pytest.raises(InputError, match="'x' of the archive is a link or a device"):
        fetched("a.tar.gz", tarred(member("x", kind, target), member("x")))


def test_a_link_in_a_zip(fetched):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "../victim")
    with pytest.raises(InputError, match="'x' of the archive is a link"):
        fetched("a.zip", buffer.getvalue())


def test_an_archive_says_nothing_of_modes(fetched):
    into = fetched("a.tar.gz", tarred(member("d", tarfile.DIRTYPE, mode=0o7777), member("d/run", mode=0o6777)))
    assert stat.S_IMODE((into / "d/run").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize("name", ["../x.tar", "/etc/x.tar", "a/../../x.tar", ".."])
def test_a_listing_that_leads_out(tool, server, tmp_path, monkeypatch, name):  # noqa: F811
    """A hub's or Zenodo's listing names the files; they would be written under these names."""
    monkeypatch.setattr(tool, "HUB", server.url)
    monkeypatch.setattr(tool, "ZENODO", server.url)
    server.content["/api/datasets/some/one/tree/main?recursive=true"] = json.dumps(
        [{"type": "file", "path": name, "size": 3}]).encode()
    server.content["/api/records/7"] = json.dumps({"files": [
        {"key": name, "size": 3, "checksum": "md5:00", "links": {"self": f"{server.url}/x"}}]}).encode()
    for listing in ({"hub": {"some/one": ["*"]}}, {"zenodo": {7: ["*"]}}):
        with pytest.raises(InputError, match="leads out of"):
            tool.download("c", {"page": "p", "gives": "g", **listing}, tmp_path / "into")
    assert os.listdir(tmp_path) == ["into"] and os.listdir(tmp_path / "into") == [".downloads"]


@pytest.mark.parametrize("address", ["x.pth", "x.pt?a=../../b", "..", "%2e%2e%2fx", "a\x1b[2J.pt", ".bashrc"])
def test_a_url_s_file_gets_a_name_of_ours(server, tmp_path, address):  # noqa: F811
    """Two addresses that end alike are two files, and none can be chosen to lie where something else reads it."""
    name = s3prl_name(f"{server.url}/{address}")
    assert name[:64].isalnum() and name[64] == "." and set(name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")
    assert within(tmp_path, name).parent == tmp_path


def test_files_of_one_name_at_two_addresses_are_two_files(server, tmp_path):  # noqa: F811
    server.content |= {"/a/m.pt": b"one", "/b/m.pt": b"two"}
    for folder, content in (("a", b"one"), ("b", b"two")):
        assert find_source("any", f"{server.url}/{folder}/m.pt", tmp_path).read_bytes() == content


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_stays_within_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="leads out of"):
        within(tmp_path, name)
    assert within(tmp_path, "a/b..c/x.pt") == tmp_path / "a/b..c/x.pt"


@pytest.mark.parametrize("model", ["owner/model/../../../x.pt", "owner/../../x.pt", "owner/model/a/../../../../x.pt"])
def test_a_file_of_a_hub_model_stays_in_the_cache(hub, tmp_path, model):  # noqa: F811
    with pytest.raises(InputError, match="leads out of|no such file or folder"):
        load_detector(model, download_dir=tmp_path / "cache/deep")
    assert hub.asked == [] and not list(tmp_path.rglob("x.pt*"))
