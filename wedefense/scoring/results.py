"""Stage 7 on an experiment folder: every scored set evaluated, pooled and taken apart by its tables."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wedefense import __version__
from wedefense.metrics.evaluation import BootstrapOptions, evaluate_detection
from wedefense.metrics.keys import Trials, load_trials, read_keys, read_meta
from wedefense.metrics.table import COLUMNS, number, text_table
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.tables import read_table, some

RATES = ("min_dcf", "eer", "cllr", "act_dcf")  # in the order of the published tables
_NOT_A_CONDITION = {"utt2lab", "utt2dur", "utt2num_frames"}
_MOST_VALUES = 1000


@dataclass(frozen=True)
class ScoredSet:
    name: str
    trials: Trials
    meta: dict[str, list[str]]  # attack, speaker, codec ... of each trial


def load_set(exp_dir: str | os.PathLike, data: str | os.PathLike, name: str) -> ScoredSet:
    """The scores of a set, its labels, and what else its data folder says about each utterance."""
    scores, folder = Path(exp_dir) / "posteriors" / name / "llr.txt", Path(data) / name
    if not scores.is_file():
        raise InputError(f"{scores}: no such file; score the set '{name}' first (stages 4 to 6)")
    skipped = _left_out(exp_dir, name)
    trials = load_trials(scores, folder / "utt2lab", common=bool(skipped))
    if skipped:
        lost = set(read_keys(folder / "utt2lab")[0]) - set(trials.names) - skipped
        if lost:
            raise InputError(f"{scores}: {len(lost)} utterances of {folder / 'utt2lab'} have no score and are not among "
                             f"those that stage 4 left out: {some(sorted(lost))}")
    meta = {}
    for path in sorted(folder.glob("utt2*")):
        if path.name not in _NOT_A_CONDITION and path.is_file():
            meta |= read_meta(path, trials.names)
    for title in [title for title, column in meta.items() if len(set(column)) > _MOST_VALUES]:
        get_logger().info("%s: utt2%s has over %d values, no results by it", folder, title, _MOST_VALUES)
        del meta[title]
    return ScoredSet(name, trials, meta)


def _left_out(exp_dir: str | os.PathLike, name: str) -> set[str]:
    path = Path(exp_dir) / "embeddings" / name / "left_out.txt"
    return set(read_table(path)) if path.is_file() else set()


def evaluate_sets(sets: Sequence[ScoredSet], bootstrap: BootstrapOptions | None = None) -> dict:
    """What results.json holds; a bootstrap by something else than trials draws the values of that column whole."""
    results = {}
    for scored in sets:
        groups = None
        if bootstrap and bootstrap.by != BootstrapOptions.by:
            groups = scored.meta.get(bootstrap.by)
            if groups is None:
                raise InputError(f"set '{scored.name}' has no utt2{bootstrap.by} to draw bootstrap groups by "
                                 f"(it has: {', '.join('utt2' + title for title in scored.meta) or 'no such table'})")
        results[scored.name] = evaluate_detection(scored.trials, scored.meta, bootstrap=bootstrap, groups=groups)
    return {"wedefense": __version__, "sets": results}


def summary(results: dict, dev_set: str) -> str:
    """The sets in one aligned table, then the others than dev by attack."""
    rows = []
    for name, result in results["sets"].items():
        rows.append([name, *_counts(result), *_rates(result)])
        if "confidence" in result:
            rows.append([f"  {100 * result['confidence']['level']:g} % interval", "", "", *_intervals(result["confidence"])])
    for name, result in results["sets"].items():
        parts = result.get("breakdown", {}).get("attack")
        if parts and name != dev_set:
            rows += [[], [f"{name} by attack", *[""] * (2 + len(RATES))]]
            rows += [[f"  {value}", *_counts(found), *_rates(found)] for value, found in parts["values"].items()]
            if len(parts["values"]) > 1:
                rows.append(["  mean", "", "", *_rates(parts["macro"])])
                rows.append([f"  worst: {parts['worst']}", "", "", *_rates(parts["values"][parts["worst"]])])
    headings = [COLUMNS[key][0] for key in RATES]
    return text_table(["set", "bona fide", "spoof", *headings], rows)


def _counts(result: dict) -> list[str]:
    return [str(result["n_bonafide"]), str(result["n_spoof"])]


def _rates(result: dict) -> list[str]:
    return [number(key, result[key]) for key in RATES]


def _intervals(confidence: dict) -> list[str]:
    return [f"{number(key, confidence[key][0])}-{number(key, confidence[key][1])}" for key in RATES]
