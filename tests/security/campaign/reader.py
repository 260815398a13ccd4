"""What a reader of the campaign is, and what may be asked of that which it takes."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wedefense.utils.errors import of_paths


@dataclass(frozen=True)
class Reader:
    """`read(folder)` reads `file` of a folder that is a copy of the good one; `holds(result)` of what was taken."""

    file: str
    read: Callable[[Path], object]
    holds: Callable[[object], bool] = lambda result: True
    text: bool = True
    also: tuple[type[Exception], ...] = ()
    share: float = 1.0  # of the budget: slow ones get less


def main_of(main: Callable, *arguments: str) -> Callable[[Path], object]:
    """A reader that calls a command; `{}` is the folder."""
    def read(folder: Path):
        with of_paths():  # as `wedefense.cli.run` does around every main
            return main([text.replace("{}", str(folder)) for text in arguments])

    return read


def finite(values) -> bool:
    return bool(np.isfinite(np.asarray(values, dtype=float)).all())


def scored(model) -> bool:
    found = model.score(0.1 * np.random.default_rng(1).normal(size=8000).astype(np.float32), 16000)
    return math.isfinite(found.llr) and math.isfinite(found.posterior) and 0 <= found.posterior <= 1


def numbers(tree) -> bool:
    """No NaN anywhere in results."""
    if isinstance(tree, dict):
        return all(map(numbers, tree.values()))
    if isinstance(tree, list):
        return all(map(numbers, tree))
    return not isinstance(tree, float) or not math.isnan(tree)


def read_results_file(path: Path):
    return json.loads(path.read_text(), parse_constant=lambda text: math.nan)
