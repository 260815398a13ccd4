"""YAML as nested dicts whose leaves remember the file and line they came from."""

import ast
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wedefense.utils.bounded_yaml import Loader, refused
from wedefense.utils.errors import InputError
from wedefense.utils.recipe_files import around, home
from wedefense.utils.tables import read_lines

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Leaf:
    value: Any   # as YAML has it
    origin: str  # "conf/mhfa.yaml:12" or "command line"
    text: str | None = field(default=None, compare=False)  # as it was written: YAML makes 202611261 of 20261126_1


Tree = dict[str, "Leaf | Tree"]
_COMMENT = re.compile(r"(?:^|\s)#")


def parse_scalar(text: str) -> object:
    """A command-line value, read as YAML reads it: 3, 1e-4, true, [0,1], null, text."""
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError:
        return text


def read_tree(path: str | os.PathLike) -> Tree:
    """The mapping in a YAML file; a broken file or a key that comes twice is an error with its line."""
    text = "\n".join(read_lines(path)) + "\n"
    loader = None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise InputError(f"{path}: expected `key: value` lines at the top level")
        return _mapping(node, loader, str(path))
    except yaml.YAMLError as error:
        raise refused(error, path) from None
    finally:
        if loader is not None:
            loader.dispose()


def _mapping(node: yaml.MappingNode, loader: Loader, path: str) -> Tree:
    tree: Tree = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        origin = f"{path}:{key_node.start_mark.line + 1}"
        if key in tree:
            raise InputError(f"{origin}: key '{key}' comes twice in the same section; keep one")
        if isinstance(value_node, yaml.MappingNode):
            tree[key] = _mapping(value_node, loader, path)
        else:
            plain = isinstance(value_node, yaml.ScalarNode) and value_node.style is None
            text = value_node.value if plain else None
            tree[key] = Leaf(loader.construct_object(value_node, deep=True), origin, text)
    return tree


def merge(below: Tree, above: Tree, replaces: dict[str, tuple[str, ...]], prefix: str = "") -> Tree:
    """`above` laid over `below`: later wins, nested keys merge.

    `replaces` maps the dotted key of a component's name to the sections it owns: naming another
    component drops the options that were meant for the one it replaces.
    """
    merged = dict(below)
    for key, value in above.items():
        dotted = f"{prefix}{key}"
        old = below.get(key)
        if dotted in replaces and isinstance(old, Leaf) and isinstance(value, Leaf) and old.value != value.value:
            for section in replaces[dotted]:
                if section == "*":  # the component's options are its siblings
                    merged = {}
                else:
                    merged.pop(section, None)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value, replaces, f"{prefix}{key}.")
        else:
            merged[key] = value
    return merged


def read_composed(path: str | os.PathLike, replaces: dict[str, tuple[str, ...]], _above: tuple = ()) -> Tree:
    """A file laid over the files of its `base:` list."""
    path = Path(path)
    tree = read_tree(path)
    resolved = path.resolve()
    if resolved in _above:
        raise InputError(f"{path}: `base:` leads back to this file")
    composed: Tree = {}
    for file in _bases(path, tree):
        composed = merge(composed, read_composed(file, replaces, (*_above, resolved)), replaces)
    return merge(composed, tree, replaces)


def base_files(path: Path) -> list[Path]:
    """The files that a config names under `base:`."""
    return _bases(path, read_tree(path))


def _bases(path: Path, tree: Tree) -> list[Path]:
    """Takes `base:` out of the tree. Paths begin at the file, or at the clone, copy or package around it."""
    base = tree.pop("base", Leaf([], str(path)))
    names, origin = (base.value, base.origin) if isinstance(base, Leaf) else (None, str(path))
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(f"{path}: base: must be a file name or a list of file names")
    found = []
    for name in names:
        places = [path.parent / name, (around(path) or home()) / name]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise InputError(f"{origin}: base: no such file '{places[0]}', nor '{places[1]}'")
        found.append(Path(os.path.normpath(file)))
    return found


def override(tree: Tree, dotted: str, text: str, replaces: dict[str, tuple[str, ...]]) -> Tree:
    """One `--nested.key value` of the command line laid over the tree."""
    scalar = _typed(text)
    quoted = isinstance(scalar, str) and text.strip()[:1] in ("'", '"') and scalar != text
    origin = f"{COMMAND_LINE}: --{dotted}"
    value: Leaf | Tree = Leaf(scalar, origin, None if quoted else text)
    if isinstance(scalar, dict):
        value = from_builtin(scalar, origin)
    *sections, key = dotted.split(".")
    laid = {key: value}
    for section in reversed(sections):
        laid = {section: laid}
    return merge(tree, laid, replaces)


def _typed(text: str) -> object:
    """What YAML makes of a value, which is typed and not written: a # in it begins no comment, an & names nothing."""
    scalar = parse_scalar(text)
    empty = scalar is None and text.strip().lower() not in ("", "null", "~")
    comment = not isinstance(scalar, (list, dict)) and _COMMENT.search(text) and text.strip()[0] not in ("'", '"')
    return text if empty or comment else scalar


def from_builtin(mapping: dict, origin: str) -> Tree:
    """Nested dicts as a tree whose leaves all come from `origin`."""
    return {str(k): from_builtin(v, origin) if isinstance(v, dict) else Leaf(v, origin) for k, v in mapping.items()}


def as_list(text: str) -> object:
    """A list written as a string, as in WeSpeaker's `gpus: "[0,1]"`."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # the last two of what is nested
        return text
