"""Whether what is named as the seeds of one system are trainings that differ in nothing else."""

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wedefense.config.explain import shown
from wedefense.experiment.folder import NAMES
from wedefense.experiment.provenance import provenance_of_sets
from wedefense.experiment.settings import is_content, is_one, of_scoring, of_training
from wedefense.utils.errors import InputError
from wedefense.utils.tables import first_few


@dataclass(frozen=True)
class Seed:
    """One of the trainings of a system, as far as records tell."""

    scores: np.ndarray             # (trials,)
    settings: Mapping[str, Any]    # all that may have changed a number, by dotted key; empty where nothing tells
    code: tuple[str, ...] = ()     # versions that trained it, one after the other

    @classmethod
    def read(cls, scores: np.ndarray, experiment: Path | None, name: str) -> "Seed":
        """Of a set's scores, and of the experiment that they come from."""
        made = provenance_of_sets(experiment, [name]) if experiment else {}
        settings = of_training(made)
        if settings:
            settings[f"utterances of {name}"] = made["embeddings"].get(name, {}).get("utterances")
            settings |= of_scoring(made, name)
        return cls(scores, settings, tuple(state["version"] for state in made.get("code", [])))


def require_seeds(system: str, seeds: Mapping[str, Seed], over: Sequence[str]) -> None:
    """An error unless there are several, each counted once, that differ in the settings `over` alone."""
    if len(seeds) < 2:
        raise InputError(f"{system}: one training of this system, and several of another; name two seeds or more of "
                         "each, joined by commas")
    for (one, mine), (other, others) in itertools.combinations(seeds.items(), 2):
        if np.array_equal(mine.scores, others.scores):
            raise InputError(f"{one} and {other}: the same scores; one training counts once, leave one out")
        if not (mine.settings and others.settings):
            continue
        found = _differing(mine.settings, others.settings)
        if not found:
            raise InputError(f"{one} and {other}: trained with the same seed, {mine.settings['seed']}, and the same "
                             "settings; how far other seeds would lie apart is not known of them, leave one out")
        if strange := {key: text for key, text in found.items() if not is_one(key, over)}:
            more = shlex.join([*over, *(key.split(".")[-1] for key in strange)])
            raise InputError(f"{one} and {other}: named as seeds of one system, and they differ in more than "
                             f"{' and '.join(over)}: {first_few(list(strange.values()), 6)}. Name them as systems of "
                             f"their own, or take the mean over that too: --over {more}")


def remarks(systems: Mapping[str, Sequence[Seed]]) -> list[str]:
    """Sentences on what the test takes for granted and records do not show."""
    found = []
    if unknown := [f"'{name}'" for name, seeds in systems.items() if not all(seed.settings for seed in seeds)]:
        found.append(f"That seeds of {first_few(unknown, 8)} differ in nothing else is taken for granted: scores "
                     "without a record of their training do not tell.")
    for name, seeds in systems.items():
        if (versions := len({seed.code for seed in seeds if seed.code})) > 1:
            found.append(f"The seeds of '{name}' were trained by {versions} versions of the code: {NAMES.training} of "
                         "each tells which.")
    return found


def _differing(mine: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, str]:
    """Key -> what it is in both."""
    return {key: key if is_content(mine.get(key)) or is_content(others.get(key)) else
            f"{key} {shown(mine.get(key))} and {shown(others.get(key))}"
            for key in {**mine, **others} if mine.get(key) != others.get(key)}
