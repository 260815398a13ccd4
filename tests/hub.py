"""A hub on this machine, as far as huggingface_hub asks one: revisions, large files elsewhere, gates, commits."""

import base64
import hashlib
import http.server
import json
import re
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

LARGE = 1000  # bytes; what is larger lies in the storage, as LFS files do
TOKEN = "hf_somebody"


@dataclass
class Repo:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    granted: tuple[str, ...] = ()
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[oid], self.refs[branch] = files, oid
        return oid

    def at(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)


class Hub:
    """`breaks`: so many answers of the storage end after a third. `asked`: (method, path) of every request. `xet`: a
    folder where large files lie in chunks, as hf_xet writes and reads them; `xet_hashes`: SHA-256 -> their names there.
    """

    def __init__(self, xet: Path | None = None):
        self.xet, self.xet_hashes = xet, {}
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.ranges: list[str | None] = []
        self.breaks = 0
        self.pages, self.storage = (_server(handler, self) for handler in (Pages, Storage))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.pages.server_port}"

    @property
    def storage_url(self) -> str:
        return f"http://127.0.0.1:{self.storage.server_port}"

    def add(self, hub_id: str, files: dict[str, bytes], **gates) -> str:
        repo = self.repos.setdefault(hub_id, Repo(**gates))
        self.blobs |= {hashlib.sha256(content).hexdigest(): content for content in files.values()}
        return repo.commit(files)

    @property
    def xet_url(self) -> str:
        return f"local://{self.xet}"

    def from_chunks(self, sha: str, size: int) -> bytes:
        """A file that a push has put there, told by its SHA-256."""
        import hf_xet

        for shard in self.xet.rglob("*.mdb"):
            self.xet_hashes |= _files_of(shard.read_bytes())
        into = self.xet / sha
        with hf_xet.XetSession().new_file_download_group(endpoint=self.xet_url) as group:
            group.start_download_file(hf_xet.XetFileInfo(self.xet_hashes[sha], size), str(into))
        return into.read_bytes()

    def close(self) -> None:
        for server in (self.pages, self.storage):
            server.shutdown()
            server.server_close()


def _files_of(shard: bytes) -> dict[str, str]:
    """SHA-256 -> hash in Xet: records of 48 bytes after a header of 48. A file has one, its segments, perhaps as many
    to verify them, and perhaps one with the SHA-256. Hashes are four numbers of 64 bits."""
    found, at = {}, 48
    while (name := shard[at:at + 32]) != b"\xff" * 32:
        flags, segments = struct.unpack_from("<II", shard, at + 32)
        at += 48 * (1 + segments * (2 if flags >> 31 else 1))
        if flags >> 30 & 1:
            found["%016x" * 4 % struct.unpack_from("<4Q", shard, at)] = "%016x" * 4 % struct.unpack("<4Q", name)
            at += 48
    return found


def _server(handler: type, hub: Hub) -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.hub, server.daemon_threads = hub, True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def hub(self) -> Hub:
        return self.server.hub

    @property
    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, code: int, content=b"", **headers: str) -> None:
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers["Content-Type"] = "application/json"
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")  # a hub that is closed answers nobody any more
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Storage(_Handler):
    """What large files are sent to and from, at another origin; who shows it a token gave it to a stranger."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.token:
            return self.answer(400, b"only one way to show who you are")
        content, asked = self.hub.blobs[urlsplit(self.path).path[1:]], self.headers.get("Range")
        self.hub.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        rest = content[start:]
        ranged = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        if self.hub.breaks:
            self.hub.breaks -= 1
            return self.answer(206 if asked else 200, rest[:len(rest) // 3], Content_Length=str(len(rest)), **ranged)
        self.answer(206 if asked else 200, rest, **ranged)

    def do_PUT(self):
        content, oid = self.body(), urlsplit(self.path).path[1:]
        if hashlib.sha256(content).hexdigest() != oid:
            return self.answer(400, b"another content")
        self.hub.blobs[oid] = content
        self.answer(200)


class Pages(_Handler):
    def do_HEAD(self):
        self.route()

    do_GET = do_POST = do_HEAD

    def route(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path))
        for pattern, method in _ROUTES:
            if (match := re.fullmatch(pattern, path)) is not None:
                return method(self, **{key: unquote(value) for key, value in match.groupdict().items()})
        self.answer(404, {"error": "no such page"})

    def repo(self, hub_id: str, write: bool = False) -> Repo | None:
        """The repository, or None and an answer that says why not."""
        repo = self.hub.repos.get(hub_id)
        if write and self.token != TOKEN:
            self.answer(403 if self.token else 401, {"error": "no right to write"})
        elif repo is None or (repo.private and self.token != TOKEN):
            code = "RepoNotFound"
            self.answer(404 if self.token else 401, {"error": code}, X_Error_Code=code)
        else:
            return repo
        return None

    def revision(self, repo: Repo, name: str) -> str | None:
        oid = repo.at(name)
        if oid is None:
            self.answer(404, {"error": "RevisionNotFound"}, X_Error_Code="RevisionNotFound")
        return oid

    def resolve(self, id: str, revision: str, name: str) -> None:
        repo = self.repo(id)
        oid = repo and self.revision(repo, revision)
        if not oid:
            return
        if repo.gated and self.token not in repo.granted:
            return self.answer(403 if self.token else 401, b"", X_Error_Code="GatedRepo",
                               X_Error_Message="Access to this model is restricted")
        content = repo.commits[oid].get(name)
        if content is None:
            return self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        if len(content) < LARGE:
            return self.answer(200, content, X_Repo_Commit=oid, ETag=f'"{git_oid(content)}"')
        sha = hashlib.sha256(content).hexdigest()
        chunks = self.hub.xet_hashes.get(sha)
        xet = {"X_Xet_Hash": chunks, "Link": f'<{self.hub.url}/api/models/{id}/xet-read-token/{oid}>; rel="xet-auth"'}
        self.answer(302, b"", X_Repo_Commit=oid, X_Linked_Etag=f'"{sha}"', X_Linked_Size=str(len(content)),
                    Location=f"{self.hub.storage_url}/{sha}?signed=yes", **(xet if chunks else {}))

    def info(self, id: str, revision: str = "main") -> None:
        repo = self.repo(id)
        oid = repo and self.revision(repo, revision)
        if oid:
            self.answer(200, {"_id": "1", "id": id, "sha": oid, "private": repo.private, "tags": [],
                              "siblings": [{"rfilename": name} for name in repo.commits[oid]]})

    def tree(self, id: str, revision: str) -> None:
        repo = self.repo(id)
        oid = repo and self.revision(repo, revision)
        if oid:
            self.answer(200, [{"type": "file", "path": name, "size": len(content), "oid": git_oid(content)}
                              for name, content in repo.commits[oid].items()])

    def create(self) -> None:
        asked = json.loads(self.body())
        hub_id = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
        if self.token != TOKEN:
            return self.answer(401, {"error": "Invalid username or password."})
        if hub_id in self.hub.repos:
            return self.answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{hub_id}"})
        self.hub.add(hub_id, {".gitattributes": b""}, private=asked.get("visibility") == "private"
                     or bool(asked.get("private")))
        self.answer(200, {"url": f"{self.hub.url}/{hub_id}"})

    def branch(self, id: str, name: str) -> None:
        self.body()
        if repo := self.repo(id, write=True):
            taken = name in repo.refs
            repo.refs.setdefault(name, repo.refs["main"])
            self.answer(409 if taken else 200, {"error": "exists"} if taken else {})

    def validate(self) -> None:
        front = re.match(r"---\n(.*?)\n---\n", json.loads(self.body())["content"], re.DOTALL)
        wrong = [] if front and "license" in yaml.safe_load(front[1]) else [{"message": "no license"}]
        self.answer(400 if wrong else 200, {"errors": wrong, "warnings": []})

    def preupload(self, id: str, revision: str) -> None:
        asked = json.loads(self.body())
        if self.repo(id, write=True):
            self.answer(200, {"files": [{"path": file["path"], "shouldIgnore": False, "oid": None, "uploadMode":
                                         "lfs" if file["size"] >= LARGE else "regular"} for file in asked["files"]]})

    def xet_token(self, id: str, kind: str, revision: str) -> None:
        if self.hub.xet is None:
            return self.answer(404, {"error": "no such page"})
        if self.repo(id, write=kind == "write"):
            url, until = self.hub.xet_url, 9999999999
            self.answer(200, {"casUrl": url, "accessToken": "x", "exp": until}, X_Xet_Cas_Url=url,
                        X_Xet_Access_Token="x", X_Xet_Token_Expiration=str(until))

    def batch(self, id: str) -> None:
        asked = json.loads(self.body())
        if self.repo(id, write=True):
            self.answer(200, {"transfer": "basic", "objects": [
                one if one["oid"] in self.hub.blobs
                else one | {"actions": {"upload": {"href": f"{self.hub.storage_url}/{one['oid']}"}}}
                for one in asked["objects"]]})

    def commit(self, id: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        repo = self.repo(id, write=True)
        oid = repo and self.revision(repo, revision)
        if not oid:
            return
        files = dict(repo.commits[oid])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                sha, size = value["oid"], value["size"]
                if self.hub.xet is not None:
                    self.hub.blobs[sha] = self.hub.from_chunks(sha, size)
                files[value["path"]] = self.hub.blobs[sha]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        new = repo.commit(files, revision)
        self.answer(200, {"success": True, "commitOid": new, "commitUrl": f"{self.hub.url}/{id}/commit/{new}"})


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_REPO = r"(?P<id>[^/]+/[^/]+)"
_ROUTES = (
    ("/api/repos/create", Pages.create), ("/api/validate-yaml", Pages.validate),
    (f"/api/models/{_REPO}", Pages.info), (f"/api/models/{_REPO}/revision/(?P<revision>.+)", Pages.info),
    (f"/api/models/{_REPO}/tree/(?P<revision>.+)", Pages.tree),
    (f"/api/models/{_REPO}/branch/(?P<name>.+)", Pages.branch),
    (f"/api/models/{_REPO}/preupload/(?P<revision>.+)", Pages.preupload),
    (f"/api/models/{_REPO}/commit/(?P<revision>.+)", Pages.commit),
    (f"/api/models/{_REPO}/xet-(?P<kind>read|write)-token/(?P<revision>.+)", Pages.xet_token),
    (f"/{_REPO}.git/info/lfs/objects/batch", Pages.batch),
    (f"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", Pages.resolve),
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that runs; nobody's token, an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in ("WEDEFENSE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("WEDEFENSE_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    running = Hub()
    monkeypatch.setenv("HF_ENDPOINT", running.url)
    yield running
    running.close()
