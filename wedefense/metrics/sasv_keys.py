"""Scores and keys of spoofing-aware speaker verification (ASVspoof 5 track 2)."""

import os
from dataclasses import dataclass

import numpy as np

from wedefense.metrics.columns import Columns, check_unique, choices, numbers, positions, read_columns
from wedefense.metrics.keys import LABELS, report_strays
from wedefense.utils.errors import InputError

TARGET, NONTARGET, SPOOF = 2, 1, 0
_ASV_LABELS = {"target": TARGET, "nontarget": NONTARGET, "spoof": SPOOF}
_SCORE_COLUMNS = ("spk", "filename", "cm-score", "asv-score", "sasv-score")
_KEY_COLUMNS = ("spk", "filename", "cm-label", "asv-label")


@dataclass(frozen=True)
class SasvTrials:
    """Trials of a claimed speaker and an utterance; a system that gives no score of a kind has None there."""

    names: list[str]         # the utterance of each trial
    kinds: np.ndarray        # (trials,) TARGET, NONTARGET or SPOOF
    cm: np.ndarray | None
    asv: np.ndarray | None
    sasv: np.ndarray | None


def _read(path: str | os.PathLike, titles: tuple[str, ...]) -> tuple[Columns, list[list[str]], list[str]]:
    """(columns, their cells in the order of the titles, trial names `speaker utterance`)."""
    columns = read_columns(path, len(titles), "\t".join(titles))
    if columns.header is None:
        cells = columns.cells
    else:
        absent = [title for title in titles if title not in columns.header]
        if absent:
            raise InputError(f"{path}:1: the header lacks {', '.join(absent)} (it has: {', '.join(columns.header)})")
        cells = [columns.cells[columns.header.index(title)] for title in titles]
    trials = list(map(" ".join, zip(cells[0], cells[1])))
    check_unique(columns, trials, "trial")
    return columns, cells, trials


def _scores(columns: Columns, cells: list[str], what: str) -> np.ndarray | None:
    """The scores of one kind, None where the file has '-' throughout."""
    absent = cells.count("-")
    if absent == len(cells):
        return None
    if absent:
        raise InputError(f"{columns.where(cells.index('-'))}: {what} is '-' in {absent} of {len(cells)} trials; "
                         "give it for all of them or for none")
    return numbers(columns, cells, what)


def load_sasv_trials(scores: str | os.PathLike, keys: str | os.PathLike, common: bool = False) -> SasvTrials:
    """Join `spk filename cm-score asv-score sasv-score` with `spk filename cm-label asv-label`, headers optional."""
    score_columns, score_cells, score_names = _read(scores, _SCORE_COLUMNS)
    key_columns, key_cells, names = _read(keys, _KEY_COLUMNS)
    is_bonafide = choices(key_columns, key_cells[2], LABELS, "cm-label").astype(bool)
    kinds = choices(key_columns, key_cells[3], _ASV_LABELS, "asv-label")
    clash = np.flatnonzero(is_bonafide == (kinds == SPOOF))
    if clash.size:
        row = int(clash[0])
        raise InputError(f"{key_columns.where(row)}: cm-label '{key_cells[2][row]}' and asv-label "
                         f"'{key_cells[3][row]}' contradict each other ({clash.size} such lines)")
    at = positions(score_names, names)
    report_strays(scores, score_names, keys, names, at, common, "trial")
    kept = np.flatnonzero(at >= 0)
    kinds, rows = kinds[kept], at[kept]
    for label, kind in _ASV_LABELS.items():
        if not (kinds == kind).any():
            raise InputError(f"{keys}: no trial to evaluate is labelled '{label}'; a-DCF, t-DCF and t-EER need "
                             f"{', '.join(_ASV_LABELS)}")
    given = [_scores(score_columns, cells, title) for cells, title in zip(score_cells[2:], _SCORE_COLUMNS[2:])]
    if all(values is None for values in given):
        raise InputError(f"{scores}: every score is '-'")
    return SasvTrials([key_cells[1][i] for i in kept.tolist()], kinds,
                      *(None if values is None else values[rows] for values in given))
