"""Systems beside the first of them on the same trials: from experiment folders or score files to one table."""

import itertools
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wedefense.experiment import lineage
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.settings import require_known
from wedefense.metrics.catalogue import BOOTSTRAPPED, METRICS
from wedefense.metrics.confidence import Difference, compare
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.keys import Trials, load_trials, read_meta
from wedefense.metrics.seeds import compare_seeds
from wedefense.metrics.table import text_table
from wedefense.scoring.seed_groups import Seed, remarks, require_seeds
from wedefense.utils.errors import InputError, did_you_mean, each_of
from wedefense.utils.tables import first_few

SIGNIFICANT = 0.05
_LONGEST_NAME = 20  # with which a line has 80 columns


@dataclass(frozen=True)
class Comparison:
    """The systems `found`, by name, less the `first`."""

    trials: Mapping[str, Trials]              # of every training, by its short name
    groups: Sequence[str] | None              # of each trial, where whole groups are drawn
    first: str
    found: Mapping[str, Sequence[Difference]]
    explanation: str                          # what the numbers are, and what they cannot show

    @property
    def over_seeds(self) -> bool:
        return len(self.trials) > len(self.found) + 1


def compare_systems(systems: Sequence[str], keys: str, groups: str | None = None,
                    costs: DetectionCosts = DetectionCosts(), resamples: int = 1000,
                    common: bool = False, over: Sequence[str] = ("seed",)) -> Comparison:
    """A system is an experiment folder or a score file, or several, joined by commas: those of its seeds.

    One of each are compared on resamples of the trials (or of whole `groups`, a table), several by their seeds, which
    may differ in the settings `over`.
    """
    named = [_seeds(system) for system in systems]
    files = each_of(itertools.chain(*named), lambda seed: score_file(seed, keys))
    trials = load_systems(files, keys, common)
    (_, one), *_ = trials.items()
    drawn = next(iter(read_meta(groups, one.names).values())) if groups else None
    if len(trials) == len(systems):
        (first, *others), differences = trials, compare([each.scores for each in trials.values()], one.is_bonafide,
                                                        drawn, costs, resamples)
        text = _explanation(len(others), first, one, resamples)
    else:
        seeds = {name: Seed.read(each.scores, _experiment_of(file), file.parent.name)
                 for (name, each), file in zip(trials.items(), files)}
        require_known(over, (key for seed in seeds.values() for key in seed.settings))
        left = iter(seeds.items())
        grouped = [dict(itertools.islice(left, len(each))) for each in named]
        for system, each in zip(systems, grouped):
            require_seeds(system, each, over)
        names = _called([list(each) for each in grouped])
        (first, *others), differences = names, compare_seeds(
            [[seed.scores for seed in each.values()] for each in grouped], one.is_bonafide, costs)
        text = _explanation_of_seeds(dict(zip(names, map(len, grouped))), one)
        text = " ".join([text, *remarks({name: list(each.values()) for name, each in zip(names, grouped)})])
    return Comparison(trials, drawn, first, dict(zip(others, differences)), textwrap.fill(text, 80))


def _seeds(system: str) -> list[str]:
    """As a shell gives them, which knows a `~` at the beginning alone."""
    if os.path.exists(system):
        return [system]
    seeds = [os.path.expanduser(seed.strip()) for seed in system.split(",") if seed.strip()]
    if not seeds:
        raise InputError(f"'{system}': names no system; give an experiment folder or a score file")
    return seeds


def _called(systems: Sequence[Sequence[str]]) -> list[str]:
    """What the names of a system's seeds begin with, where that tells systems apart.

    >>> _called([["mhfa-1", "mhfa-2"], ["sls/seed1", "sls/seed2"]]), _called([["a", "b"], ["c", "d"]])
    (['mhfa', 'sls/seed'], ['a, b', 'c, d'])
    """
    names = [os.path.commonprefix(seeds).rstrip("-_./= ") for seeds in systems]
    return names if all(names) and len(set(names)) == len(names) else [", ".join(seeds) for seeds in systems]


def score_file(system: str, keys: str) -> Path:
    """A score file itself; of an experiment that of the set whose data folder the keys lie in, if it is up to date."""
    if not os.path.exists(system):
        raise InputError(f"{system}: no such experiment folder or score file")
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


def load_systems(files: Sequence[Path], keys: str, common: bool) -> dict[str, Trials]:
    """By short name, the trials of each; with `common` those that all of them have."""
    trials = each_of(files, lambda file: load_trials(file, keys, common))
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
    paths = [(_experiment_of(file) or file.absolute()).parts for file in files]
    if twice := [str(file) for i, file in enumerate(files) if paths[i] in paths[:i]]:
        raise InputError(f"{twice[0]}: named twice; compare different systems")
    while len({parts[-1] for parts in paths}) == 1:
        paths = [parts[:-1] for parts in paths]
    length = next(n for n in range(1, 1000) if len({parts[-n:] for parts in paths}) == len(paths))
    return ["/".join(parts[-length:]) for parts in paths]


def comparison_table(found: Mapping[str, Sequence[Difference]], first: str) -> str:
    """Under each metric the first system and then the others less it, in 80 columns."""
    seeds = any(each.deviations for differences in found.values() for each in differences)
    names = {name: name for name in (first, *found)}
    if max(map(len, names)) > _LONGEST_NAME:
        names = {name: f"system {number}" for number, name in enumerate(names, 1)}
    legend = [f"{short} = {name}" for name, short in names.items() if short != name]
    rows: list[list[str]] = []
    for i, key in enumerate(BOOTSTRAPPED):
        metric = METRICS[key]
        some = next(iter(found.values()))[i]
        deviation = metric.number(some.deviations[0]) if some.deviations else ""
        rows += [[metric.heading, *[""] * 5], [f"  {names[first]}", metric.number(some.a), deviation, *[""] * 3]]
        rows += [[f"  {names[name]}", *_cells(differences[i])] for name, differences in found.items()]
        rows.append([])
    columns = ["mean", "deviation", "difference"] if seeds else ["", "difference", "95 % interval"]
    table = text_table(["", *columns, "p (Holm)", ""], rows[:-1])
    return "\n".join([*legend, *([""] if legend else []), table])


def _cells(found: Difference) -> list[str]:
    metric = METRICS[found.metric]
    value, *ends = (f"{metric.factor * x:+.{metric.decimals}f}" for x in (found.value, *found.interval))
    verdict = ""
    if found.p_holm < SIGNIFICANT:
        verdict = "better" if metric.better(found.b, found.a) else "worse"
    told = [metric.number(found.deviations[1]), value] if found.deviations else [value, f"[{', '.join(ends)}]"]
    return [metric.number(found.b), *told, p_text(found.p_holm), verdict]


def p_text(p: float) -> str:
    """
    >>> p_text(0.0421), p_text(0.0004)
    ('0.042', '<0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _explanation(many: int, first: str, trials: Trials, resamples: int) -> str:
    text = (f"Each system less '{first}' on the same {resamples} resamples of {len(trials.names)} trials "
            f"({len(trials.bonafide)} bona fide). ")
    if many > 1:
        text += f"Intervals are of one comparison each; p is corrected for {many} in each metric. "
    text += (f"better, worse: p < {SIGNIFICANT:g}, on other trials by these weights; other seeds are another question, "
             "which several of each system answer, joined by commas.")
    if (least := many * 2 / (resamples + 1)) >= SIGNIFICANT:
        text += f" No p can fall under {least:.2g} with so few resamples: give --resamples {100 * many} or more."
    return text


def _explanation_of_seeds(counts: Mapping[str, int], trials: Trials) -> str:
    first, *others = counts
    trainings = first_few([f"{count} of '{name}'" for name, count in counts.items()], 8)
    text = (f"Means and standard deviations (of n - 1) over trainings ({trainings}) on {len(trials.names)} trials "
            f"({len(trials.bonafide)} bona fide). Differences are less '{first}', p is by Welch's test")
    text += f" and corrected for {len(others)} in each metric. " if len(others) > 1 else ". "
    return text + (f"better, worse: p < {SIGNIFICANT:g}, by other seeds on these trials; other trials are another "
                   "question.")


def _experiment_of(file: Path) -> Path | None:
    """Whose scores of a set these are."""
    file = file.absolute()
    if len(file.parents) > 2 and ExperimentFolder(file.parents[2]).posteriors(file.parent.name).llr == file:
        return file.parents[2]
    return None
