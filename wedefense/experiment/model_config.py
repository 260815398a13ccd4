"""The config that came with a model, as against one that the user wrote.

Whoever shares a model shares its `config.yaml`. It may name known architectures and files of its own folder: no URL,
no path outside, no code, no download folder, no s3prl upstream that unpickles its files itself. Every config that
lies beside weights is read here; `trust` is for those of one's own.
"""

import os
from dataclasses import replace
from pathlib import Path

from wedefense.config.frontend import PretrainedOptions, S3prlOptions, WhisperOptions
from wedefense.config.loader import load_config
from wedefense.config.registry import Untrusted
from wedefense.config.schema import Config
from wedefense.config.tree import read_tree
from wedefense.frontend.s3prl import is_native
from wedefense.frontend.ssl.formats.recorded import FILE
from wedefense.frontend.ssl.zoo import find_model
from wedefense.frontend.whisper import is_known


def read_model_config(path: str | os.PathLike, recorded: bool, trust: bool = False) -> Config:
    """`recorded`: the shape of the front-end lies beside the weights, so that its pretrained file is not asked for."""
    if trust:
        return load_config(path)
    tree = read_tree(path)
    if "base" in tree:
        raise Untrusted(f"{path}: base: leads to other files")
    config = load_config(path, trust=False)
    options = config.dataset_args.frontend_options
    if not isinstance(options, PretrainedOptions):
        return config
    own = _confined(options, Path(path), recorded)
    return replace(config, dataset_args=config.dataset_args.with_frontend_options(own))


def _confined(options: PretrainedOptions, path: Path, recorded: bool) -> PretrainedOptions:
    """The options with what a recorded shape makes idle left out, or an error."""
    upstream, place = options.upstream_args, f"{path}: upstream_args"
    if isinstance(options, S3prlOptions) and not is_native(upstream.name):
        raise Untrusted(f"{place}.name: '{upstream.name}' is an upstream whose files s3prl unpickles itself")
    file = None
    if not recorded:
        if upstream.path_or_url:
            file = _inside(upstream.path_or_url, path.parent, f"{place}.path_or_url")
        elif not (is_known if isinstance(options, WhisperOptions) else find_model)(upstream.name):
            raise Untrusted(f"{place}.name: '{upstream.name}' is no known model, and no {FILE} lies beside the "
                            "config")
    return replace(options, download_dir=None, upstream_args=replace(upstream, path_or_url=file))


def _inside(name: str, folder: Path, place: str) -> str:
    """The path of a file in the folder; links that lead out of it count as outside."""
    file = os.path.realpath(folder / name)
    if "://" in name or not file.startswith(os.path.realpath(folder) + os.sep) or not os.path.exists(file):
        raise Untrusted(f"{place}: '{name}' is no file of {folder}")
    return file
