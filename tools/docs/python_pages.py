"""The Python reference: signatures, docstrings, and the fields of classes with the comments beside them."""

import ast
import dataclasses
import html
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from wedefense.config.explain import meaning

QUOTES = "'\""
# What a user of the package calls, page by page. Whatever else is importable may change.
NAMES = {
    "Detectors": ("What `import wedefense` and `wedefense.api` give.", (
        "wedefense.api:load_detector", "wedefense.api:LoadedDetector", "wedefense.api:Score",
        "wedefense.detect.score:Window", "wedefense.api:FrameScores", "wedefense.api:load_experiment",
        "wedefense.api:Experiment", "wedefense.api:demo")),
    "Features": ("Frozen features of pretrained encoders.", (
        "wedefense.frontend:load_frontend", "wedefense.frontend.features:LayerFeatures")),
    "Metrics": ("Pure functions of arrays; scores of bona fide recordings are the higher ones.", (
        "wedefense.metrics.detection:DetectionCosts", "wedefense.metrics.detection:detection_metrics",
        "wedefense.metrics.detection:DetectionResult", "wedefense.metrics.detection:eer",
        "wedefense.metrics.detection:rocch_eer", "wedefense.metrics.detection:min_dcf",
        "wedefense.metrics.detection:act_dcf", "wedefense.metrics.detection:cllr",
        "wedefense.metrics.detection:min_cllr", "wedefense.metrics.detection:det_curve")),
    "Calibration": ("Scores to log-likelihood ratios; see [calibration and fusion](../calibration.md).", (
        "wedefense.scoring.calibration:CalibrationOptions", "wedefense.scoring.calibration:fit",
        "wedefense.scoring.calibration:Calibration")),
    "Tables, labels and configs": ("What the stages read and write.", (
        "wedefense.utils.tables:read_table", "wedefense.utils.tables:write_table", "wedefense.data.spans:Span",
        "wedefense.data.spans:read_spans", "wedefense.data.spans:write_spans",
        "wedefense.config.loader:load_config", "wedefense.utils.errors:InputError")),
}


def pages() -> dict[str, str]:
    """Path in the site -> Markdown."""
    return {f"python/{title.split(',')[0].lower()}.md": _page(title, *content) for title, content in NAMES.items()}


def _page(title: str, intro: str, targets: tuple[str, ...]) -> str:
    lines = [f"# {title}", "", intro, ""]
    for target in targets:
        module, _, name = target.partition(":")
        thing = getattr(importlib.import_module(module), name)
        lines += [f"## {name}", "", f"`from {module} import {name}`", ""]
        lines += _class(thing) if inspect.isclass(thing) else _callable(thing, name)
    return "\n".join(lines) + "\n"


def _callable(function: Any, name: str) -> Iterator[str]:
    yield from ("```python", f"{name}{_signature(function)}", "```", "", docstring(function), "")


def _class(cls: type) -> Iterator[str]:
    yield from (docstring(cls), "")
    own = vars(cls)
    names = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else list(
        getattr(cls, "_fields", ()))
    if names:
        yield from ("| field | |", "|---|---|")
        for name in names:
            yield f"| `{name}` | {html.escape(meaning(cls, name), quote=False).replace('|', chr(92) + '|')} |"
        yield ""
    for base in (*cls.__mro__[1:-1], cls):
        own = {**own, **vars(base)} if base.__module__.startswith("wedefense.") else own
    for name, member in own.items():
        if name.startswith("_") or name in names or not inspect.getdoc(member):
            continue
        if isinstance(member, property):
            yield from (f"### {name}", "", docstring(member), "")
        elif inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)):
            yield from (f"### {name}", "")
            yield from _callable(getattr(cls, name), name)


def _signature(function: Any) -> str:
    """As the source has it, broken before each parameter where a line would be long."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    parameters = [text for text in _parameters(node.args) if text.split(":")[0] not in ("self", "cls")]
    returns = f" -> {ast.unparse(node.returns).strip(QUOTES)}" if node.returns else ""
    whole = f"({', '.join(parameters)}){returns}"
    return whole if len(whole) <= 80 else "(\n    " + ",\n    ".join(parameters) + f",\n){returns}"


def _parameters(found: ast.arguments) -> Iterator[str]:
    plain = [*found.posonlyargs, *found.args]
    defaults = [None] * (len(plain) - len(found.defaults)) + found.defaults
    yield from map(_parameter, plain, defaults)
    if found.vararg:
        yield f"*{_parameter(found.vararg, None)}"
    elif found.kwonlyargs:
        yield "*"
    yield from map(_parameter, found.kwonlyargs, found.kw_defaults)
    if found.kwarg:
        yield f"**{_parameter(found.kwarg, None)}"


def _parameter(found: ast.arg, default: ast.expr | None) -> str:
    hint = f": {ast.unparse(found.annotation)}" if found.annotation else ""
    value = "" if default is None else f" = {ast.unparse(default)}" if hint else f"={ast.unparse(default)}"
    return f"{found.arg}{hint}{value}"


def docstring(thing: Any) -> str:
    """As Markdown: examples and what is indented become blocks of code."""
    text = inspect.getdoc(thing) or ""
    if inspect.isclass(thing) and text.startswith(f"{thing.__name__}("):  # what a dataclass writes itself
        return ""
    blocks = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(">>>"):
            shown = re.sub(r" *# doctest:.*", "", paragraph)
            blocks.append(f"```pycon\n{shown}\n```")
        elif paragraph.startswith("    "):
            blocks.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
        else:
            blocks.append(html.escape(paragraph, quote=False).replace("*", "\\*"))
    return "\n\n".join(blocks)
