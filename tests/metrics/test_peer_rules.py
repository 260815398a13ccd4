"""Where EERs of segments differ from those of hieuthi/partialspoof-metrics: by three rules, and by nothing else.

Its rules are written out here. Number: there utterances have round(seconds / segment) segments, here as many as begin
before the end. Edges: there any overlap makes a segment fake, the rounding error of summed-up edges too, here one of
more than a microsecond. Ties: where several thresholds have error rates equally far apart, there the one is taken that
calls most fake, here that which calls least.
"""

import math

import numpy as np
import pytest

from wedefense.metrics.localization import SHIFTS, FrameScores
from wedefense.metrics.segments import Range, labels_from_ranges, pooled_scores

FRAME = 0.02


def their_labels(ranges: list[Range], segment: float) -> list[bool]:
    """True where a segment is fake."""
    labels, start = [], 0.0
    for _ in range(math.floor(ranges[-1].end / segment + 0.5)):
        end = start + segment
        labels.append(any(min(end, r.end) - max(start, r.start) > 0 for r in ranges if not r.is_bonafide))
        start = end
    return labels


def their_points(utterances, segment: float) -> list[tuple[float, float]]:
    """(false alarms, misses) at every threshold of the scores for fake, from low to high."""
    fake, score = [], []
    for ranges, scores in utterances:
        labels, times = their_labels(ranges, segment), round(segment / FRAME)
        pooled = [max(-scores[at:at + times]) for at in range(0, len(scores), times)]
        fake += labels
        score += (pooled + [pooled[-1]] * len(labels))[:len(labels)]
    fake, score = np.array(fake), np.array(score)
    return [(float((score[~fake] > at).mean()), float((score[fake] <= at).mean())) for at in np.unique(score)]


def their_eer(utterances, segment: float) -> float:
    """The first of the thresholds at which both are nearest."""
    return sum(min(their_points(utterances, segment), key=lambda point: abs(point[0] - point[1]))) / 2


def our_eer(utterances, segment: float) -> float:
    names = [f"u{number}" for number in range(len(utterances))]
    found = FrameScores(dict(zip(names, (scores for _, scores in utterances))),
                        dict(zip(names, (ranges for ranges, _ in utterances))), FRAME)
    return found.rows([segment])[f"{segment:g}"].eer().value


def tied(utterances, segment: float) -> bool:
    points = their_points(utterances, segment)
    nearest = min(abs(alarms - misses) for alarms, misses in points)
    return len({round(alarms + misses, 9) for alarms, misses in points
                if abs(alarms - misses) < nearest + 1e-12}) > 1


def drawn(rng: np.random.Generator, segment: float) -> list[tuple[list[Range], np.ndarray]]:
    """Utterances whose last segment is more than half full, with spans that begin and end within segments."""
    utterances = []
    for _ in range(12):
        end = segment * (rng.integers(1, 6) + rng.uniform(0.55, 0.95))
        edges = [0.0, *np.sort(rng.uniform(0, end, 2 * rng.integers(0, 4))), end]
        ranges = [Range(a, b, number % 2 == 0) for number, (a, b) in enumerate(zip(edges, edges[1:]))]
        utterances.append((ranges, rng.normal(size=math.ceil(end / FRAME))))
    return utterances


@pytest.mark.parametrize("segment", SHIFTS)
def test_equal_where_none_of_the_rules_has_a_say(segment):
    rng, compared = np.random.default_rng(round(1000 * segment)), 0
    for _ in range(25):
        utterances = drawn(rng, segment)
        for ranges, _ in utterances:
            assert (labels_from_ranges(ranges, segment) == 0).tolist() == their_labels(ranges, segment)
        if any(not r.is_bonafide for ranges, _ in utterances for r in ranges) and not tied(utterances, segment):
            compared += 1
            assert our_eer(utterances, segment) == pytest.approx(their_eer(utterances, segment), abs=1e-9)
    assert compared > 15


def test_a_last_segment_of_less_than_half_counts_here():
    ranges = [Range(0, 0.8, True), Range(0.8, 0.9, False)]  # 1.4 segments of 0.64 s
    assert their_labels(ranges, 0.64) == [False] and labels_from_ranges(ranges, 0.64).tolist() == [1, 0]
    assert their_labels([Range(0, 0.3, False)], 0.64) == []  # nothing of a short utterance
    assert labels_from_ranges([Range(0, 0.3, False)], 0.64).tolist() == [0]


def test_a_rounding_error_of_an_edge_makes_nothing_fake_here():
    """0.02 added up is beyond n * 0.02 for some n: a span that begins there touches the segment before."""
    sums = np.cumsum(np.full(200, FRAME))
    edge = next(n for n in range(1, 200) if sums[n - 1] > n * FRAME)
    ranges = [Range(0, edge * FRAME, True), Range(edge * FRAME, (edge + 1) * FRAME, False)]
    assert their_labels(ranges, FRAME)[edge - 1:] == [True, True]
    assert labels_from_ranges(ranges, FRAME)[edge - 1:].tolist() == [1, 0]


def test_of_tied_thresholds_they_call_more_fake():
    """Bona fide at 1 and 3, fake at 2: half of the bona fide is lost, with all of the fake found or with none."""
    ranges = [Range(0, 0.02, True), Range(0.02, 0.04, False), Range(0.04, 0.06, True)]
    utterances = [(ranges, np.array([1.0, 2.0, 3.0]))]
    assert tied(utterances, FRAME)
    assert their_eer(utterances, FRAME) == 0.25 and our_eer(utterances, FRAME) == 0.75


def test_segments_have_the_score_of_their_fakest_frame_as_there():
    """And the last frames, which fill no whole segment, stand for one."""
    assert pooled_scores(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), 0.02, 0.04).tolist() == [1.0, 2.0, 4.0]
