"""What a config may hold, as a JSON schema: editors complete, explain and check with it."""

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from wedefense.config.explain import meaning
from wedefense.config.frontend import FRONTENDS
from wedefense.config.registry import Registry
from wedefense.config.schema import Config
from wedefense.config.train import OPTIMIZER_ARGS
from wedefense.config.typed import to_builtin

DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors of YAML know
_SIMPLE: dict[Any, dict] = {
    bool: {"type": "boolean"}, int: {"type": "integer"}, float: {"type": "number"},
    str: {"type": ["string", "number", "boolean"]}, types.NoneType: {"type": "null"}}


def json_schema() -> dict[str, Any]:
    """Of a whole config, `base` included; `package.module:Class` and installed plug-ins may stand for any component."""
    definitions: dict[str, Any] = {}
    whole = _of_class(Config, definitions)
    base = {"type": ["string", "array"], "items": {"type": "string"}, "description": "files that this one builds on"}
    return {"$schema": DIALECT, "title": "WeDefense config", **whole,
            "properties": {"base": base, **whole["properties"]}, "definitions": definitions}


def schema_text() -> str:
    return json.dumps(json_schema(), indent=1)


def _of_class(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """An object of the keys of a class of options, and under which names of components which sections hold."""
    hints = typing.get_type_hints(cls)
    properties: dict[str, Any] = {}
    conditions: list[dict] = []
    for field in dataclasses.fields(cls):
        kinds = field.metadata.keys() & {"component", "component_key"}
        found = {"type": ["object", "null"]} if kinds else _of_hint(hints[field.name], definitions)
        properties[field.name] = _described(field, cls, found)
    for field in dataclasses.fields(cls):
        if "component" in field.metadata and isinstance(field.metadata["component"][1], Registry):
            name, registry = field.metadata["component"]
            properties[name]["anyOf"] = _names(registry)
            conditions += [_condition({name: {"const": known}}, name, field.name, held)
                           for known, held in _sections(registry, definitions)]
        elif "component_key" in field.metadata:
            key, registry, _ = field.metadata["component_key"]
            named = {"properties": {key: {"anyOf": _names(registry)}}}
            properties[field.name] |= named
            conditions += [
                _condition({field.name: {"properties": {key: {"const": known}}, "required": [key]}}, field.name,
                           field.name, held) for known, held in _sections(registry, definitions)]
    if "frontend" in properties:
        properties["frontend"]["anyOf"] = _names(FRONTENDS)
    whole = {"type": "object", "properties": properties, "additionalProperties": False}
    return whole | ({"allOf": conditions} if conditions else {})


def _sections(registry: Registry, definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each component, and what its options may be; PyTorch's optimisers have keywords."""
    for name, row in registry.rows().items():
        keywords = {"propertyNames": {"enum": list(OPTIMIZER_ARGS.get(name, ()))}}
        typed = dataclasses.is_dataclass(row.options)
        yield name, _reference(row.options, definitions) if typed else keywords


def _condition(when: dict, needed: str, section: str, then: dict) -> dict:
    return {"if": {"properties": when, "required": [needed]}, "then": {"properties": {section: then}}}


def _names(registry: Registry) -> list[dict]:
    return [{"enum": [*registry.rows(), *registry.plugins()]}, {"type": "string", "pattern": r"^[\w.]+:\w+$"}]


def _described(field: dataclasses.Field, cls: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """With its meaning and, but for sections, its default."""
    described = dict(found)
    if "$ref" in found:  # beside which draft 7 sees nothing
        described = {"allOf": [dict(found)]}
    if said := meaning(cls, field.name):
        described["description"] = said
    default = None if field.default is dataclasses.MISSING else field.default
    if default is not None and not dataclasses.is_dataclass(default):
        described["default"] = to_builtin(default)
    return described


def _reference(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """A pointer to the definition of a class, which is made where it is missing."""
    name = cls.__qualname__
    if name not in definitions:
        definitions[name] = {}  # it may hold itself
        content = _of_class(cls, definitions)
        said = inspect.getdoc(cls) or ""
        definitions[name] = content | {"type": ["object", "null"]} | (
            {} if said.startswith(f"{name}(") else {"description": said})
    return {"$ref": f"#/definitions/{name}"}


def _of_hint(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _reference(hint, definitions)
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_of_hint(argument, definitions) for argument in arguments]}
    if origin is tuple:
        items = {} if arguments[-1] is not Ellipsis else {"items": _of_hint(arguments[0], definitions)}
        length = {} if items else {"minItems": len(arguments), "maxItems": len(arguments)}
        return {"anyOf": [{"type": "array", **items, **length}, {"type": "string", "pattern": r"^[\[(].*[\])]$"}]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of_hint(arguments[1], definitions)}
    return {}  # anything
