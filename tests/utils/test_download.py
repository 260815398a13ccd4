"""Downloads from a server on this machine: resumed, checked, whole or absent, and none when offline."""

import hashlib
import http.server
import os
import shutil
import threading

import pytest

from tests.frontend.ssl import files
from tests.hub import hub  # noqa: F401, a fixture
from wedefense.frontend.ssl.formats.read import find_checkpoint
from wedefense.frontend.ssl.source import find_source
from wedefense.frontend.ssl.zoo import MODELS
from wedefense.utils.download import fetch, s3prl_name
from wedefense.utils.errors import InputError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; `breaks` requests end after a third of what was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.ranges, self.resumes = {"/model.pt": CONTENT}, 0, [], True
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        content = self.server.content.get(self.path)
        if content is None:
            return self.send_error(404)
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.resumes else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            rest = rest[:len(rest) // 3]
        self.wfile.write(rest)


@pytest.fixture
def server(monkeypatch):
    for name in ("WEDEFENSE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        yield running
        running.shutdown()


def test_a_broken_download_is_resumed_and_never_shows_half_a_file(server, tmp_path):
    target, url = tmp_path / "cache" / "model.pt", f"{server.url}/model.pt"
    server.breaks = 1
    with pytest.raises(InputError, match="connection broke after 349525 of 1048576 bytes; start again to resume"):
        fetch(url, target)
    assert not target.exists()
    assert fetch(url, target, hashlib.sha256(CONTENT).hexdigest()).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=349525-"]
    fetch(url, target)
    assert len(server.ranges) == 2  # what is there is not asked for again
    assert sorted(os.listdir(target.parent)) == [".model.pt.lock", "model.pt"]


def test_a_server_that_cannot_resume_starts_again(server, tmp_path):
    target = tmp_path / "model.pt"
    (tmp_path / "model.pt.part").write_bytes(b"old")
    server.resumes = False
    assert fetch(f"{server.url}/model.pt", target).read_bytes() == CONTENT


def test_a_leftover_longer_than_the_file_starts_again(server, tmp_path):
    (tmp_path / "model.pt.part").write_bytes(b"x" * 2_000_000)
    assert fetch(f"{server.url}/model.pt", tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_wrong_checksum_throws_the_file_away(server, tmp_path):
    with pytest.raises(InputError, match="its SHA-256 is [0-9a-f]{64}, expected 00"):
        fetch(f"{server.url}/model.pt", tmp_path / "model.pt", "00" * 32)
    assert sorted(os.listdir(tmp_path)) == [".model.pt.lock"]


def test_two_processes_ask_and_one_downloads(server, tmp_path):
    threads = [threading.Thread(target=fetch, args=(f"{server.url}/model.pt", tmp_path / "model.pt"))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.ranges) == 1 and (tmp_path / "model.pt").read_bytes() == CONTENT


def test_what_cannot_be_fetched_says_where_to_put_it(server, tmp_path, monkeypatch):
    target = tmp_path / "absent.pt"
    with pytest.raises(InputError, match=r"the server answered 404 .*put it at .*absent.pt"):
        fetch(f"{server.url}/absent.pt", target)
    with pytest.raises(InputError, match=r"cannot be fetched .*put it at .*absent.pt"):
        fetch("http://127.0.0.1:1/absent.pt", target)
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    with pytest.raises(InputError, match=r"OFFLINE forbids fetching it; put the file of .*absent.pt"):
        fetch(f"{server.url}/absent.pt", target)
    with pytest.raises(InputError, match=r"'wavlm_base_plus': put wavlm_base_plus.pt into .*, or the folder of "
                                         r"microsoft/wavlm-base-plus as .*wavlm-base-plus; or say where it is with "
                                         r"upstream_args.path_or_url"):
        find_source("wavlm_base_plus", None, tmp_path)


def test_a_hub_id(hub, tmp_path, monkeypatch):  # noqa: F811
    model = files.transformers_model("wav2vec2", False)
    folder = files.save_hugging_face(model, tmp_path / "made", normalize=False, safe=False)
    first = hub.add("someone/tiny-model", {file.name: file.read_bytes() for file in folder.iterdir()})
    hub.add("someone/tiny-model", {"README.md": b"gone"})
    with pytest.raises(InputError, match="'someone/tiny-model': has none of model.safetensors, pytorch_model.bin"):
        find_checkpoint("someone/tiny-model", None, tmp_path / "cache")
    checkpoint = find_checkpoint(f"someone/tiny-model@{first}", None, tmp_path / "cache")
    assert checkpoint.format == "Hugging Face" and checkpoint.architecture.num_blocks == 2
    asked = len(hub.asked)
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    assert find_checkpoint(f"someone/tiny-model@{first}", None, tmp_path / "cache").source == checkpoint.source
    shutil.copytree(folder, tmp_path / "cache" / "someone--tiny-model")  # put there by hand
    assert find_checkpoint("someone/tiny-model", None, tmp_path / "cache").architecture == checkpoint.architecture
    assert len(hub.asked) == asked
    with pytest.raises(InputError, match="'someone/other': no such file or folder, and not to be had as a hub id"):
        find_source("someone/other", None, tmp_path / "cache")


def test_a_url_and_a_file_that_s3prl_already_has(server, tmp_path, monkeypatch):
    files.save_s3prl(tmp_path / "made.pt", "hubert", False)
    server.content["/tiny.pt"] = (tmp_path / "made.pt").read_bytes()
    url = f"{server.url}/tiny.pt"
    assert find_checkpoint("hubert_base", url, tmp_path / "cache").family == "hubert"
    assert (tmp_path / "cache" / s3prl_name(url)).is_file()
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    folder = tmp_path / "s3prl_hub"
    folder.mkdir()
    (folder / s3prl_name(MODELS["hubert_base"].urls[0])).write_bytes(server.content["/tiny.pt"])
    assert find_checkpoint("hubert", None, folder).architecture.dim == 48
    assert find_checkpoint("hubert_base", str(folder)).architecture.dim == 48  # WeDefense names its cache as the path
    with pytest.raises(InputError, match="cache/absent.hf.pth: no such file .leave path_or_url out, and 'wavlm_base'"):
        find_source("wavlm_base", "cache/absent.hf.pth")


def test_s3prl_s_own_names_for_downloads(tmp_path):
    download = pytest.importorskip("s3prl.util.download")
    before = download.get_dir()
    download.set_dir(tmp_path)
    url = MODELS["xls_r_300m"].urls[0]
    assert download._urls_to_filepaths(url, download=False) == str(tmp_path / s3prl_name(url))
    download.set_dir(before)
