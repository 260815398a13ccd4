"""Systems beside the first of them on the same trials: from experiment folders or score files to one table."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from wedefense.experiment import lineage
from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.catalogue import BOOTSTRAPPED, METRICS
from wedefense.metrics.confidence import Difference
from wedefense.metrics.keys import Trials, load_trials
from wedefense.metrics.table import text_table
from wedefense.utils.errors import InputError, did_you_mean

SIGNIFICANT = 0.05
_LONGEST_NAME = 20  # with which a line has 80 columns


def score_file(system: str, keys: str) -> Path:
    """A score file itself; of an experiment that of the set whose data folder the keys lie in, if it is up to date."""
    if not os.path.isdir(system):
        return Path(system)
    folder, name = ExperimentFolder(system), Path(keys).absolute().parent.name
    there = folder.scored_sets()
    if not there:
        raise InputError(f"{system}: no scores in it; run stages 4 to 6, or name a score file")
    if name not in there:
        raise InputError(f"{system}: no scores of '{name}', the set of {keys}{did_you_mean(name, there)}; or name a "
                         "score file")
    lineage.require_llrs(folder, name)
    return folder.posteriors(name).llr


def load_systems(systems: Sequence[str], keys: str, common: bool) -> dict[str, Trials]:
    """By short name, the trials of each; with `common` those that all of them have."""
    files = [score_file(system, keys) for system in systems]
    trials = [load_trials(file, keys, common) for file in files]
    shared = trials[0]
    for each in trials[1:]:
        shared = shared.restricted_to(each)
    return dict(zip(short_names(files), (each.restricted_to(shared) for each in trials)))


def short_names(files: Sequence[Path]) -> list[str]:
    """What tells paths apart: the experiments of theirs, and no folder and no ending that all have.

    >>> short_names([Path("exp/mhfa/posteriors/eval/llr.txt"), Path("other/scores.txt")])
    ['mhfa', 'scores.txt']
    >>> short_names([Path("a/1.txt"), Path("a/2.txt"), Path("b/2.txt")])
    ['a/1.txt', 'a/2.txt', 'b/2.txt']
    """
    paths = [(file.parents[2] if _of_an_experiment(file) else file).parts
             for file in (file.absolute() for file in files)]
    if twice := [str(file) for i, file in enumerate(files) if paths[i] in paths[:i]]:
        raise InputError(f"{twice[0]}: named twice; compare different systems")
    while len({parts[-1] for parts in paths}) == 1:
        paths = [parts[:-1] for parts in paths]
    length = next(n for n in range(1, 1000) if len({parts[-n:] for parts in paths}) == len(paths))
    return ["/".join(parts[-length:]) for parts in paths]


def comparison_table(found: Mapping[str, Sequence[Difference]], first: str) -> str:
    """Under each metric the first system and then the others less it, in 80 columns."""
    names = {name: name for name in (first, *found)}
    if max(map(len, names)) > _LONGEST_NAME:
        names = {name: f"system {number}" for number, name in enumerate(names, 1)}
    legend = [f"{short} = {name}" for name, short in names.items() if short != name]
    rows: list[list[str]] = []
    for i, key in enumerate(BOOTSTRAPPED):
        metric = METRICS[key]
        mine = next(iter(found.values()))[i].a
        rows += [[metric.heading, *[""] * 5], [f"  {names[first]}", metric.number(mine), *[""] * 4]]
        rows += [[f"  {names[name]}", *_cells(differences[i])] for name, differences in found.items()]
        rows.append([])
    table = text_table(["", "", "difference", "95 % interval", "p (Holm)", ""], rows[:-1])
    return "\n".join([*legend, *([""] if legend else []), table])


def _cells(found: Difference) -> list[str]:
    metric = METRICS[found.metric]
    value, *ends = (f"{metric.factor * x:+.{metric.decimals}f}" for x in (found.value, *found.interval))
    verdict = ""
    if found.p_holm < SIGNIFICANT:
        verdict = "better" if metric.better(found.b, found.a) else "worse"
    return [metric.number(found.b), value, f"[{', '.join(ends)}]", f"{found.p_holm:.3f}", verdict]


def explanation(found: Mapping[str, Sequence[Difference]], first: str, trials: Trials, resamples: int) -> str:
    """What the table's numbers are, and what they cannot show, in lines of 80 columns."""
    many = len(found)
    text = (f"Each system less '{first}' on the same {resamples} resamples of {len(trials.names)} trials "
            f"({len(trials.bonafide)} bona fide). ")
    if many > 1:
        text += f"Intervals are of one comparison each; p is corrected for {many} in each metric. "
    text += f"better, worse: p < {SIGNIFICANT:g}, on other trials by these weights; other seeds are another question."
    if (least := many * 2 / (resamples + 1)) >= SIGNIFICANT:
        text += f" No p can fall under {least:.2g} with so few resamples: give --resamples {100 * many} or more."
    return textwrap.fill(text, 80)


def _of_an_experiment(file: Path) -> bool:
    return len(file.parents) > 2 and ExperimentFolder(file.parents[2]).posteriors(file.parent.name).llr == file
