"""Scores into calibrated log-likelihood ratios, and several systems into one.

A model is affine: llr = sum of scale x score over the systems + sum of weight x quality + bias, fitted by
logistic regression in which each class weighs what a prior says, whatever the class counts.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from wedefense.metrics.columns import check_unique, numbers, positions, read_columns
from wedefense.metrics.detection import CLASSES, as_scores, cllr
from wedefense.metrics.keys import load_trials, read_scores, rows_of
from wedefense.utils.checks import at_least
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.files import atomic_write
from wedefense.utils.json_file import read_json
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, plural

NEAR_CHANCE = 0.9  # Cllr of calibrated scores, of 1
_SKETCH = 256
_STEPS = 100
_RESOLUTION = 1e-13  # of a loss in float64, relative
_SAME = 1e-6         # values that differ by no more of their size are rounded ones of float32: a constant


@dataclass(frozen=True)
class CalibrationOptions:
    prior: float = 0.5  # of bona fide: where on the score axis the fit tries hardest
    ridge: float = 1e-7  # keeps the fit finite when the classes do not overlap
    of_llrs: bool = False  # the scores are log-likelihood ratios already, which a fit should hardly stretch

    def __post_init__(self):
        at_least(self, 0, "ridge")
        if not 0 < self.prior < 1:
            raise OptionError("prior", f"must lie between 0 and 1, both excluded, got {self.prior}")


@dataclass(frozen=True)
class Calibration:
    """An affine model; `sketch` remembers some of the utterances it was fitted on."""

    scales: tuple[float, ...]         # one per system
    bias: float
    weights: tuple[float, ...] = ()   # one per quality measure
    qualities: tuple[str, ...] = ()
    prior: float = 0.5
    n_bonafide: int = 0
    n_spoof: int = 0
    sketch: tuple[str, ...] = ()
    classes: tuple[str, ...] = CLASSES  # bona fide, spoof
    doubts: tuple[str, ...] = ()      # what a careful colleague would say of the fit
    of: str | None = None             # fingerprint of the weights whose scores it was fitted on, where that is known

    def apply(self, scores: np.ndarray, qualities: np.ndarray | None = None) -> np.ndarray:
        """(trials, systems) or (trials,) scores and (trials, qualities) -> (trials,) LLRs."""
        scores, qualities = _columns(scores), _columns(qualities, len(scores))
        for what, given, fitted in (("system", scores, self.scales), ("quality measure", qualities, self.weights)):
            if given.shape[1] != len(fitted):
                option = "--scores" if what == "system" else "--quality"
                raise InputError(f"the calibration was fitted on {plural(len(fitted), what)}, not on {given.shape[1]}; "
                                 f"give those, in the same order ({option})")
        return scores @ np.array(self.scales) + qualities @ np.array(self.weights) + self.bias

    def formula(self) -> str:
        names = ["score"] if len(self.scales) == 1 else [f"score {i}" for i in range(1, len(self.scales) + 1)]
        terms = [(scale, f" x {name}") for scale, name in zip((*self.scales, *self.weights), (*names, *self.qualities))]
        (first, of), *others = [*terms, (self.bias, "")]
        tail = "".join(f" {'-' if number < 0 else '+'} {abs(number):.5g}{what}" for number, what in others)
        return (f"llr = {first:.5g}{of}{tail} "
                f"(fitted on {self.n_bonafide} {self.classes[0]} and {self.n_spoof} {self.classes[1]} trials)")

    def told(self) -> str:
        """The formula, and what is to be said against it."""
        return "; but ".join((self.formula(), *self.doubts))

    def refuse_known(self, names: Iterable[str]) -> None:
        """An error if the model was fitted on some of these utterances."""
        known = set(self.sketch)
        seen = [name for name in names if _digest(name) in known] if known else []
        if seen:
            raise InputError(f"the calibration was fitted on utterances that it is to score ({first_few(seen)}); "
                             "fit it on a development set")

    def save(self, path: str | os.PathLike) -> None:
        with atomic_write(path, "w") as stream:
            json.dump({"kind": "calibration"} | asdict(self), stream, indent=1)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Calibration":
        fields = read_json(path, "`wedefense calibrate` or `fuse` writes one")
        try:
            if fields.pop("kind") != "calibration":
                raise KeyError("kind")
            known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value
                                     for key, value in fields.items()}
            model = cls(**known)
            if not all(map(math.isfinite, (*model.scales, *model.weights, model.bias))):
                raise ValueError("a parameter is not finite")
            return model
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a calibration model that `wedefense calibrate` or `fuse` saved "
                             f"({error})") from None


def _columns(values: np.ndarray | None, rows: int = 0) -> np.ndarray:
    """(rows, columns) float64 of one column, several or none."""
    if values is None:
        return np.empty((rows, 0))
    values = np.asarray(values, dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def sketch(names: Iterable[str]) -> tuple[str, ...]:
    """The lowest digests of the names: a set that shares 5 % of them is caught with odds of 500,000 to 1."""
    return tuple(sorted(map(_digest, names))[:_SKETCH])


def fit(scores: np.ndarray, is_bonafide: np.ndarray, options: CalibrationOptions = CalibrationOptions(),
        qualities: np.ndarray | None = None, quality_names: Sequence[str] = (),
        classes: tuple[str, str] = CLASSES) -> Calibration:
    """Fit on (trials, systems) or (trials,) scores of a development set, quality measures optional."""
    scores, is_bonafide = _columns(scores), np.asarray(is_bonafide, dtype=bool)
    for label, mask in zip(classes, (is_bonafide, ~is_bonafide)):
        as_scores(scores[mask], label)
    systems = scores.shape[1]
    features = np.concatenate((scores, _columns(qualities, len(scores))), axis=1)  # (trials, systems + qualities)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = features.mean(axis=0), features.std(axis=0)
        constant = np.ptp(features, axis=0) <= _SAME * np.abs(features).max(axis=0)
    if constant.any():
        raise InputError(f"column {int(np.argmax(constant)) + 1} of the scores and quality measures has the same value "
                         "in every trial: nothing can be fitted")
    if (beyond := ~((spread > 0) & np.isfinite(spread))).any():
        column = int(np.argmax(beyond))
        raise InputError(f"column {column + 1} of the scores and quality measures reaches "
                         f"{np.abs(features[:, column]).max():.3g}, whose square no float64 holds: nothing can be "
                         "fitted; look at what wrote it, or scale it")
    design = np.column_stack(((features - mean) / spread, np.ones(len(features))))
    share = np.where(is_bonafide, options.prior / is_bonafide.sum(), (1 - options.prior) / (~is_bonafide).sum())
    solution = _logistic(design, np.where(is_bonafide, 1.0, -1.0), share,
                         math.log(options.prior / (1 - options.prior)), options.ridge)
    slopes = solution[:-1] / spread
    model = Calibration(
        scales=tuple(slopes[:systems].tolist()), weights=tuple(slopes[systems:].tolist()),
        bias=float(solution[-1] - slopes @ mean), qualities=tuple(quality_names), prior=options.prior,
        n_bonafide=int(is_bonafide.sum()), n_spoof=int((~is_bonafide).sum()),
        classes=tuple(classes))
    found = _doubts(model, scores, is_bonafide, _columns(qualities, len(scores)), options)
    for doubt in found:
        get_logger().warning("calibration: %s", doubt)
    return replace(model, doubts=tuple(found))


def _logistic(design: np.ndarray, sign: np.ndarray, share: np.ndarray, offset: float, ridge: float) -> np.ndarray:
    """Minimise sum share * softplus(-sign * (design @ w + offset)) + ridge/2 |slopes|^2 by damped Newton steps."""
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 0

    def loss(w: np.ndarray) -> float:
        return float(share @ np.logaddexp(0, -sign * (design @ w + offset)) + penalty @ w**2 / 2)

    w = np.zeros(design.shape[1])
    now = loss(w)
    for _ in range(_STEPS):
        wrong = 0.5 * (1 - np.tanh(sign * (design @ w + offset) / 2))  # sigmoid(-margin), without overflow
        gradient = penalty * w - design.T @ (share * sign * wrong)
        curvature = (design.T * (share * wrong * (1 - wrong))) @ design + np.diag(penalty)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        gain = gradient @ step  # twice what the step takes off a parabola
        if gain < _RESOLUTION * now:  # no longer seen in the loss; the last step squares the error once more
            return w - step
        size = 1.0
        while (after := loss(w - size * step)) > now - 1e-4 * size * gain and size > 1e-10:
            size /= 2
        w, now = w - size * step, after
    get_logger().warning("the calibration did not converge in %d steps", _STEPS)
    return w


def _doubts(model: Calibration, scores: np.ndarray, is_bonafide: np.ndarray, qualities: np.ndarray,
            options: CalibrationOptions) -> list[str]:
    if len(model.scales) == 1 and model.scales[0] <= 0:
        raise InputError("calibration would turn the scores around: {1} trials score higher than {0} trials; "
                         "a higher score must mean {0}".format(*model.classes))
    found = []
    if len(model.scales) > 1 and min(model.scales) < 0:
        found.append(f"fusion gives system {int(np.argmin(model.scales)) + 1} a negative weight "
                     f"({min(model.scales):.3g}): it may be redundant")
    fitted = model.apply(scores, qualities if model.weights else None)
    if fitted[is_bonafide].min() > fitted[~is_bonafide].max():
        found.append("no overlap between the classes of the development set: the size of the LLRs is a guess")
    left = cllr(fitted[is_bonafide], fitted[~is_bonafide])
    if left > NEAR_CHANCE:
        found.append(f"the scores are near chance: even calibrated they have a Cllr of {left:.3f} on the set they were "
                     "fitted on, where 1 is a detector that says nothing; look at the training before using it")
    most = 10 if options.of_llrs else 100
    if len(model.scales) == 1 and not 1 / most <= model.scales[0] <= most:
        found.append(f"extreme scale: scores are multiplied by {model.scales[0]:.4g}, so that their size says little "
                     "about the size of the LLRs; do not trust it")
    return found


def fit_files(scores: Sequence[str], keys: str, options: CalibrationOptions = CalibrationOptions(),
              qualities: Sequence[str] = ()) -> Calibration:
    """Fit on score files of a development set (one per system) and its keys."""
    systems = [load_trials(path, keys) for path in scores]
    names = systems[0].names
    stacked = np.column_stack([trials.scores for trials in systems])
    model = fit(stacked, systems[0].is_bonafide, options, read_qualities(qualities, names), _titles(qualities))
    return replace(model, sketch=sketch(names))


def read_systems(paths: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Utterances of the first file and the (trials, systems) scores of all, which must have the same utterances."""
    if twice := [path for i, path in enumerate(paths) if os.path.realpath(path) in map(os.path.realpath, paths[:i])]:
        raise InputError(f"{twice[0]}: named twice; combine different systems")
    names, first = read_scores(paths[0])
    columns = [first]
    for path in paths[1:]:
        others, values = read_scores(path)
        at = positions(others, names)
        if (at < 0).any() or len(others) != len(names):
            odd = sorted(set(names) ^ set(others))
            raise InputError(f"{paths[0]} and {path} do not score the same utterances: {first_few(odd)}")
        columns.append(values[at])
    return names, np.column_stack(columns)


def read_qualities(paths: Sequence[str], names: Sequence[str]) -> np.ndarray | None:
    """(trials, measures) of tables NAME NUMBER (utt2dur), None without any."""
    measures = []
    for path in paths:
        columns = read_columns(path, 2, "NAME NUMBER")
        check_unique(columns, columns.cells[0])
        at = rows_of(path, columns.cells[0], names)
        if (at < 0).any():
            raise InputError(f"{path}: no value for {first_few(n for n, i in zip(names, at) if i < 0)}")
        measures.append(numbers(columns, columns.cells[1], "the quality measure")[at])
    return np.column_stack(measures) if measures else None


def _titles(paths: Sequence[str]) -> list[str]:
    return [os.path.basename(path).removeprefix("utt2") for path in paths]
