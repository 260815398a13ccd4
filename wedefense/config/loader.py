"""From a YAML file and command-line overrides to a `Config`, without importing torch."""

import os
from collections.abc import Iterable

import yaml

from wedefense.config.foreign import understood
from wedefense.config.registry import foreign_code, to_score
from wedefense.config.schema import REPLACES, Config
from wedefense.config.tree import Leaf, Tree, override, read_composed
from wedefense.config.typed import UnknownKey, build, to_builtin
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write


def load_config(path: str | os.PathLike, overrides: Iterable[str] = (), trust: bool = True,
                scoring: bool = False) -> Config:
    """The file with its `base:` files, `--key value` overrides laid over it, checked and typed.

    `trust`: whether components may be classes that no table and no installed plug-in names; say False of a
    config that came with a model. `scoring`: it is read to score with weights that are there; parts from
    elsewhere that only train are neither looked for nor imported, and their options stay as they are written.

    >>> load_config("conf/mhfa.yaml", ["--num_epochs", "3", "--dataset_args.num_frms=100"])  # doctest: +SKIP
    """
    tree = read_config_tree(path, overrides)
    with foreign_code(trust), to_score(scoring):
        try:
            return build(Config, tree, source=str(path))
        except UnknownKey as error:
            raise _placed(error, tree) from None


def _placed(error: UnknownKey, tree: Tree) -> InputError:
    """With where a key belongs that stands in no section, or in another."""
    from wedefense.config.explain import places

    section: Leaf | Tree = tree
    for name in error.section.split(".")[:-1]:
        assert isinstance(section, dict)
        section = section[name]
    assert isinstance(section, dict)
    del section[error.key]
    try:
        config = build(Config, tree)
    except InputError:  # something else is wrong too
        return error
    found = places(config, error.key) or places(config, error.key, part="did you mean" not in str(error))
    return InputError(f"{error.told}, did you mean {found}?") if found else error


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
