"""From a YAML file and command-line overrides to a `Config`, without importing torch."""

import os
from collections.abc import Iterable

import yaml

from wedefense.config.foreign import understood
from wedefense.config.registry import foreign_code
from wedefense.config.schema import REPLACES, Config
from wedefense.config.tree import Tree, override, read_composed
from wedefense.config.typed import build, to_builtin
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write


def load_config(path: str | os.PathLike, overrides: Iterable[str] = (), trust: bool = True) -> Config:
    """The file with its `base:` files, `--key value` overrides laid over it, checked and typed.

    `trust`: whether components may be classes that no table and no installed plug-in names; say False of a
    config that came with a model.

    >>> load_config("conf/mhfa.yaml", ["--num_epochs", "3", "--dataset_args.num_frms=100"])  # doctest: +SKIP
    """
    tree = read_config_tree(path, overrides)
    with foreign_code(trust):
        return build(Config, tree, source=str(path))


def read_config_tree(path: str | os.PathLike, overrides: Iterable[str] = ()) -> Tree:
    """As written, with where each key was."""
    tree = understood(read_composed(path, REPLACES))
    for key, text in _pairs(overrides):
        tree = override(tree, key, text, REPLACES)
    return tree


def save_config(config: Config, path: str | os.PathLike) -> None:
    """Write the resolved config; `load_config` of it gives an equal object."""
    with atomic_write(path, "w") as stream:
        yaml.safe_dump(to_builtin(config), stream, sort_keys=False, allow_unicode=True)


def _pairs(arguments: Iterable[str]):
    """`--key value` and `--key=value` as (key, value text)."""
    arguments = list(arguments)
    position = 0
    while position < len(arguments):
        name = arguments[position]
        if not name.startswith("--") or len(name) == 2:
            raise InputError(f"command line: expected --key value, got '{name}'")
        if "=" in name:
            key, _, value = name[2:].partition("=")
            position += 1
        elif position + 1 < len(arguments):
            key, value = name[2:], arguments[position + 1]
            position += 2
        else:
            raise InputError(f"command line: --{name[2:]} has no value")
        yield key, value
