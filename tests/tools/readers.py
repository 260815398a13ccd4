"""What stage 1 runs for a corpus, in this process."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools" / "prepare"


def reader(name: str) -> Callable[[list[str]], int]:
    """The main of a corpus: its own reader, or that of the rows of tools/layouts.yaml."""
    own = TOOLS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", own if own.exists() else TOOLS / "corpus.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main if own.exists() else partial(_row, module.main, name)


def _row(main: Callable, name: str, argv: list[str]) -> int:
    return main([name, *argv])
