"""Experiments as one table: seeds of a setting in one row, and columns of the settings by which rows differ."""

import statistics
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wedefense.config.explain import shown
from wedefense.config.frontend import FRONTENDS
from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.experiment.records import read_results
from wedefense.experiment.settings import is_content, is_one, of_scoring, of_training, require_known
from wedefense.metrics.catalogue import METRICS, ORDERED
from wedefense.scoring.comparison import short_names
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few

_MOST_NAMES = 4
_OPTIONS = {  # of the part that a setting names, where they stand
    "dataset_args.frontend": tuple(f"dataset_args.{name}_args." for name in (*FRONTENDS.names(), "frontend")),
    "model": ("model_args.",), "loss": ("loss_args.",), "mode": ("mode_args.",), "optimizer": ("optimizer_args.",),
    "scheduler": ("scheduler_args.",), "projection_args.project_type": ("projection_args.",)}


@dataclass(frozen=True)
class Trained:
    """An experiment with results. `settings` are all that may have changed a number, by dotted key."""

    name: str
    settings: Mapping[str, Any]
    weights: str | None
    code: tuple[str, ...]
    dev_set: str | None
    sets: Mapping[str, Mapping]

    def alike(self, over: Sequence[str]) -> str:
        """The same for experiments that differ in nothing but the settings `over`."""
        return repr(sorted((key, value) for key, value in self.settings.items() if not is_one(key, over)))


def read(folders: Sequence[str], calibrated: bool = False) -> list[Trained]:
    """Those that have results; the others are told."""
    there = [folder for folder in folders if ExperimentFolder(folder).results.is_file()]
    lost = [f"{folder}: no results yet (stage 7)" for folder in folders if folder not in there]
    if not there:
        raise InputError(lost[0])
    for line in lost:
        get_logger().warning("%s, left out", line)
    names = short_names(list(map(Path, there))) if len(there) > 1 else [Path(there[0]).absolute().name]
    return [_trained(name, read_results(folder), calibrated) for name, folder in zip(names, there)]


def _trained(name: str, results: Mapping, calibrated: bool) -> Trained:
    made, sets = results.get("made_by", {}), results["sets"]
    settings = of_training(made) or {"record": name}  # where nothing tells, who knows whether two are alike
    for key, found in sets.items():
        how = made.get("embeddings", {}).get(key, {})
        settings[f"trials of {key}"] = [how.get("utterances"), found.get("n_bonafide"), found.get("n_spoof")]
        settings[f"costs of {key}"] = found.get("costs")
        settings |= of_scoring(made, key)
    if calibrated:
        sets = {key: found.get("calibrated", {}) for key, found in sets.items()}
    return Trained(name, settings, made.get("weights"), tuple(each["version"] for each in made.get("code", [])),
                   results.get("dev_set"), sets)


def side_by_side(trained: Sequence[Trained], over: Sequence[str], sets: Sequence[str],
                 metrics: Sequence[str]) -> tuple[list[str], list[list[str]], str]:
    """(header, rows, caption)"""
    require_known(over, (key for each in trained for key in each.settings))
    groups: dict[str, list[Trained]] = {}
    for each in trained:
        groups.setdefault(each.alike(over), []).append(each)
    rows = list(groups.values())
    for group in rows:
        _require_different(group)
    keys = _telling([group[0].settings for group in rows], over)
    columns = _columns(trained, sets, metrics)
    several = max(map(len, rows)) > 1
    header = ["", *_headings(keys), *["trainings"] * several, *(f"{name} {METRICS[m].heading}" for name, m in columns)]
    settings = [_cells([group[0].settings.get(key) for group in rows]) for key in keys]
    body = [[_named(group), *(column[number] for column in settings), *[str(len(group))] * several,
             *(_number(group, *column) for column in columns)] for number, group in enumerate(rows)]
    caption = f"Mean ± standard deviation over trainings that differ in {' and '.join(over)} alone." if several else ""
    return header, body, caption


def _telling(rows: Sequence[Mapping[str, Any]], over: Sequence[str]) -> list[str]:
    """The settings by which rows differ, without those that follow from the name of a part: the options of two
    front-ends are forty columns."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if not is_one(key, over) and len({repr(row.get(key)) for row in rows}) > 1
            and not _follows(key, rows)]


def _follows(key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a setting is the same in all rows that have it, and the others name another part in its place."""
    part = next((part for part, sections in _OPTIONS.items() if key.startswith(sections)), None)
    having, lacking = [row for row in rows if key in row], [row for row in rows if key not in row]
    return (part is not None and len({repr(row[key]) for row in having}) == 1
            and not {row.get(part) for row in having} & {row.get(part) for row in lacking})


def remarks(trained: Sequence[Trained], sets: Sequence[str]) -> list[str]:
    """What the table does not show and may matter."""
    found = []
    for name in sets:
        if doubted := [each.name for each in trained if each.sets.get(name, {}).get("doubts")]:
            found.append(f"doubts about {name} of {first_few(doubted, 8)}: {NAMES.summary} there tells them")
    if len(code := {each.code for each in trained}) > 1:
        found.append(f"trained by {len(code)} versions of the code: {NAMES.training} of each tells which")
    return found


def _require_different(group: Sequence[Trained]) -> None:
    seen: dict[str, str] = {}
    for each in group:
        if each.weights and (other := seen.setdefault(each.weights, each.name)) != each.name:
            raise InputError(f"{other} and {each.name}: the same weights; one training counts once, leave one out")


def chosen_sets(trained: Sequence[Trained], sets: Sequence[str]) -> Sequence[str]:
    """`sets`, which must be there; without any all but those of dev."""
    there = list(dict.fromkeys(name for each in trained for name in each.sets))
    dev = {each.dev_set for each in trained}
    for name in sets:
        if name not in there:
            raise InputError(f"no results of '{name}'{did_you_mean(name, there)}")
    return sets or [name for name in there if name not in dev] or there


def _columns(trained: Sequence[Trained], sets: Sequence[str], metrics: Sequence[str]) -> list[tuple[str, str]]:
    """(set, metric) of each column that some experiment has."""
    for name in metrics:
        if name not in METRICS:
            raise InputError(f"--metrics {name}{did_you_mean(name, METRICS)}")
    found = []
    for name in sets:
        results = [each.sets[name] for each in trained if name in each.sets]
        if not any(results):
            raise InputError(f"no calibrated results of '{name}'; leave --calibrated out")
        found += [(name, key) for key in ORDERED if (key in metrics if metrics else METRICS[key].shown)
                  and any(key in result for result in results)]
    return found


def _headings(keys: Sequence[str]) -> list[str]:
    """The ends of dotted keys by which these can be told apart."""
    parts = [key.split(".") for key in keys]
    length = next(n for n in range(1, 99) if len({tuple(part[-n:]) for part in parts}) == len(parts))
    return [".".join(part[-length:]) for part in parts]


def _cells(values: Sequence[Any]) -> list[str]:
    """Settings as text; content and what else is long as letters, the same for the same."""
    texts = ["-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else shown(value)
             for value in values]
    if not any(len(text) >= 24 or is_content(value)
               for text, value in zip(texts, values)):
        return texts
    letters = dict(zip(dict.fromkeys(texts), [*string.ascii_lowercase, *map(str, range(len(texts)))]))
    return [letters[text] for text in texts]


def _named(group: Sequence[Trained]) -> str:
    names = [each.name for each in group]
    return first_few(names, _MOST_NAMES)


def _number(group: Sequence[Trained], name: str, metric: str) -> str:
    values = [each.sets[name][metric] for each in group if metric in each.sets.get(name, {})]
    if len(values) < len(group):
        return ""
    mean = METRICS[metric].number(statistics.fmean(values))
    return f"{mean} ± {METRICS[metric].number(statistics.stdev(values))}" if len(values) > 1 else mean
