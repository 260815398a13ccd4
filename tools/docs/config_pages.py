"""The config reference: every key with its type, default and meaning, and the recipes that set it."""

import dataclasses
import html
import inspect
import posixpath
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from tools.docs.usage import Uses, by_recipe, uses
from wedefense.config.augment import STEPS
from wedefense.config.components import Component, components
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.config.explain import meaning, shown, type_text
from wedefense.config.frontend import FRONTENDS
from wedefense.config.heads import HEADS, LOSSES
from wedefense.config.models import BACKENDS
from wedefense.config.pruning import PruningOptions
from wedefense.config.registry import Registry
from wedefense.config.sampling import Level
from wedefense.config.schema import Config, RunOptions
from wedefense.config.train import OPTIMIZER_ARGS, SCHEDULERS, MarginOptions

ELSEWHERE = {"dataloader_args": "data.md", "dataset_args": "data.md", "model_args": "backends.md",
             "projection_args": "heads.md", "loss_args": "heads.md", "optimizer_args": "training.md",
             "scheduler_args": "training.md", "margin_update": "training.md", "mode_args": "training.md",
             "frontend_args": "frontends.md",
             **{f"{name}_args": "frontends.md" for name in FRONTENDS.names()}}
SHORT_LIST = 3  # configs of a recipe that are named


class Section(NamedTuple):
    """A part of a page: the keys of one class of options."""

    title: str
    prefix: str      # of its keys in YAML
    cls: type
    says: str = ""
    left_out: frozenset[str] = frozenset()


def pages() -> dict[str, str]:
    """Path in the site -> Markdown."""
    return {f"config/{name}.md": _page(title, intro, sections) for name, (title, intro, sections) in _pages().items()}


def _pages() -> dict[str, tuple[str, str, list[Section]]]:
    pruning = frozenset(field.name for field in dataclasses.fields(PruningOptions))
    sections = frozenset(name for name in ELSEWHERE if name.endswith("_args") and name.removesuffix("_args")
                         in (*FRONTENDS.names(), "frontend"))
    return {
        "run": ("The run", "Keys at the top level of a config.",
                [Section("Top level", "", RunOptions, left_out=pruning)]),
        "data": ("Data", "What is read, how it is drawn, cut and changed.",
                 [Section("dataloader_args", "dataloader_args.", DataLoaderOptions),
                  Section("dataset_args", "dataset_args.", DatasetOptions, left_out=sections),
                  Section("A level of sampling", "", Level, "An item of the list `dataset_args.sampling`.")]),
        "augmentation": ("Augmentation", "Steps of the list `dataset_args.augment`, such as "
                         "`{type: noise, prob: 0.5}`; `rawboost_args`, `noise_args`, `reverb_args` and "
                         "`codec_aug_args` of `dataset_args` take the same keys.", _of_table(STEPS, "type", "")),
        "frontends": ("Front-ends", "`dataset_args.frontend` names one; its options stand in a section of its own.",
                      [Section(f"{name}: {row.target.split(':')[1]}", f"dataset_args.{name}_args.", row.options,
                               _doc(row.options)) for name, row in FRONTENDS.rows().items()]),
        "backends": ("Back-ends", "`model` names one, `model_args` holds its options.",
                     _of_table(BACKENDS, "model", "model_args.")),
        "heads": ("Projections and losses", "`projection_args.project_type` names the projection, `loss` the loss, "
                  "`loss_args` holds its options.", _of_table(HEADS, "project_type", "projection_args.")
                  + _of_table(LOSSES, "loss", "loss_args.")),
        "training": ("Schedules and optimisers", "How the learning rate and the margin go; `mode` and its `mode_args` "
                     "add to training what a class of yours says ([adding a mode](../contributing.md#training-mode)).",
                     _of_table(SCHEDULERS, "scheduler", "scheduler_args.")
                     + [Section("margin_update", "margin_update.", MarginOptions, _doc(MarginOptions))]),
        "pruning": ("Pruning", "", [Section("Top level", "", PruningOptions, _doc(PruningOptions))]),
    }


def _of_table(table: Registry, key: str, prefix: str) -> list[Section]:
    """A section for each class of options, of all names that share it."""
    said = {row.name: row for row in components(table) if row.origin == "wedefense"}
    names: dict[type, list[str]] = {}
    for name, row in table.rows().items():
        names.setdefault(row.options, []).append(name)
    kind = f"{table.kind.capitalize()} " if table in (HEADS, LOSSES) else ""  # which share a page
    return [Section(f"{kind}{shared[0]}" + (" and others" if len(shared) > 1 else ""), prefix, cls,
                    "\n".join(f"- `{key}: {name}`{_dash(said[name])}" for name in shared))
            for cls, shared in names.items()]


def _dash(row: Component) -> str:
    return f": {row.says}" if row.says else ""


def _doc(cls: type) -> str:
    text = inspect.getdoc(cls) or ""
    return "" if text.startswith(f"{cls.__name__}(") else text


def _page(title: str, intro: str, sections: list[Section]) -> str:
    lines = [f"# {title}", "", intro, ""]
    anchors: set[str] = set()
    for section in sections:
        lines += [f"## {section.title}", "", section.says, ""]
        lines += _keys(section.prefix, _unchecked(section.cls), anchors, section.left_out)
    if title == "Schedules and optimisers":
        lines += ["## Optimisers", "", "`optimizer` names one of PyTorch's, `optimizer_args` its keyword arguments, or "
                  "[a class of yours](../contributing.md#optimizer); the learning rate is the schedule's.",
                  "", "| `optimizer` | `optimizer_args` |", "|---|---|",
                  *(f"| `{name}` | {', '.join(f'`{key}`' for key in keys)} |" for name, keys in OPTIMIZER_ARGS.items())]
    return "\n".join(lines) + "\n"


def _unchecked(cls: type) -> Any:
    """Options that hold the defaults, also where the checks ask for more."""
    options = object.__new__(cls)
    for field in dataclasses.fields(cls):
        value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        object.__setattr__(options, field.name, value)
    return options


def _keys(prefix: str, options: Any, anchors: set[str], left_out: frozenset[str] = frozenset()) -> Iterator[str]:
    """Entries of all keys, sections within it after them."""
    cls, inner = type(options), []
    hints = typing.get_type_hints(cls)
    if not dataclasses.fields(cls):
        yield "No options of its own.\n"
    for field in dataclasses.fields(cls):
        value = getattr(options, field.name)
        if field.name in left_out:
            continue
        if field.name in ELSEWHERE and (field.metadata or not prefix.endswith("_args.")):
            yield from _head(prefix, field.name, anchors)
            yield f"A section: [{field.name}]({ELSEWHERE[field.name]}).\n"
        elif dataclasses.is_dataclass(value):
            inner.append((field.name, value))
        else:
            default = "required" if value is dataclasses.MISSING else f"default `{shown(value) or repr(value)}`"
            yield from _head(prefix, field.name, anchors)
            yield f"{_escaped(type_text(hints[field.name]))}, {default}\n{{ .type }}\n"
            yield f"{_escaped(meaning(cls, field.name))}\n"
            yield from _set_by(_uses(f"{prefix}{field.name}", cls))
    for name, value in inner:
        yield f"### {prefix}{name}\n"
        yield f"{_escaped(meaning(cls, name).strip('. ') or _doc(type(value)))}\n"
        yield from _keys(f"{prefix}{name}.", value, anchors)


def _head(prefix: str, name: str, anchors: set[str]) -> Iterator[str]:
    """With the dotted key as its anchor, where it comes first on its page."""
    anchor = f"{prefix}{name}"
    yield f"#### `{name}`" + ("" if anchor in anchors else f' {{ id="{anchor}" }}') + "\n"
    anchors.add(anchor)


def _uses(key: str, cls: type) -> Uses:
    return uses().get((key, Config if cls in (RunOptions, PruningOptions) else cls), {})


def _set_by(found: Uses) -> Iterator[str]:
    if not found:
        return
    count = sum(map(len, found.values()))
    yield f"??? set-by \"set by {count} config{'s' * (count > 1)} of the recipes\"\n"
    for text, configs in sorted(found.items(), key=lambda item: -len(item[1])):
        places = []
        for recipe, names in by_recipe(configs).items():
            which = ", ".join(names) if len(names) <= SHORT_LIST else f"{len(names)} configs"
            places.append(f"[{recipe}]({posixpath.relpath(f'recipes/{recipe}.md', 'config')}) ({which})")
        yield f"    - `{text}`: {'; '.join(places)}"
    yield ""


def _escaped(text: str) -> str:
    """Plain text as Markdown: what looks like HTML or emphasis stays as it is written."""
    text = html.escape(text, quote=False)
    for sign in "*_[]":
        text = text.replace(sign, f"\\{sign}")
    return text
