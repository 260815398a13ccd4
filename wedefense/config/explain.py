"""What a config says, in words: the meaning of each key is the comment beside its field."""

import ast
import dataclasses
import inspect
import itertools
import os
import re
import textwrap
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from wedefense.config.adapters import AdapterOptions
from wedefense.config.data import DatasetOptions
from wedefense.config.frontend import FRONTENDS
from wedefense.config.loader import load_config, read_config_tree
from wedefense.config.pruning import PruningOptions
from wedefense.config.schema import Config
from wedefense.config.tree import Leaf, Tree
from wedefense.config.typed import TYPE_NAMES, build, to_builtin
from wedefense.utils.errors import InputError, did_you_mean

_WIDTH = 120


def in_use(options: Any) -> Iterator[tuple[dataclasses.Field, Any]]:
    """The fields and values of a section, without front-ends that are not chosen and options of what is off."""
    unused: set[str] = set()
    if isinstance(options, DatasetOptions):
        unused = {"frontend_args", *(f"{name}_args" for name in FRONTENDS.names())} - {options.frontend_section}
    elif isinstance(options, Config) and not options.use_pruning_loss:
        unused = {field.name for field in dataclasses.fields(PruningOptions)} - {"use_pruning_loss"}
    elif isinstance(options, AdapterOptions):
        unused = options.idle
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    unused |= {f"{name}_args" for name, value in values.items() if value is False}
    yield from ((field, values[field.name]) for field in dataclasses.fields(options) if field.name not in unused)


def commented(options: Any, indent: str = "") -> str:
    """YAML of what is in use, with its meaning as comments."""
    lines = []
    for field, value in in_use(options):
        said = meaning(type(options), field.name)
        if dataclasses.is_dataclass(value) and (inner := commented(value, f"{indent}  ")):
            lines += [f"{indent}{field.name}:{f'  # {said}' if said else ''}", inner]
            continue
        flow = isinstance(value, tuple) and not any(isinstance(item, (dict, tuple)) for item in value)
        text = f"{field.name}: {shown(value)}" if flow else yaml.safe_dump(
            {field.name: to_builtin(value)}, sort_keys=False, allow_unicode=True, width=_WIDTH - len(indent))
        first, *more = text.splitlines()
        line = f"{indent}{first}"
        if said and len(line) + len(said) + 4 <= _WIDTH:
            line += f"  # {said}"
        elif said:
            lines += textwrap.wrap(said, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        lines += [line, *(f"{indent}{each}" for each in more)]
    return "\n".join(lines)


def explain(path: str | os.PathLike, overrides: list[str], key: str) -> str:
    """The value of a dotted key, its meaning, type and default, and where it was set; of a section all in it."""
    tree = read_config_tree(path, overrides)
    parent, names, value = None, key.split("."), build(Config, tree, source=str(path))
    for depth, name in enumerate(names):
        known = [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else (
            list(value) if isinstance(value, dict) else [])
        if name not in known:
            if found := places(value, name, ".".join([*names[:depth], ""])):
                raise InputError(f"--explain {key}: did you mean {found}?")
            above = ".".join(names[:depth])
            raise InputError(f"--explain {key}: no '{name}'{f' in {above}' if above else ''}"
                             f"{did_you_mean(name, known)}")
        parent, value = value, value[name] if isinstance(value, dict) else getattr(value, name)
    if dataclasses.is_dataclass(value):
        said = inspect.getdoc(type(value)) or ""
        head = "" if said.startswith(f"{type(value).__name__}(") else "".join(f"# {x}\n" for x in said.splitlines())
        return f"{head}{key}:\n{commented(value, '  ')}" if dataclasses.fields(value) else f"{head}{key}: no options"
    rows = {"set by": origin(tree, names)}
    if dataclasses.is_dataclass(parent):
        field = {field.name: field for field in dataclasses.fields(parent)}[names[-1]]
        rows = {"meaning": meaning(type(parent), field.name) or "as its name says",
                "type": type_text(typing.get_type_hints(type(parent))[field.name]), "default": default_of(field)} | rows
    return "\n".join([f"{key}: {shown(value)}", *(f"  {name:<8} {text}" for name, text in rows.items())])


def places(options: Any, name: str, prefix: str = "", part: bool = False) -> str:
    """The dotted keys in use that are called so, in words; with `part` those that end in `_name`."""
    found = [key for key in _keys(options, prefix)
             if (last := key.rpartition(".")[2]) == name or part and last.endswith(f"_{name}")]
    return " or ".join(f"'{key}'" for key in found[:3])


def _keys(options: Any, prefix: str) -> Iterator[str]:
    for field, value in in_use(options):
        yield f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{field.name}.")
        elif isinstance(value, dict):
            yield from (f"{prefix}{field.name}.{name}" for name in value)


def difference(*paths: str | os.PathLike) -> list[tuple[str, str, str]]:
    """(key, value here, value there) of what is in use in two files and not the same; "-" where a key is not in use.

    Where the code of what only trains is not here, its options are compared as they are written.
    """
    try:
        a, b = (dict(_flat(load_config(path))) for path in paths)
    except InputError:
        a, b = (dict(_flat(load_config(path, scoring=True))) for path in paths)
    return [(key, a.get(key, "-"), b.get(key, "-")) for key in (a | b) if a.get(key) != b.get(key)]


def _flat(options: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for field, value in in_use(options):
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", shown(value)


def origin(tree: Tree, names: list[str]) -> str:
    """File and line, or the option of the command line, that a key came from."""
    node: Leaf | Tree | None = tree
    for name in names:
        node = node.get(name) if isinstance(node, dict) else None
    return node.origin if isinstance(node, Leaf) else "nobody: it is the default"


@cache
def meanings(cls: type) -> dict[str, str]:
    """Field -> the comment after it, with lines that go on below it, or that in lines of their own above it."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # a class made by a call
        return {}
    lines, found = source.splitlines(), {}
    for node in typing.cast(ast.ClassDef, ast.parse(source).body[0]).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first, end = node.lineno - 1, typing.cast(int, node.end_lineno)
        above = list(itertools.takewhile(re.compile(" {4}#").match, reversed(lines[:first])))
        after = lines[end - 1].encode()[typing.cast(int, node.end_col_offset):].decode()
        below = list(itertools.takewhile(re.compile(" {5,}#").match, lines[end:])) if "#" in after else []
        found[node.target.id] = " ".join(line.strip(" #") for line in (*reversed(above), after, *below)).strip()
    return found


def meaning(cls: type, name: str) -> str:
    """Of a field, as the class says that has it."""
    return next((said for base in cls.__mro__ if (said := meanings(base).get(name))), "")


def type_text(hint: Any) -> str:
    """In the words of refusals."""
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if hint in TYPE_NAMES:
        return TYPE_NAMES[hint]
    options = typing.get_args(hint)
    if type(None) in options:
        return " or ".join([*(type_text(each) for each in options if each is not type(None)), "null"])
    return re.sub(r"\btyping\.|\bobject\b", lambda found: "" if found[0] == "typing." else "anything", str(hint))


def default_of(field: dataclasses.Field) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return shown(field.default_factory())
    return "none" if field.default is dataclasses.MISSING else shown(field.default)


def shown(value: Any) -> str:
    text = yaml.safe_dump(to_builtin(value), default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()
