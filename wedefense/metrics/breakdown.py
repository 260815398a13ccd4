"""The pooled result taken apart by a column of the trials: attack, codec, speaker, gender, vocoder..."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wedefense.metrics.columns import encode

Metrics = dict[str, float]


@dataclass(frozen=True)
class Breakdown:
    """Results per value; a value that has trials of one class only stands in `incomplete` with its count."""

    shared: bool                # bona fide trials have values of this column too
    values: dict[str, Metrics]  # in the order of their names
    incomplete: dict[str, int]
    macro: Metrics              # mean of each rate over the values
    worst: str | None           # the value with the highest first rate


def break_down(is_bonafide: np.ndarray, column: Sequence[str], rates: Sequence[str],
               measure: Callable[[np.ndarray, np.ndarray], Metrics]) -> Breakdown:
    """Metrics per value of a column; `measure` gets the rows of the bona fide and of the spoof trials.

    A column whose spoof values no bona fide trial has (an attack) sets all bona fide trials against the
    spoofs of each value; otherwise (a codec, a speaker) each value meets the bona fide trials of that value.
    """
    names, codes = encode(column)
    bonafide_rows, spoof_rows = np.flatnonzero(is_bonafide), np.flatnonzero(~is_bonafide)
    bonafide, spoof = (_by_code(rows, codes[rows], len(names)) for rows in (bonafide_rows, spoof_rows))
    shared = any(b.size and s.size for b, s in zip(bonafide, spoof))
    values, incomplete = {}, {}
    for name, own, spoofs in sorted(zip(names, bonafide, spoof), key=lambda part: _numbered(part[0])):
        if not shared and not spoofs.size:
            continue  # what bona fide trials have in an attack column, such as '-'
        against = own if shared else bonafide_rows
        if against.size and spoofs.size:
            values[name] = measure(against, spoofs)
        else:
            incomplete[name] = int(against.size + spoofs.size)
    macro = {rate: float(np.mean([result[rate] for result in values.values()])) for rate in rates} if values else {}
    worst = max(values, key=lambda name: [values[name][rate] for rate in rates], default=None)
    return Breakdown(shared, values, incomplete, macro, worst)


def _numbered(name: str) -> list[tuple[float, str]]:
    """So that names are in order of the numbers in them: A2 before A10, `2.5 to 3 s` before `10 to 12 s`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(part), "") if i % 2 else (-1.0, part) for i, part in enumerate(parts)]


def _by_code(rows: np.ndarray, codes: np.ndarray, count: int) -> list[np.ndarray]:
    return np.split(rows[np.argsort(codes, kind="stable")], np.cumsum(np.bincount(codes, minlength=count))[:-1])
