"""Fetch checkpoints once into a cache folder: resumed, checked, and whole or absent."""

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger, progress

OFFLINE = "WEDEFENSE_OFFLINE or HF_HUB_OFFLINE"
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_ODD = re.compile(r"[^\w.+-]", re.ASCII)


def within(folder: Path, name: str) -> Path:
    """A place in a folder by a name that came from elsewhere; one that leads out of it is refused."""
    parts = name.split("/")
    if not name or "\0" in name or os.path.isabs(name) or ".." in parts or "\\" in name:
        raise InputError(f"'{name}' leads out of {folder}, which no file that is fetched or unpacked may; get it from "
                         "its publisher by hand, and look at it")
    return folder / name


def cache_dir(download_dir: str | os.PathLike | None = None) -> Path:
    """`download_dir`, else $WEDEFENSE_CACHE, else ~/.cache/wedefense."""
    return Path(download_dir or os.environ.get("WEDEFENSE_CACHE") or "~/.cache/wedefense").expanduser()


def set_offline(value: bool = True) -> None:
    """`--offline`: from now on, in this process and its children, nothing is fetched."""
    os.environ["WEDEFENSE_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1" if value else "0"


def is_offline() -> bool:
    """By our own variable, or by that of everything else which talks to a hub."""
    return any(os.environ.get(name, "0").lower() not in ("", "0", "false", "no", "off")
               for name in ("WEDEFENSE_OFFLINE", "HF_HUB_OFFLINE"))


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


class NotFound(InputError):
    """The server has no such file."""


def fetch(url: str, target: Path, checksum: str | None = None, token: str | None = None) -> Path:
    """Download `url` to `target` unless it is there; several processes may ask at once, one of them works.

    A broken download is taken up where it stopped. The file gets its name only when it is complete and, where
    `checksum` (MD5 or SHA-256) is given, has it. `token` is shown to the server of `url` alone.
    """
    if target.is_file():
        return target
    if is_offline():
        raise InputError(f"{target}: not here, and {OFFLINE} forbids fetching it; put the file of {url} there")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name(f".{target.name}.lock")):
        if not target.is_file():
            part = target.with_name(f"{target.name}.part")
            try:
                _download(url, part, token)
            except urllib.error.HTTPError as error:
                raise (NotFound if error.code == 404 else InputError)(
                    f"{url}: the server answered {error.code} {error.reason}; get the file and put it at {target}"
                ) from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error  # errors of urllib have it
                raise InputError(f"{url}: cannot be fetched ({reason}); without a network, get the file elsewhere and "
                                 f"put it at {target}") from None
            try:
                verify(part, checksum, url)
            except InputError as error:
                part.unlink()
                raise InputError(f"{error}; the download was thrown away") from None
            os.replace(part, target)
    return target


def _download(url: str, part: Path, token: str | None) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "wedefense"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not done:
            raise
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return  # whole already
        part.unlink()  # longer than the file, or nobody knows: start again
        return _download(url, part, token)
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        get_logger().info("fetching %s%s", url, f" (from byte {done})" if done else "")
        bar = progress(total=total, desc=part.name.removesuffix(".part"), unit="B", unit_scale=True, initial=done)
        with open(part, "ab" if resumed else "wb") as stream, bar:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and part.stat().st_size != total:
        raise OSError(f"the connection broke after {part.stat().st_size} of {total} bytes; start again to resume")


def verify(path: Path, checksum: str | None, source: str) -> None:
    """Refuse a file whose MD5 (32 digits) or SHA-256 (64) is another."""
    if checksum is None:
        return
    kind = "md5" if len(checksum) == 32 else "sha256"
    with open(path, "rb") as stream:
        digest = hashlib.new(kind, usedforsecurity=False)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != checksum.lower():
        name = {"md5": "MD5", "sha256": "SHA-256"}[kind]
        raise InputError(f"{source}: its {name} is {digest.hexdigest()}, expected {checksum}")


@contextlib.contextmanager
def _lock(path: Path):
    """Hold a lock file; it is left behind, since removing it would let two processes hold it."""
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def s3prl_name(url: str) -> str:
    """The name that s3prl gives a downloaded file, so that its folders (`./s3prl_hub`) serve as they are.

    A name of the project's making: what an address has of its own in it is harmless. No two addresses share one.
    """
    return f"{hashlib.sha256(url.encode()).hexdigest()}.{_ODD.sub('_', url.rsplit('/', 1)[1])[-100:]}"


def file_name(url: str) -> str:
    return Path(urllib.parse.urlparse(url).path).name or "download"
