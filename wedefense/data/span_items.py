"""Spans on the line of their utterance: `KEY 1.974 spoof 0-0.851-bonafide 0.851-1.191-spoof ...`.

So LlamaPartialSpoof labels, and Half-truth (HAD) with a `/` between spans: `KEY 0-1.2-T/1.2-1.8-F/1.8-4-T 0`. What
stands beside them, a duration or the class of the whole, is passed over. PartialEdit has the edits alone, and what the
whole lasts: `E1/p237/a.wav,1.038,1.46,3.24`.
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


def is_edits(line: str) -> bool:
    """Whether a line has a name, pairs of times and a duration between commas."""
    try:
        times = [float(cell) for cell in line.split(",")[1:]]
    except ValueError:
        return False
    return len(times) % 2 == 1 and len(times) > 2


def read_edits(path: Path) -> dict[str, list[Interval]]:
    """Edits are spoof, what is around them bona fide; the key is the name less its suffix."""
    spans: dict[str, list[Interval]] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        if not is_edits(line):
            raise InputError(f"{path}:{number}: expected NAME,START,END,...,DURATION, got {line.strip()[:80]!r}")
        name, *times = line.strip().split(",")
        key, bounds = name.rpartition(".")[0] or name, [0.0, *map(float, times)]
        if key in spans:
            raise InputError(f"{path}:{number}: a second line of labels for '{key}'")
        if sorted(bounds) != bounds:
            raise InputError(f"{path}:{number}: the times of '{key}' do not follow one another")
        spans[key] = [(start, end, ("bonafide", "spoof")[place % 2])
                      for place, (start, end) in enumerate(zip(bounds, bounds[1:])) if end > start]
    return spans


def items_text(spans: Mapping[str, Sequence[Interval]]) -> str:
    lines = []
    for key, found in spans.items():
        classes = {label for _, _, label in found}
        whole = classes.pop() if len(classes) == 1 else "spoof"
        items = " ".join(f"{start:.6f}-{end:.6f}-{label}" for start, end, label in found)
        lines.append(f"{key} {found[-1][1]:.6f} {whole} {items}\n")
    return "".join(lines)
