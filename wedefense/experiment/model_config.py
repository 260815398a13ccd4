"""The config that came with a model, as against one that the user wrote.

Whoever shares a model shares its `config.yaml`. It may name known architectures and files of its own folder: no URL,
no path outside, no code, no download folder, no s3prl upstream that unpickles its files itself. Every config that
lies beside weights is read here; `trust` is for those of one's own. What only trained it (loss, augmentation, mode,
optimizer, schedule) is a name here, and no code of it is imported.
"""

import os
from dataclasses import replace
from pathlib import Path

from wedefense.config.adapters import AdapterOptions
from wedefense.config.frontend import NativeOptions, PretrainedOptions, S3prlOptions, WhisperOptions
from wedefense.config.loader import load_config
from wedefense.config.registry import Untrusted
from wedefense.config.schema import Config
from wedefense.config.tree import Leaf, read_tree
from wedefense.config.typed import build
from wedefense.experiment.folder import NAMES, folder_of
from wedefense.frontend.s3prl import is_native
from wedefense.frontend.ssl.formats.recorded import FILE
from wedefense.frontend.ssl.zoo import find_model
from wedefense.frontend.whisper import is_known
from wedefense.utils.errors import InputError


def read_model_config(path: str | os.PathLike, recorded: bool, trust: bool = False) -> Config:
    """`recorded`: the shape of the front-end lies beside the weights, so that its pretrained file is not asked for."""
    if trust:
        return load_config(path, scoring=True)
    tree = read_tree(path)
    if "base" in tree:
        raise Untrusted(f"{path}: base: leads to other files")
    config = load_config(path, trust=False, scoring=True)
    options = config.dataset_args.frontend_options
    if not isinstance(options, PretrainedOptions):
        return config
    own = _confined(options, Path(path), recorded)
    return replace(config, dataset_args=config.dataset_args.with_frontend_options(own))


def adapters_beside(weights: Path) -> AdapterOptions:
    """Those of the experiment that a checkpoint lies in, whatever else its config names."""
    folder = folder_of(weights)
    if folder is None:
        raise InputError(f"{weights}: holds adapters, and no {NAMES.config} beside it says how they are scaled; give "
                         "the file in its experiment")
    data = read_tree(folder.config).get("dataset_args", {})
    frontend = data.get("frontend") if isinstance(data, dict) else None
    section = data.get(f"{frontend.value}_args") if isinstance(data, dict) and isinstance(frontend, Leaf) else None
    tree = section.get("adapters", {}) if isinstance(section, dict) else {}
    return build(AdapterOptions, tree if isinstance(tree, dict) else {}, "adapters.", str(folder.config))


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
    if isinstance(options, NativeOptions):
        options = replace(options, adapters=replace(options.adapters, path=None))  # they are among the weights
    return replace(options, download_dir=None, upstream_args=replace(upstream, path_or_url=file))


def _inside(name: str, folder: Path, place: str) -> str:
    """The path of a file in the folder; links that lead out of it count as outside."""
    file = os.path.realpath(folder / name)
    if "://" in name or not file.startswith(os.path.realpath(folder) + os.sep) or not os.path.exists(file):
        raise Untrusted(f"{place}: '{name}' is no file of {folder}")
    return file
