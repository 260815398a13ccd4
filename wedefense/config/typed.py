"""From a tree of YAML values to frozen dataclasses, and back; every refusal names file, key and cure."""

import dataclasses
import math
import types
import typing
from typing import Any

from wedefense.config.tree import Leaf, Tree, as_list
from wedefense.utils.errors import InputError, OptionError, did_you_mean
from wedefense.utils.visible import visible

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class UnknownKey(InputError):
    """Nobody reads it; `section` is its dotted place and ends in a dot, unless it is empty."""

    def __init__(self, where: str, section: str, key: str, known: typing.Iterable[str]):
        self.section, self.key, self.told = section, key, f"{where}: unknown key '{section}{key}'"
        super().__init__(f"{self.told}{did_you_mean(key, known)}")


class _Mismatch(Exception):
    """A value does not fit a type; the message says what was expected."""


def build(cls: type[Any], tree: Tree, path: str = "", source: str = ""):
    """An instance of the options dataclass `cls` from a (sub)tree; `path` is its dotted place.

    A field with `metadata={"component": (name_field, registry)}` takes the options class of the
    component that the sibling `name_field` names; with `{"component_key": (key, registry, default)}`
    the name stands inside the section, under `key`. One with `{"read": function}` holds what that makes of its value.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key, value in tree.items():
        if key not in fields:
            raise UnknownKey(_origin(value, source), path, key, fields)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        hint = hints[name]
        component = field.metadata.keys() & {"component", "component_key"}
        if component:
            hint = _component_options(field, fields, values, tree, path, source)
        if name in tree:
            values[name] = field.metadata.get("read", _as_it_is)(_convert(tree[name], hint, f"{path}{name}", source))
        elif component:
            values[name] = _construct(hint, {}, {}, f"{path}{name}.", source)
    return _construct(cls, values, tree, path, source)


def _as_it_is(value):
    return value


def _component_options(field, fields, values, tree, path, source) -> type:
    if "component" in field.metadata:
        name_field, registry = field.metadata["component"]
        name = values.get(name_field, fields[name_field].default)
        place, node = name_field, tree.get(name_field)
    else:
        key, registry, default = field.metadata["component_key"]
        section = tree.get(field.name)
        node = section.get(key) if isinstance(section, dict) else None
        place, name = f"{field.name}.{key}", node.value if isinstance(node, Leaf) else default
    try:
        return registry.options(name)
    except InputError as error:
        raise InputError(f"{_origin(node, source)}: {path}{place}: {error}") from None


def _construct(cls: type, values: dict, tree: Tree, path: str, source: str):
    try:
        return cls(**values)
    except OptionError as error:
        origin = _origin(_find(tree, error.key), source)
        raise InputError(f"{origin}: {path}{error.key}: {error.message}") from None


def _find(tree: Tree, dotted: str) -> Leaf | Tree | None:
    node: Leaf | Tree = tree
    for part in dotted.split("."):
        if not isinstance(node, dict) or part not in node:
            return tree or None
        node = node[part]
    return node


def _origin(node, source: str) -> str:
    """Where a node was written: its own line, or the first line below it."""
    while isinstance(node, dict) and node:
        node = next(iter(node.values()))
    return node.origin if isinstance(node, Leaf) else (source or "config")


def _convert(node, hint, path: str, source: str):
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(node, Leaf) and node.value is None:  # `loss_args:` with nothing after it
            node = {}
        if not isinstance(node, dict):
            raise InputError(f"{_origin(node, source)}: {path}: expected a section with keys, got {node.value!r}")
        return build(hint, node, f"{path}.", source)
    try:
        return _fit(_node_to_builtin(node), hint, node.text if isinstance(node, Leaf) else None)
    except _Mismatch as mismatch:
        raise InputError(f"{_origin(node, source)}: {path}: {mismatch}") from None


def _node_to_builtin(node):
    return {k: _node_to_builtin(v) for k, v in node.items()} if isinstance(node, dict) else node.value


def _fit(value, hint, text: str | None = None):
    """The value as the type wants it, or _Mismatch; `text` is how it was written, which is what a text option means."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is object or hint is typing.Any:
        return tuple(value) if isinstance(value, list) else value
    if origin in (types.UnionType, typing.Union):
        return _fit_union(value, args, text)
    if origin is typing.Literal:
        if value not in args or isinstance(value, bool) != any(isinstance(a, bool) for a in args if a == value):
            raise _Mismatch(f"must be one of {', '.join(map(str, args))}{_nearest(value, args)}, got {value!r}")
        return value
    if origin is tuple:
        if isinstance(value, str):
            value = as_list(value)
        if not isinstance(value, (list, tuple)):
            kind = f" of {len(args)}" if args[-1:] != (Ellipsis,) else "" if value is None else f" like [{value}]"
            raise _Mismatch(f"must be a list{kind}, got {value!r}")
        if args[-1:] == (Ellipsis,):
            return tuple(_fit(item, args[0]) for item in value)
        if len(value) != len(args):
            raise _Mismatch(f"must be a list of {len(args)}, got {value!r}")
        return tuple(_fit(item, arg) for item, arg in zip(value, args))
    if origin is dict:
        if not isinstance(value, dict):
            raise _Mismatch(f"must be a mapping like {{key: value}}, got {value!r}")
        return {str(k): _fit(v, args[1]) for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, dict):  # a section inside a list
        try:
            return build(hint, {k: Leaf(v, "") if not isinstance(v, dict) else
                                {a: Leaf(b, "") for a, b in v.items()} for k, v in value.items()})
        except InputError as error:
            raise _Mismatch(str(error).removeprefix("config: ").removeprefix(": ")) from None
    if hint is str and text is not None and (text == "" or value is not None and not isinstance(value, (list, dict))):
        return _shown(text)
    return _fit_simple(value, hint)


def _fit_union(value, args, text: str | None):
    if value is None and type(None) in args:
        return None
    mismatches = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return _fit(value, arg, text)
        except _Mismatch as mismatch:
            mismatches.append(str(mismatch))
    raise _Mismatch(" or ".join(mismatches))


def _fit_simple(value, hint):
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is int and isinstance(value, bool):
        raise _Mismatch(f"must be a whole number, got {value}")
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if hint is str and isinstance(value, str):
        return _shown(value)
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise _Mismatch(f"must be {TYPE_NAMES.get(hint, hint)}, got {value!r}")


def _shown(text: str) -> str:
    if visible(text) != text:
        raise _Mismatch(f"holds control characters, which no name or path may: '{visible(text)}'")
    return text


def _finite(value) -> float:
    try:
        if math.isfinite(number := float(value)):
            return number
    except OverflowError:
        pass
    raise _Mismatch(f"must be a number, got {str(value)[:20]}")


def _nearest(value, args) -> str:
    text = did_you_mean(str(value), map(str, args))
    return text.split("?")[0] + "?" if "?" in text else ""


def to_builtin(value):
    """A dataclass as nested dicts and lists that YAML can hold and `build` reads back."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_builtin(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_builtin(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_builtin(item) for item in value]
    return value
