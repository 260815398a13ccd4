"""Fetch a corpus: resumed where it broke, checked against its publisher's checksums, unpacked.

    python tools/download.py                  # what there is, and from where
    python tools/download.py asvspoof5 DIR    # archives wait in DIR/.downloads until they are unpacked into DIR

Run it again after an interruption: what is whole is not fetched or unpacked again.
"""

import argparse
import fnmatch
import gzip
import io
import json
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from wedefense.utils.bounded_yaml import load_yaml
from wedefense.utils.download import NotFound, fetch, file_name, verify, within
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.log import get_logger, progress, setup_logging
from wedefense.utils.tables import read_lines

TABLE = Path(__file__).with_name("corpora.yaml")
ZENODO = "https://zenodo.org"
HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)
log = get_logger()


@dataclass(frozen=True)
class File:
    name: str
    url: str
    checksum: str | None = None  # MD5 or SHA-256
    size: int = 0                # bytes; 0 where the publisher does not say


def list_files(corpus: dict, token: str | None) -> list[File]:
    """What a corpus consists of, with the checksums that its publisher gives today."""
    files = []
    for record, patterns in corpus.get("zenodo", {}).items():
        content = _ask(f"{ZENODO}/api/records/{record}", corpus, None)["files"]
        found = [File(item["key"], item["links"]["self"], item["checksum"].removeprefix("md5:"), item["size"])
                 for item in content]
        files += _chosen(found, patterns, corpus)
    for repository, patterns in corpus.get("hub", {}).items():
        content = _ask(f"{HUB}/api/datasets/{repository}/tree/main?recursive=true", corpus, token)
        found = [File(item["path"], f"{HUB}/datasets/{repository}/resolve/main/{item['path']}",
                      item.get("lfs", {}).get("oid"), item["size"]) for item in content if item["type"] == "file"]
        files += _chosen(found, patterns, corpus)
    return files + [File(file_name(url), url, md5) for url, md5 in corpus.get("urls", {}).items()]


def _ask(url: str, corpus: dict, token: str | None):
    request = urllib.request.Request(url, headers={"User-Agent": "wedefense"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InputError(f"{url}: cannot be read ({error}); "
                         f"{corpus['gives']} can be had from {corpus['page']}") from None


def _chosen(files: list[File], patterns: list[str], corpus: dict) -> list[File]:
    chosen = []
    for pattern in patterns:
        matching = sorted((f for f in files if fnmatch.fnmatchcase(f.name, pattern)), key=lambda f: f.name)
        if not matching:
            raise InputError(f"{corpus['page']}: has no file {pattern} any more (it has "
                             f"{', '.join(f.name for f in files)}); tools/corpora.yaml needs a new address")
        chosen += matching
    return chosen


def obtain(file: File, folder: Path, token: str | None) -> Path:
    """The file, whole and checked. A broken connection is taken up again as long as each attempt brings something."""
    target = within(folder, file.name)
    part = target.with_name(f"{target.name}.part")
    if target.is_file():  # put there by hand, or left by an unpacking that broke
        verify(target, file.checksum, str(target))
    while not target.is_file():
        before = part.stat().st_size if part.exists() else 0
        try:
            fetch(file.url, target, file.checksum, token)
        except NotFound:
            raise
        except InputError as error:
            if not part.exists() or part.stat().st_size <= before:
                raise
            log.warning("%s: trying again", error)
    how = {0: "no checksum is published for it", 32: "MD5 as published", 64: "SHA-256 as published"}
    log.info("%s: whole, %s", target, how[len(file.checksum or "")])
    return target


class Joined(io.RawIOBase):
    """Several files, read as one; a bar counts the bytes."""

    def __init__(self, paths: list[Path], bar):
        self.streams, self.bar = [open(path, "rb") for path in paths], bar

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self.streams:
            if count := self.streams[0].readinto(buffer):
                self.bar.update(count)
                return count
            self.streams.pop(0).close()
        return 0


def unpack(parts: list[Path], folder: Path) -> None:
    """An archive, whole or in parts, into a folder; anything else is copied. A damaged archive is an error."""
    name = parts[0].name
    size = sum(part.stat().st_size for part in parts)
    with progress(total=size, desc=f"unpacking {name}", unit="B", unit_scale=True) as bar:
        if name.endswith(".zip"):
            with zipfile.ZipFile(parts[0]) as archive:
                for member in archive.infolist():
                    _checked(folder, member.filename, stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG,
                                                                                               stat.S_IFDIR))
                    archive.extract(member, folder)
                    bar.update(member.compress_size)
        elif ".tar" in name:
            stream = io.BufferedReader(Joined(parts, bar), 1 << 20)
            with gzip.open(stream) if ".gz" in name else stream as stream:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    for member in archive:
                        _checked(folder, member.name, member.isreg() or member.isdir())
                        archive.extract(member, folder, filter=_plain)
                while stream.read(1 << 20):  # to the end, where gzip keeps its checksum
                    pass
        else:
            shutil.copyfile(parts[0], folder / name)


def _checked(folder: Path, name: str, plain: bool) -> None:
    """A member of an archive must be a file or a folder within the folder; links and devices are refused."""
    within(folder, name)
    if not plain:
        raise InputError(f"'{name}' of the archive is a link or a device, and corpora are made of files; it and what "
                         "follows it was not unpacked. Get the archive from its publisher again")


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """What an archive may say of a file: its name, its content and its time; not its mode, not its owner."""
    return tarfile.data_filter(member, folder).replace(mode=None, deep=False)


def download(name: str, corpus: dict, folder: Path, keep: bool = False) -> None:
    token = os.environ.get("HF_TOKEN") if corpus.get("token") else None
    if corpus.get("token") and not token:
        raise InputError(f"{name}: ask for access at {corpus['page']}, make a token there and set HF_TOKEN to it")
    files = list_files(corpus, token)
    if not files:
        raise InputError(f"{name}: cannot be fetched by a program. {corpus['by_hand']} It is to be had from "
                         f"{corpus['page']}")
    waiting = folder / ".downloads"
    waiting.mkdir(parents=True, exist_ok=True)
    left = [file for file in files if not _mark(waiting, file).exists()]
    needed = sum(file.size for file in left if not (waiting / file.name).exists())
    if needed > shutil.disk_usage(folder).free:
        raise InputError(f"{folder}: {name} has {needed / 1e9:.0f} GB of archives left to fetch, and the disk has "
                         f"{shutil.disk_usage(folder).free / 1e9:.0f} GB free")
    for group in [left] if corpus.get("joined") and left else [[file] for file in left]:
        parts = [obtain(file, waiting, token) for file in group]
        try:
            unpack(parts, folder)
        except DAMAGE as error:
            for part in parts:
                part.unlink()
            raise InputError(f"{parts[0]}: damaged ({error}), removed; run this again to fetch it anew") from None
        for file, part in zip(group, parts):
            _mark(waiting, file).touch()
            if not keep:
                part.unlink()
    log.info("%s: %s in %s", name, corpus["gives"], folder)
    if "by_hand" in corpus:
        log.warning("%s: %s It is to be had from %s", name, corpus["by_hand"], corpus["page"])


def _mark(folder: Path, file: File) -> Path:
    return within(folder, f"{file.name}.unpacked")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the archives after unpacking them")
    parser.add_argument("--table", type=Path, default=TABLE, help="another table of addresses")
    arguments = parser.parse_args(argv)
    setup_logging()
    table = load_yaml("\n".join(read_lines(arguments.table)), arguments.table)
    if arguments.corpus is None:
        for name, corpus in table.items():
            asked = "" if "by_hand" not in corpus else " (the rest by hand)" if "urls" in corpus else " (by hand)"
            print(f"{name:<14} {corpus['page']:<52} {corpus['gives']}{asked}")
        return 0
    if arguments.corpus not in table:
        raise InputError(f"unknown corpus '{arguments.corpus}'{did_you_mean(arguments.corpus, table)}")
    if arguments.folder is None:
        parser.error("say where it is to go: download.py CORPUS DIR")
    download(arguments.corpus, table[arguments.corpus], arguments.folder, arguments.keep)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
