"""Praat's TextGrid: the intervals of one tier of a file, read from its long and its short form, written in the long."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from wedefense.utils.errors import InputError
from wedefense.utils.files import open_regular

TIER = "spans"  # its name where we write it, and the one that is read where there are several
Interval = tuple[float, float, str]  # start and end in seconds, label

# What stands free is a value: text in quotes (doubled inside), flags, numbers. All other words are for people to read.
_VALUE = re.compile(r'"(?:[^"]|"")*"|<\w+>|(?<!\S)[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?!\S)')


def read_intervals(path: Path) -> list[Interval]:
    """Those with a label; empty ones are what no label covers."""
    tiers = dict(_tiers(path, iter(_VALUE.findall(_text(path)))))
    name = TIER if TIER in tiers else next(iter(tiers), "")
    if not tiers or (len(tiers) > 1 and name != TIER):
        raise InputError(f"{path}: expected one tier of intervals, or one of the name '{TIER}'; found "
                         f"{', '.join(repr(tier) for tier in tiers) or 'none'}")
    return [interval for interval in tiers[name] if interval[2].strip()]


def textgrid(intervals: Sequence[Interval]) -> str:
    """A file's text with one tier, in which intervals without a label fill what these, in order, leave open."""
    filled: list[Interval] = []
    for start, end, label in intervals:
        reached = filled[-1][1] if filled else 0.0
        if start < reached:
            raise InputError(f"a TextGrid holds no spans that overlap: {start:g} to {end:g} s {label}, where one ends "
                             f"at {reached:g} s")
        filled += [(reached, start, "")] * (start > reached) + [(start, end, label)]
    seconds = f"{filled[-1][1]:.6f}"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds}",
             "tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"',
             f'        name = "{TIER}"', "        xmin = 0", f"        xmax = {seconds}",
             f"        intervals: size = {len(filled)}"]
    for number, (start, end, label) in enumerate(filled, 1):
        quoted = label.replace('"', '""')
        lines += [f"        intervals [{number}]:", f"            xmin = {start:.6f}", f"            xmax = {end:.6f}",
                  f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _text(path: Path) -> str:
    with open_regular(path) as stream:
        content = stream.read()
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a TextGrid in text; save it in Praat as a text file") from None


def _tiers(path: Path, values: Iterator[str]) -> Iterator[tuple[str, list[Interval]]]:
    """(name, intervals) of each tier of intervals; those of points are passed over."""
    try:
        if [_unquoted(next(values)), _unquoted(next(values))] != ["ooTextFile", "TextGrid"]:
            raise ValueError("it does not begin as one")
        _, _, exists = next(values), next(values), next(values)
        for _ in range(int(next(values)) if exists == "<exists>" else 0):
            kind, name, *_ = _unquoted(next(values)), _unquoted(next(values)), next(values), next(values)
            rows = range(int(next(values)))
            if kind == "IntervalTier":
                yield name, [(_time(next(values)), _time(next(values)), _unquoted(next(values))) for _ in rows]
            elif kind == "TextTier":
                _ = [(next(values), next(values)) for _ in rows]
            else:
                raise ValueError(f"a tier of the class '{kind}'")
    except (ValueError, StopIteration, RuntimeError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it ends early"
        raise InputError(f"{path}: not a TextGrid that can be read ({reason}); save it in Praat as a text file"
                         ) from None


def _time(value: str) -> float:
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{value} is no time")
    return seconds


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        raise ValueError(f"{value} where a text was expected")
    return value[1:-1].replace('""', '"')
