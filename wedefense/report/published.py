"""Published results as data, and an experiment beside them.

>>> load("partialspoof_frozen").row("WavLM-base+").values[1]
('dev', 'eer', '1.56')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import yaml

from wedefense.metrics.catalogue import LOCALIZATION, METRICS
from wedefense.utils.errors import InputError, did_you_mean

NONE = "-"  # what a table prints where it has no value


@dataclass(frozen=True)
class PublishedRow:
    name: str
    about: dict[str, str]                       # parameters, FLOPs ... as printed
    values: tuple[tuple[str, str, str], ...]    # (set, metric, number as printed)


@dataclass(frozen=True)
class PublishedTable:
    name: str
    title: str
    source: str
    columns: tuple[str, ...]  # `set metric` of a result, one word for what describes the row
    lines: dict[str, str]     # row name -> its numbers

    @cached_property
    def rows(self) -> tuple[PublishedRow, ...]:
        return tuple(map(self.row, self.lines))

    def row(self, name: str) -> PublishedRow:
        known = {row.lower(): row for row in self.lines}
        if name.lower() not in known:
            raise InputError(f"table '{self.name}' has no row '{name}'{did_you_mean(name, self.lines)}")
        name = known[name.lower()]
        cells = dict(zip(self.columns, self.lines[name].split(), strict=True))
        results = [(*column.partition(" "), cell) for column, cell in cells.items() if " " in column]
        return PublishedRow(name, {column: cell for column, cell in cells.items() if " " not in column},
                            tuple((set_name, metric, cell) for set_name, _, metric, cell in results))


@dataclass(frozen=True)
class Comparison:
    """One number of a row and of an experiment, in the unit of the table (per cent where the table has it)."""

    set: str
    metric: str
    published: str
    ours: float
    interval: tuple[float, float] | None  # of the difference, if the experiment has one of its own value
    level: float | None                   # of the interval

    @property
    def heading(self) -> str:
        return METRICS[self.metric].heading

    @property
    def difference(self) -> float | None:
        """None where nothing is published."""
        return None if self.published == NONE else self.ours - float(self.published)

    @property
    def decimals(self) -> int:
        """One more than the table prints."""
        return len(self.published.partition(".")[2]) + 1 if self.published != NONE else 3


def names() -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load(name: str) -> PublishedTable:
    if name not in names():
        raise InputError(f"there is no published table '{name}'{did_you_mean(name, names())}")
    # The base loader leaves every number as it is printed, with its decimals.
    content = yaml.load((_folder() / f"{name}.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return PublishedTable(name, content["title"], content["source"], tuple(content["columns"]), content["rows"])


def _folder():
    return files("wedefense.report") / "published_tables"


def compare(row: PublishedRow, results: Mapping, sets: Mapping[str, str] | None = None,
            calibrated: bool = False) -> list[Comparison]:
    """An experiment (what stage 7 found) beside a row; `sets` maps the table's sets to ours.

    What the row or the experiment lacks is left out; nothing in common is an error.
    """
    published = {name for name, _, _ in row.values}
    for theirs, ours in (sets or {}).items():
        if theirs not in published:
            raise InputError(f"row '{row.name}' has no set '{theirs}'{did_you_mean(theirs, published)}")
        if ours not in results["sets"]:
            raise InputError(f"the experiment has no set '{ours}'{did_you_mean(ours, results['sets'])}")
    found, silent = [], all(value == NONE for _, _, value in row.values)  # a twin that the paper has no numbers of
    for name, metric, value in row.values:
        result = results["sets"].get((sets or {}).get(name, name), {})
        chosen = result.get("calibrated", result) if calibrated else result
        if METRICS[metric].of == LOCALIZATION:
            chosen = _of_segments(result)
        if metric not in chosen or value == NONE and not silent:
            continue
        factor = METRICS[metric].factor
        confidence = chosen.get("confidence", {})
        interval = confidence.get(metric)
        if value == NONE:
            interval = None
        elif interval is not None:
            interval = tuple(factor * bound - float(value) for bound in interval)
        found.append(Comparison(name, metric, value, factor * chosen[metric], interval, confidence.get("level")))
    if not found:
        raise InputError(f"nothing to compare: row '{row.name}' is about {', '.join(sorted(published))}, the "
                         f"experiment has {', '.join(sorted(results['sets']))}; map them with --rename SET=OURS")
    return found


def _of_segments(result: Mapping) -> dict:
    """EERs of a set by the length of segments: of the head for this length, else of the finest head."""
    found: dict = {}
    intervals: dict = {}
    heads = result.get("localization", {})
    for ms in sorted(map(int, heads), reverse=True):
        where = heads[str(ms)]
        for seconds, row in where["rows"].items():
            if not seconds.replace(".", "").isdigit():
                continue
            length = round(1000 * float(seconds))
            name = f"segment_eer_{length}"
            if str(length) in heads and length != ms:
                continue
            found[name] = row["eer"]
            intervals |= {"level": where["confidence"]["level"]} if "confidence" in where else {}
            if "eer" in where.get("confidence", {}).get(seconds, {}):
                intervals[name] = where["confidence"][seconds]["eer"]
    return found | {"confidence": intervals}
