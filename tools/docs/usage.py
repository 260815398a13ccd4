"""Which configs of the recipes set which key, and to what."""

import dataclasses
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from wedefense.config.loader import read_config_tree
from wedefense.config.schema import Config
from wedefense.config.tree import Leaf, Tree
from wedefense.utils.recipe_files import home, recipe_files

Uses = dict[str, list[str]]  # a value as it was written -> the configs that say so


@cache
def uses() -> dict[tuple[str, type], Uses]:
    """(dotted section, class of its options) with the key appended to the section -> who sets it to what.

    What stands in a file of `conf/` counts for each recipe that builds on it.
    """
    found: dict[tuple[str, type], Uses] = {}
    for name in recipe_files(home()):
        if name.startswith("egs/") and name.endswith(".yaml"):
            for key, cls, text in _set(Config, read_config_tree(home() / name)):
                found.setdefault((key, cls), {}).setdefault(text, []).append(_short(name))
    return found


def by_recipe(configs: list[str]) -> dict[str, list[str]]:
    """Recipe -> names of its configs."""
    found: dict[str, list[str]] = {}
    for config in configs:
        recipe, _, name = config.rpartition("/")
        found.setdefault(recipe, []).append(name)
    return found


def _short(name: str) -> str:
    path = Path(name)
    return f"{os.path.relpath(path.parents[1], 'egs')}/{path.stem}"


def _set(cls: type, tree: Tree, section: str = "") -> Iterator[tuple[str, type, str]]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name, node in tree.items():
        if isinstance(node, Leaf):
            yield f"{section}{name}", cls, node.text if node.text is not None else str(node.value)
        elif inner := _options(fields[name], fields, tree):
            yield from _set(inner, node, f"{section}{name}.")
        else:
            yield f"{section}{name}", cls, ", ".join(f"{key}: {_text(value)}" for key, value in node.items())


def _text(node: Leaf | Tree) -> str:
    return node.text or str(node.value) if isinstance(node, Leaf) else "{...}"


def _options(field: dataclasses.Field, fields: dict[str, dataclasses.Field], tree: Tree) -> type | None:
    """The class of the options that a section holds; None of a plain mapping."""
    named: Any = None
    if "component" in field.metadata:
        name, registry = field.metadata["component"]
        named = tree.get(name, Leaf(fields[name].default, ""))
    elif "component_key" in field.metadata:
        name, registry, default = field.metadata["component_key"]
        section = tree.get(field.name)
        named = section.get(name, Leaf(default, "")) if isinstance(section, dict) else Leaf(default, "")
    if named is not None:
        options = registry.options(named.value)
        return options if dataclasses.is_dataclass(options) else None
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return type(made) if dataclasses.is_dataclass(made) else None
