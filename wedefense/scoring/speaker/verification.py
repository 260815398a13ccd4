"""Speaker verification on an experiment folder: from embeddings and trials to scores and results."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from wedefense.experiment import lineage
from wedefense.experiment.arks import read_scp
from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.columns import positions
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.keys import Trials
from wedefense.scoring.calibration import Calibration, CalibrationOptions, fit, sketch
from wedefense.scoring.results import ScoredSet
from wedefense.scoring.speaker import quality
from wedefense.scoring.speaker.score_norm import CohortStatistics, cohort_statistics, normalise, speaker_means
from wedefense.scoring.speaker.trials import SpeakerTrials, cosine, read_trials, select, unit, write_scores
from wedefense.utils.checks import at_least
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.tables import first_few, read_table

COSTS = DetectionCosts(p_spoof=0.99, c_miss=1.0, c_fa=1.0)  # of VoxCeleb: one trial in a hundred is a target
CLASSES = ("target", "nontarget")


@dataclass(frozen=True)
class SpeakerOptions:
    norm: Literal["none", "snorm", "asnorm"] = "none"
    top_n: int = 300            # cohort speakers that AS-norm takes for each utterance
    subtract_mean: bool = True  # of the cohort's embeddings, where there is a cohort

    def __post_init__(self):
        at_least(self, 2, "top_n")
        if self.norm not in ("none", "snorm", "asnorm"):
            raise OptionError("norm", f"must be none, snorm or asnorm, got '{self.norm}'")


@dataclass(frozen=True)
class Cohort:
    speakers: np.ndarray  # (speakers, dim) mean embedding of each
    mean: np.ndarray      # (dim,) of all its utterances


@dataclass(frozen=True)
class Utterances:
    """All that scoring and quality measures need of the utterances of the trials."""

    names: list[str]
    unit: np.ndarray  # (utterances, dim), mean subtracted, of length one
    cohort: CohortStatistics | None = None
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)

    def places(self, trials: SpeakerTrials) -> tuple[np.ndarray, np.ndarray]:
        at = positions(self.names, trials.names)
        return at[trials.enrol], at[trials.test]

    def score(self, trials: SpeakerTrials) -> np.ndarray:
        enrol, test = self.places(trials)
        scores = cosine(self.unit, enrol, test)
        return normalise(scores, self.cohort, enrol, test) if self.cohort else scores

    def qualities(self, trials: SpeakerTrials) -> tuple[np.ndarray, list[str]]:
        return quality.of_trials(self.measures, *self.places(trials))


def read_embeddings(exp_dir: str | os.PathLike, sets: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Utterances and their embeddings (utterances, dim) of some sets of an experiment."""
    for name in sets:
        lineage.require_embeddings(ExperimentFolder(exp_dir), name)
    parts = [read_scp(ExperimentFolder(exp_dir).embeddings(name).scp) for name in sets]
    keys = [key for names, _ in parts for key in names]
    if len(set(keys)) < len(keys):
        raise InputError(f"the sets {', '.join(sets)} have utterances of the same name; they cannot be used together")
    return keys, parts[0][1] if len(parts) == 1 else np.concatenate([vectors for _, vectors in parts])


def read_cohort(exp_dir: str | os.PathLike, name: str, utt2spk: str | os.PathLike) -> Cohort:
    keys, vectors = read_embeddings(exp_dir, [name])
    speakers = read_table(utt2spk)
    lost = [key for key in keys if key not in speakers]
    if lost:
        raise InputError(f"{utt2spk}: no speaker for {len(lost)} utterances of the cohort '{name}': {first_few(lost)}")
    means = speaker_means(vectors, [speakers[key] for key in keys])
    return Cohort(means, vectors.mean(axis=0, dtype=np.float64))


def prepare(names: list[str], keys: list[str], vectors: np.ndarray, options: SpeakerOptions = SpeakerOptions(),
            cohort: Cohort | None = None, durations: Mapping[str, str] | None = None,
            others: tuple[list[str], np.ndarray] | None = None) -> Utterances:
    """Embeddings of the named utterances made ready, with each quality measure that there is data for.

    `others` are second embeddings of the same utterances.
    """
    raw = select(keys, vectors, names, "the embedding sets given")
    shift = cohort.mean if cohort is not None and options.subtract_mean else np.zeros(raw.shape[1])
    ready = unit((raw - shift).astype(np.float32), names)
    measures = {}
    if quality.has_magnitude(raw):
        measures["magnitude"] = quality.magnitude(raw - shift)
    if durations is not None:
        measures["log duration"] = quality.log_duration(_durations(durations, names))
    if others is not None:
        measures["consistency"] = quality.consistency(raw, select(*others, names, "the second embeddings"))
    statistics = None
    if options.norm != "none":
        if cohort is None:
            raise InputError(f"{options.norm} needs a cohort: name the training set and its utt2spk")
        statistics = cohort_statistics(ready, unit(cohort.speakers - shift).astype(np.float32),
                                       options.top_n if options.norm == "asnorm" else None)
        measures["cohort mean"] = statistics.mean
    return Utterances(names, ready, statistics, measures)


def _durations(table: Mapping[str, str], names: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(table[name]) for name in names])
    except KeyError as error:
        raise InputError(f"no duration for utterance {error}") from None
    except ValueError as error:
        raise InputError(f"a duration is not a number of seconds: {error}") from None


def fit_quality(utterances: Utterances, trials: SpeakerTrials) -> Calibration:
    """The quality measure function: scores and qualities to log-likelihood ratios."""
    if not utterances.measures:
        raise InputError("no quality measure is left: the embeddings all have the same length; give --durations, or a "
                         "cohort with --norm")
    qualities, names = utterances.qualities(trials)
    prior = CalibrationOptions(prior=1 - COSTS.p_spoof)
    model = fit(utterances.score(trials), trials.is_target, prior, qualities, names, CLASSES)
    return replace(model, sketch=sketch(trials.titles()))


def simpler(how: SpeakerOptions, has_cohort: bool, calibrated: bool) -> dict[str, SpeakerOptions]:
    """What scores are set beside: cosines less the cohort's mean, and those of the embeddings as they are."""
    beside = {}
    if how.norm != "none" or calibrated:
        beside["cosine"] = replace(how, norm="none")
    if has_cohort and how.subtract_mean:
        beside["plain"] = replace(how, norm="none", subtract_mean=False)
    return beside


def remark(how: SpeakerOptions, has_cohort: bool, qmf: str | None) -> str:
    """How the scores were made, in words."""
    text = f"quality measures fitted on {qmf}" if qmf else f"cosine scores, norm {how.norm}, not calibrated"
    if not has_cohort:
        return text
    return f"{text}; the mean of the cohort {'subtracted, but for _plain' if how.subtract_mean else 'kept'}"


def score_lists(paths: Sequence[str], fit_on: str | None, folder: ExperimentFolder, load,
                beside: Mapping[str, SpeakerOptions] | None = None) -> list[ScoredSet]:
    """Score each trials file into `<name of the file>.txt` of the experiment; `load(names, ...)` gives the Utterances.

    With `fit_on`, a trials file of other speakers, scores become LLRs by a quality measure function, which is kept
    beside them. `beside`: other ways to score, for `load`, whose sets have the names of these behind theirs.
    """
    lists = {Path(path).stem: read_trials(path) for path in paths}
    if len(lists) < len(paths):
        raise InputError(f"two trials files have the same name: {first_few(paths)}")
    development = read_trials(fit_on) if fit_on else None
    every = [*lists.values(), *([development] if development else [])]
    utterances = load(sorted(set().union(*(trials.names for trials in every))))
    model = fit_quality(utterances, development) if development else None
    folder.quality.unlink(missing_ok=True)
    sets = []
    for name, trials in lists.items():
        titles, scores = trials.titles(), utterances.score(trials)
        if model:
            model.refuse_known(titles)
            scores = model.apply(scores, utterances.qualities(trials)[0])
        write_scores(folder.scores / f"{name}.txt", trials, scores)
        sets.append(ScoredSet(name, Trials(titles, scores, trials.is_target), {}))
    for way, options in (beside or {}).items():
        simple = load(utterances.names, options)
        for name, trials in lists.items():
            scores = simple.score(trials)
            write_scores(folder.scores / f"{name}_{way}.txt", trials, scores)
            sets.append(ScoredSet(f"{name}_{way}", Trials(trials.titles(), scores, trials.is_target), {}))
    if model:
        model.save(folder.quality)
    return sets
