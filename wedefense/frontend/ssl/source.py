"""From what a user names (a model, a path, a hub id, a URL) to a file or folder on disk."""

import os
from pathlib import Path

from wedefense.config.frontend import SSLOptions
from wedefense.config.schema import Config
from wedefense.frontend.ssl.zoo import CONFIG, MODELS, WEIGHT_FILES, Model, find_model, holds_model, is_for_downloads
from wedefense.utils.download import NotFound, cache_dir, fetch, is_url, s3prl_name
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.hub import HubName, Repository, parse_name, placed_folder

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


def find_source(name: str, path_or_url: str | None = None, download_dir: str | os.PathLike | None = None) -> Path:
    """The checkpoint on disk, fetched if need be. `path_or_url` goes before `name`."""
    model = find_model(name)
    if path_or_url:
        folder = Path(path_or_url).expanduser()
        if model is not None and is_for_downloads(name, path_or_url):
            return _from_table(model, folder)
        if model is not None and not folder.exists() and folder.suffix in _SUFFIXES and not is_url(path_or_url):
            raise InputError(f"{path_or_url}: no such file (leave path_or_url out, and '{name}' is fetched)")
        return from_reference(path_or_url, download_dir)
    if model is not None:
        return _from_table(model, download_dir)
    if _may_be_found(name):
        return from_reference(name, download_dir)
    raise unknown(name)


def require_known(config: Config) -> None:
    """Refuse a name that stands for no encoder, before anything is fetched; weights of `model_init` bring their own."""
    data = config.dataset_args
    if not isinstance(data.frontend_options, SSLOptions) or config.model_init:
        return
    upstream = data.frontend_options.upstream_args
    if not (upstream.path_or_url or find_model(upstream.name) or _may_be_found(upstream.name)):
        raise InputError(f"dataset_args.{data.frontend_section}.upstream_args.name: {unknown(upstream.name)}")


def _may_be_found(name: str) -> bool:
    return Path(name).exists() or looks_like_reference(name)


def looks_like_reference(name: str) -> bool:
    """A URL, a hub id or something spelt like a path, not a name of the table."""
    return is_url(name) or name.endswith(_SUFFIXES) or "/" in name


def unknown(name: str) -> InputError:
    return InputError(f"unknown SSL model '{name}'{did_you_mean(name, MODELS)}; a path, a URL or a "
                      "Hugging Face hub id (owner/model) is taken too")


def from_reference(reference: str, download_dir: str | os.PathLike | None) -> Path:
    """A path as it is; a URL or a hub id fetched."""
    path = Path(reference).expanduser()
    if path.exists():
        return path
    if is_url(reference):
        return fetch(reference, cache_dir(download_dir) / s3prl_name(reference))
    named = parse_name(reference)
    if named is not None and not named.file and not reference.endswith(_SUFFIXES):
        try:
            return _from_hub(named, download_dir)
        except InputError as error:
            raise InputError(f"'{reference}': no such file or folder, and not to be had as a hub id: {error}") from None
    raise InputError(f"{reference}: no such file or folder")


def _from_hub(named: HubName, download_dir: str | os.PathLike | None) -> Path:
    """A hub's model as a folder: its configs, and the first of the kinds of weights that it has."""
    placed = placed_folder(named.hub_id, download_dir)
    if not named.revision and (placed / CONFIG).is_file() and any((placed / name).is_file() for name in WEIGHT_FILES):
        return placed
    repository = Repository(named.hub_id, named.revision, download_dir=download_dir)
    for name in (CONFIG, "preprocessor_config.json"):
        repository.has(name)
    for name in WEIGHT_FILES:
        if repository.has(name):
            return repository.folder([name])
    raise NotFound(f"'{named}': has none of {', '.join(WEIGHT_FILES)}")


def _from_table(model: Model, download_dir: str | os.PathLike | None) -> Path:
    folder = cache_dir(download_dir)
    for file in (*model.files, *map(s3prl_name, model.urls)):
        if (folder / file).is_file():
            return folder / file
    if model.hub_id:
        for candidate in (folder / model.hub_id.replace("/", "--"), folder / model.hub_id.split("/")[1]):
            if candidate.is_dir() and holds_model(candidate):
                return candidate
    try:
        return fetch(model.urls[0], folder / model.files[0], model.sha256)
    except InputError as error:
        hub = f", or the folder of {model.hub_id} as {folder / model.hub_id.split('/')[1]}" if model.hub_id else ""
        raise InputError(f"{error}\n'{model.name}': put {' or '.join(model.files)} into {folder}{hub}; or say where it "
                         "is with upstream_args.path_or_url") from None
