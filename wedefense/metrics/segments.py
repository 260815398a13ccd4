"""Where in an utterance is it fake? Frame scores against the labels of a partially spoofed corpus.

A label is 1 (bona fide) or 0 (spoof) per segment of fixed length, as in the `seglab` files of PartialSpoof.
"""

import math
import os
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wedefense.metrics.detection import DetectionCosts, DetectionResult, Point, as_scores, detection_metrics
from wedefense.metrics.keys import Trials
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.files import open_regular
from wedefense.utils.tables import first_few, plural, read_lines

_BLEED = 1e-6     # seconds by which a range may reach into a segment, or a frame beyond the end, without counting there
_TOLERANCE = 0.1  # seconds by which frames and labels of an utterance may end apart


class Range(NamedTuple):
    """A stretch of an utterance, in seconds."""

    start: float
    end: float
    is_bonafide: bool


class _SeglabUnpickler(pickle.Unpickler):
    """Builds arrays and dictionaries and refuses everything else."""

    def find_class(self, module: str, name: str):
        arrays = {("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
                  ("numpy._core.multiarray", "_reconstruct")}
        if (module, name) in arrays:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a label file")


def read_seglab(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The labels of a `*_seglab_*.npy` file: utterance -> (segments,) int64 of 1 (bona fide) and 0 (spoof)."""
    try:
        with open_regular(path) as stream:
            version = np.lib.format.read_magic(stream)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else \
                np.lib.format.read_array_header_2_0
            read_header(stream)
            table = _SeglabUnpickler(stream).load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail anywhere
        raise InputError(f"{path}: not a seglab file (a saved dictionary of labels): {error}") from None
    table = table.item() if isinstance(table, np.ndarray) and table.shape == () else table
    if not isinstance(table, dict):
        raise InputError(f"{path}: not a seglab file, it holds a {type(table).__name__} and no dictionary")
    with blamed_on(path, "seglab file"):
        labels = {str(name): np.asarray(values).astype(np.int64) for name, values in table.items()}
    empty = [name for name, values in labels.items() if values.ndim != 1 or not values.size]
    if empty:
        raise InputError(f"{path}: no row of labels for {plural(len(empty), 'utterance')}: {first_few(empty)}; "
                         "take the file from the official release again, or leave these utterances out of it")
    odd = [name for name, values in labels.items() if np.setdiff1d(values, (0, 1)).size]
    if odd:
        raise InputError(f"{path}: labels other than 0 and 1 in {plural(len(odd), 'utterance')}: {first_few(odd)}")
    return labels


def read_frame_scores(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The frames' scores of each utterance from lines `NAME SCORE SCORE ...`; brackets around them are allowed."""
    scores: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, *cells = line.replace("[", " ").replace("]", " ").split() or [""]
        if not name:
            continue
        if not cells:
            raise InputError(f"{path}:{number}: '{name}' has no frame scores (expected: NAME SCORE SCORE ...)")
        if name in scores:
            raise InputError(f"{path}:{number}: duplicate utterance '{name}'")
        try:
            values = np.array(cells, dtype=np.float64)
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}; expected: NAME SCORE SCORE ...") from None
        if not np.isfinite(values).all():
            raise InputError(f"{path}:{number}: a frame score of '{name}' is NaN or infinite")
        scores[name] = values
    if not scores:
        raise InputError(f"{path}: the file is empty (expected lines: NAME SCORE SCORE ...)")
    return scores


def label_shift_of(path: str | os.PathLike) -> float:
    """Seconds per label, from a name like `dev_seglab_0.16.npy`."""
    found = re.search(r"seglab_(\d*\.?\d+)", os.path.basename(path))
    if not found or not float(found[1]):
        raise InputError(f"{path}: its name does not say how long a segment is (like `dev_seglab_0.16.npy`); "
                         "give the seconds with --label_shift")
    return float(found[1])


def segment_metrics(scores: Mapping[str, ArrayLike], labels: Mapping[str, ArrayLike], score_shift: float,
                    label_shift: float, costs: DetectionCosts = DetectionCosts()) -> DetectionResult:
    """Point-based metrics over all segments, see `segment_trials`."""
    trials = segment_trials(scores, labels, score_shift, label_shift)
    return detection_metrics(trials.bonafide, trials.spoof, costs)


def segment_trials(scores: Mapping[str, ArrayLike], labels: Mapping[str, ArrayLike], score_shift: float,
                   label_shift: float) -> Trials:
    """All segments, `label_shift` seconds each, of frames `score_shift` seconds apart, named by their utterance.

    Finer scores are pooled by their minimum (a segment is as fake as its fakest frame), coarser ones repeated.
    """
    pooled, truth, names = [], [], []
    _require_multiple(score_shift, label_shift)
    together = common_names(scores, labels)
    require_alike({name: (len(scores[name]) * score_shift, len(labels[name]) * label_shift) for name in together},
                  max(score_shift, label_shift))
    for name in together:
        values, target = as_scores(scores[name], f"frame ({name})"), np.asarray(labels[name])
        values = pooled_scores(values, score_shift, label_shift)
        size = min(values.size, target.size)
        pooled.append(values[:size])
        truth.append(target[:size] == 1)
        names += [name] * size
    return Trials(names, np.concatenate(pooled), np.concatenate(truth))


def pooled_scores(scores: np.ndarray, score_shift: float, label_shift: float) -> np.ndarray:
    """(segments,) of frames: the minimum of those in a segment, or a frame repeated where segments are finer."""
    _require_multiple(score_shift, label_shift)
    ratio = round(max(score_shift, label_shift) / min(score_shift, label_shift))
    if label_shift > score_shift:
        return np.minimum.reduceat(scores, np.arange(0, scores.size, ratio))
    return np.repeat(scores, ratio)


def _require_multiple(score_shift: float, label_shift: float) -> None:
    if not commensurable(score_shift, label_shift):
        raise InputError(f"frames of {score_shift:g} s and segments of {label_shift:g} s: one must be a multiple of "
                         "the other")


def commensurable(one: float, other: float) -> bool:
    """Whether one is a multiple of the other."""
    ratio = max(one, other) / min(one, other)
    return abs(ratio - round(ratio)) < 1e-6


def ranges_from_labels(labels: ArrayLike, shift: float, seconds: float = math.inf) -> list[Range]:
    """Runs of equal labels as ranges; the last segment may reach beyond the recording, which lasts `seconds`."""
    labels = np.asarray(labels)
    edges = np.concatenate(([0], np.flatnonzero(np.diff(labels)) + 1, [labels.size]))
    return [Range(float(start * shift), min(float(end * shift), seconds), bool(labels[start] == 1))
            for start, end in zip(edges[:-1], edges[1:]) if start * shift < seconds]


def labels_from_ranges(ranges: Sequence[Range], shift: float) -> np.ndarray:
    """(segments,) int64 of 1 (bona fide) and 0: a segment that holds anything fake is fake.

    A last segment counts however little of it is left. hieuthi/partialspoof-metrics rounds their number, and calls fake
    what a rounding error reaches into; `tests/metrics/test_peer_rules.py` holds both sides of these rules together.
    """
    labels = np.ones(math.ceil((ranges[-1].end - _BLEED) / shift), dtype=np.int64)
    for start, end, is_bonafide in ranges:
        if not is_bonafide:
            labels[math.floor((start + _BLEED) / shift):math.ceil((end - _BLEED) / shift)] = 0
    return labels


def range_eer(scores: Mapping[str, ArrayLike], ranges: Mapping[str, Sequence[Range]], score_shift: float) -> Point:
    """EER in time instead of segments (Zhang et al. 2023): shares of bona fide seconds rejected and of spoof
    seconds accepted, whatever the resolution of scores and reference. See `whole_frames` for the last frame."""
    names = common_names(scores, ranges)
    require_alike({name: (len(scores[name]) * score_shift, ranges[name][-1].end) for name in names}, score_shift)
    pieces = [scored_pieces(as_scores(scores[name], f"frame ({name})"), ranges[name], score_shift) for name in names]
    values, seconds, is_bonafide = (np.concatenate(part) for part in zip(*pieces))
    require_both_classes(ranges[name] for name in names)
    order = np.argsort(values, kind="stable")
    return weighted_eer(values[order], seconds[order], is_bonafide[order])


def weighted_eer(scores: np.ndarray, weights: np.ndarray, is_bonafide: np.ndarray) -> Point:
    """The EER of ascending scores that count as their weights say."""
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), scores.size - 1)
    bonafide = np.append(0, np.cumsum(np.where(is_bonafide, weights, 0))[last])
    spoof = np.append(0, np.cumsum(np.where(is_bonafide, 0, weights))[last])
    frr, far = bonafide / bonafide[-1], (spoof[-1] - spoof) / spoof[-1]
    index = int(np.argmin(np.abs(frr - far)))
    threshold = scores[last[index - 1]] if index else np.nextafter(scores[0], -np.inf)
    return Point(float((frr[index] + far[index]) / 2), float(threshold))


def whole_frames(scores: np.ndarray, end: float, shift: float) -> np.ndarray:
    """The frames that end within an utterance of `end` seconds; the last of them is taken to last to the end.

    This is the rule of hieuthi/partialspoof-metrics: a frame that overhangs does not count, unless it is the only one.
    There a frame that ends with the utterance can overhang by a rounding error; here it does not.
    """
    return scores[:max(1, math.floor((end + _BLEED) / shift))]


def scored_pieces(scores: np.ndarray, ranges: Sequence[Range], shift: float) -> tuple[np.ndarray, ...]:
    """(score, seconds, is_bonafide) of each stretch within one frame and one range."""
    starts, end = np.array([r.start for r in ranges]), ranges[-1].end
    scores = whole_frames(scores, end, shift)
    frames = np.arange(scores.size) * shift
    edges = np.unique(np.concatenate((starts, frames[frames < end], [end])))
    middle = (edges[:-1] + edges[1:]) / 2
    frame = np.minimum((middle / shift).astype(np.int64), scores.size - 1)
    label = np.array([r.is_bonafide for r in ranges])[np.searchsorted(starts, middle, side="right") - 1]
    return scores[frame], np.diff(edges), label


def common_names(scores: Mapping, labels: Mapping) -> list[str]:
    """The utterances, which must be the same in both."""
    for what, names in (("labels", scores.keys() - labels.keys()), ("frame scores", labels.keys() - scores.keys())):
        if names:
            raise InputError(f"{plural(len(names), 'utterance')} without {what}: {first_few(sorted(names))}")
    if not scores:
        raise InputError("no utterances to evaluate")
    return list(labels)


def require_both_classes(ranges: Iterable[Sequence[Range]]) -> None:
    kinds = {part.is_bonafide for parts in ranges for part in parts}
    if len(kinds) < 2:
        one = {True: "bona fide", False: "spoof"}[kinds.pop()] if kinds else "nothing"
        raise InputError(f"the ranges are all of one class ({one}): an EER needs bona fide and spoof")


def last_alike(scored: float, labelled: float, shift: float) -> bool:
    """Whether frame scores and labels of an utterance end so near to one another as they should."""
    return abs(scored - labelled) <= _TOLERANCE + shift


def require_alike(seconds: Mapping[str, tuple[float, float]], shift: float) -> None:
    """`seconds`: utterance -> how long its frame scores last, and its labels."""
    odd = [name for name, pair in seconds.items() if not last_alike(*pair, shift)]
    if odd:
        scored, labelled = seconds[odd[0]]
        raise InputError(f"{plural(len(odd), 'utterance')} of {len(seconds)} with frame scores and labels of other "
                         f"lengths; {odd[0]}: its frame scores last {scored:.2f} s and its labels {labelled:.2f} s; "
                         "are the shifts of frames and labels right, and are both of the same recordings?")
