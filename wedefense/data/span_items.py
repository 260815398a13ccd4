"""Spans on the line of their utterance: `KEY 1.974 spoof 0-0.851-bonafide 0.851-1.191-spoof ...`.

So LlamaPartialSpoof labels, and Half-truth (HAD) with a `/` between spans: `KEY 0-1.2-T/1.2-1.8-F/1.8-4-T 0`. What
stands beside them, a duration or the class of the whole, is passed over.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_lines

Interval = tuple[float, float, str]  # start and end in seconds, label

_ITEM = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)-([^/\s]+)")


def items_of(line: str) -> list[Interval]:
    """The spans that follow the key."""
    found = [_ITEM.fullmatch(item) for cell in line.split()[1:] for item in cell.split("/")]
    return [(float(item[1]), float(item[2]), item[3]) for item in found if item]


def read_items(path: Path) -> dict[str, list[Interval]]:
    spans: dict[str, list[Interval]] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        key, found = line.split()[0], items_of(line)
        if not found:
            raise InputError(f"{path}:{number}: expected KEY ... START-END-LABEL ..., got {line.strip()[:80]!r}")
        if key in spans:
            raise InputError(f"{path}:{number}: a second line of labels for '{key}'")
        spans[key] = found
    return spans


def items_text(spans: Mapping[str, Sequence[Interval]]) -> str:
    lines = []
    for key, found in spans.items():
        classes = {label for _, _, label in found}
        whole = classes.pop() if len(classes) == 1 else "spoof"
        items = " ".join(f"{start:.6f}-{end:.6f}-{label}" for start, end, label in found)
        lines.append(f"{key} {found[-1][1]:.6f} {whole} {items}\n")
    return "".join(lines)
