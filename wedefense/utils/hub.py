"""Models of a hub, by huggingface_hub: files of one revision in its shared cache, and commits to it.

What a hub hands out is data: nothing of it is run, and callers ask for files by names of their own making.
"""

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from wedefense.utils.download import OFFLINE, NotFound, cache_dir, fetch, is_offline, within
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.visible import Guarded

_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_SHA256, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
LARGE = 8_000_000  # bytes; from there on a file is taken up where an earlier process was stopped


@dataclass(frozen=True)
class HubName:
    """`owner/model`, `owner/model/file`, either with `@revision`: a branch, a tag or a commit."""

    hub_id: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return self.hub_id + (f"@{self.revision}" if self.revision else "")


def parse_name(text: str, revision: str | None = None) -> HubName | None:
    """None where it is spelt like no hub's name; `revision` as an option beside it."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    if revision and match["revision"] not in (None, revision):
        raise InputError(f"'{text}': names a revision, and another one, {revision}, is asked for; give one")
    return HubName(match["id"], match["file"], revision or match["revision"])


def placed_folder(hub_id: str, download_dir: str | os.PathLike | None) -> Path:
    """Where somebody may have put the files of a model by hand, and where older versions kept them."""
    return cache_dir(download_dir) / hub_id.replace("/", "--")


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def library(hub_id: str) -> ModuleType:
    try:
        for part in ("errors", "constants", "utils"):
            importlib.import_module(f"huggingface_hub.{part}")
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(f"'{hub_id}': to talk to a hub needs the package {str(error.name).split('.')[0]}: pip install "
                         "'wedefense[hub]'") from None


class Unreachable(InputError):
    """Nobody answered."""


@dataclass
class Repository:
    """A model on a hub at one revision. The first file that comes says which commit that is; all are of it.

    `token`: else $HF_TOKEN or what `hf auth login` stored. `download_dir`: a cache of one's own instead of the one
    that all programs share.
    """

    hub_id: str
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    download_dir: str | os.PathLike | None = None

    def __post_init__(self):
        self._hub = library(self.hub_id)
        self._commit = self.revision if _COMMIT.fullmatch(self.revision or "") else None
        own = self.download_dir or os.environ.get("WEDEFENSE_CACHE")
        self._cache = cache_dir(own) if own else Path(self._hub.constants.HF_HUB_CACHE)

    def get(self, name: str) -> Path:
        """The file in the cache, fetched if it is not there; `NotFound` if the repository has none of that name."""
        within(self._cache, name)
        revision = self._commit or self.revision
        with told(self._hub, self.hub_id, self.revision, name):
            path = self.cached(name)
            if path is None and is_offline():
                raise NotFound(f"'{self.hub_id}': {name} is not in the cache {self._cache}, and {OFFLINE} "
                               "forbids fetching it; load it once with a network")
            if path is None or not (self._commit or is_offline()):
                path = self._fetched(name, revision, path)
        self._commit = path.parents[name.count("/")].name
        return path

    def cached(self, name: str) -> Path | None:
        """The file as the cache has it; nobody is asked whether that is the newest."""
        found = self._hub.try_to_load_from_cache(self.hub_id, name, self._cache, self._commit or self.revision)
        return Path(found) if isinstance(found, str) else None

    def has(self, name: str) -> bool:
        """Whether there is such a file; it has come if so."""
        try:
            self.get(name)
        except NotFound:
            return False
        except Unreachable:
            if self._commit is None:
                raise
            return False  # the rest came from the cache
        return True

    def folder(self, names: Sequence[str]) -> Path:
        """The folder of these files, all of which have come."""
        return [self.get(name).parents[name.count("/")] for name in names][-1]

    def _fetched(self, name: str, revision: str | None, cached: Path | None) -> Path:
        """As the hub has it now, or what the cache has where nobody answers.

        The library throws away what a kill leaves of a file; a large one is therefore put where its cache keeps
        contents, by `fetch`, which goes on with it and checks it.
        """
        hub = self._hub
        url = hub.hf_hub_url(self.hub_id, name, revision=revision, endpoint=endpoint())
        try:
            with told(hub, self.hub_id, revision, name):
                found = hub.get_hf_file_metadata(url, token=self.token)
        except Unreachable as error:
            if cached is None:
                raise
            get_logger().warning("%s; taken from the cache, as it was when it was fetched last", error)
            return cached
        if (found.size or 0) >= LARGE and _SHA256.fullmatch(found.etag or ""):
            same = urlsplit(found.location)[:2] == urlsplit(endpoint())[:2]
            token = hub.get_token() if self.token is None else self.token
            content = self._cache / f"models--{self.hub_id.replace('/', '--')}" / "blobs" / found.etag
            fetch(found.location, content, found.etag, token if same else None)
        return Path(hub.hf_hub_download(self.hub_id, name, revision=revision, cache_dir=self._cache, token=self.token,
                                        endpoint=endpoint(), library_name="wedefense"))


@contextlib.contextmanager
def told(hub: ModuleType, hub_id: str, revision: str | None = None, name: str = "",
         may: str = "read") -> Iterator[None]:
    """What the library raises, as one line with the cure; `may`: what a token is needed for."""
    errors, at, page = hub.errors, f"'{hub_id}'{f' at {revision}' if revision else ''}", f"{endpoint()}/{hub_id}"
    login = _login(may)
    try:
        with _bars(hub):
            yield
    except errors.EntryNotFoundError:
        raise NotFound(f"{at}: {page} has no file {name}") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{at}: no such branch, tag or commit; {page}/tree/main lists them") from None
    except errors.GatedRepoError as error:
        if error.response.status_code == 403:
            raise InputError(f"{at} is gated, and the account of this token has no access yet; ask for it at {page}"
                             ) from None
        raise InputError(f"{at} is gated: accept its conditions at {page}, then {login}") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{at}: {endpoint()} shows no such model; if it is private, {login}") from None
    except errors.HFValidationError as error:
        raise InputError(f"{at} is no name of a hub ({error})") from None
    except errors.HfHubHTTPError as error:
        code, said = error.response.status_code, error.server_message or "no reason given"
        if code >= 500 or code == 429:
            raise Unreachable(f"{at}: {endpoint()} answered {code} ({said}); try again later") from None
        raise InputError(f"{at}: {endpoint()} answered {code} ({said}){f'; {login}' if code in (401, 403) else ''}"
                         ) from None
    except InputError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("http", "requests")):
            raise  # what the library's own client raises; its kind depends on the version
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if "404" in reason and "/xet-" in reason:
            raise InputError(f"{at}: {endpoint()} takes no files by Xet ({reason}); set HF_HUB_DISABLE_XET=1") from None
        raise Unreachable(f"{at}: {endpoint()} cannot be talked to ({reason}); mend the network or HF_ENDPOINT"
                          ) from None


@contextlib.contextmanager
def _bars(hub: ModuleType) -> Iterator[None]:
    """The library's bars move the cursor: on a terminal they go past what writes such characters out, else there are
    none."""
    stream = sys.stderr
    if stream.isatty():
        with contextlib.redirect_stderr(stream.stream if isinstance(stream, Guarded) else stream):
            yield
        return
    shown = not hub.utils.are_progress_bars_disabled()
    if shown:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            hub.utils.enable_progress_bars()


def _login(may: str) -> str:
    return (f"make a token that may {may} at {endpoint()}/settings/tokens and give it by `hf auth login`, in HF_TOKEN, "
            "or as token= in Python")


@dataclass(frozen=True)
class Push:
    """What is asked of a push, beside the files."""

    hub_id: str
    revision: str | None = None  # a branch, made if there is none
    private: bool = False        # where the repository has to be made
    token: str | None = field(default=None, repr=False)
    message: str = "Add a detector"


def require_token(asked: Push) -> None:
    """Before the work: what cannot be pushed at all is told at once."""
    hub = library(asked.hub_id)
    if is_offline():
        raise InputError(f"'{asked.hub_id}': {OFFLINE} forbids to push")
    if not (asked.token or hub.get_token()):
        raise InputError(f"'{asked.hub_id}': pushing needs a token; {_login('write')}")


def push_folder(folder: Path, asked: Push, replaced: Sequence[str] = ()) -> str:
    """One commit of all files in a folder, which takes files of `replaced` away that it has not; the commit's URL."""
    hub = library(asked.hub_id)
    api = hub.HfApi(endpoint=endpoint(), token=asked.token, library_name="wedefense")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix() for path in files}
    with told(hub, asked.hub_id, asked.revision, may="write"):
        if not api.repo_exists(asked.hub_id):
            api.create_repo(asked.hub_id, private=asked.private or None, exist_ok=True)
        if asked.revision:
            api.create_branch(asked.hub_id, branch=asked.revision, exist_ok=True)
        there = set(api.list_repo_files(asked.hub_id, revision=asked.revision))
        changes = [hub.CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        changes += [hub.CommitOperationDelete(name) for name in sorted(there & set(replaced) - names)]
        made = api.create_commit(asked.hub_id, changes, commit_message=asked.message, revision=asked.revision)
    return made.commit_url
