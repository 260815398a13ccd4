"""Where it is fake: numbers by hand, and what a bootstrap of utterances must keep together."""

import numpy as np
import pytest

from wedefense.metrics.detection import detection_metrics
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.metrics.localization import Boundaries, FrameScores, localization_metrics
from wedefense.metrics.segments import Range, range_eer, scored_pieces, weighted_eer
from wedefense.utils.errors import InputError

# u: 0.6 s, bona fide but from 0.2 to 0.4 s; v: 0.4 s bona fide
RANGES = {"u": [Range(0, 0.2, True), Range(0.2, 0.4, False), Range(0.4, 0.6, True)], "v": [Range(0, 0.4, True)]}
SCORES = {"u": np.array([5.0, 1.0, -1.0, -3.0, 2.0, 3.0]), "v": np.array([4.0, -2.0, 6.0, 7.0])}
SET = FrameScores(SCORES, RANGES, 0.1)


def test_rows_by_hand():
    rows = localization_metrics(SET, (0.1, 0.2), dev=SET)["rows"]
    bonafide, spoof = [5, 1, 2, 3, 4, -2, 6, 7], [-1, -3]
    expected = detection_metrics(bonafide, spoof)
    assert (rows["0.1"]["eer"], rows["0.1"]["eer_threshold"]) == (expected.eer, expected.eer_threshold)
    expected = detection_metrics([1, 2, -2, 6], [-3])  # the least of each pair
    assert (rows["0.2"]["eer"], rows["0.2"]["eer_threshold"]) == (expected.eer, expected.eer_threshold)
    assert rows["time"]["eer"] == pytest.approx(range_eer(SCORES, RANGES, 0.1).value)
    # at -1 both fakes and the frame of v at -2 are called fake
    assert rows["0.1"]["dev_threshold"] == -1
    assert (rows["0.1"]["precision"], rows["0.1"]["recall"], rows["0.1"]["f1"]) == pytest.approx((2 / 3, 1, 4 / 5))
    assert (rows["time"]["precision"], rows["time"]["recall"]) == pytest.approx((2 / 3, 1))
    # utterances by their fakest frame: u -3 (fake), v -2
    assert rows["utterance"]["eer"] == 0 and rows["utterance"]["eer_threshold"] == -3
    assert "precision" not in localization_metrics(SET, (0.1,))["rows"]["0.1"]
    # nothing scores as low as a dev of another scale asks: nothing is called fake
    far = FrameScores({name: values - 100 for name, values in SCORES.items()}, RANGES, 0.1)
    assert localization_metrics(SET, (0.1,), dev=far)["rows"]["0.1"]["precision"] == 0


def test_boundaries_by_hand():
    found = Boundaries.at(-1.0, SCORES, RANGES, 0.1)
    # u: true at 0.2 and 0.4, predicted there too; v: predicted 0.1 to 0.2, and true ones only at its ends
    np.testing.assert_allclose(found.missed, [0, 0], atol=1e-9)
    np.testing.assert_allclose(found.spurious, [0, 0, 0.1, 0.2], atol=1e-9)
    assert found.errors() == pytest.approx({"true_to_predicted": 0, "predicted_to_true": 0.075,
                                            "boundary_error": 0.0375}, abs=1e-9)
    assert found.errors(np.array([1, 0]))["predicted_to_true"] == pytest.approx(0, abs=1e-9)
    missing = Boundaries.at(-50.0, SCORES, RANGES, 0.1).errors()  # nothing is called fake: the ends are nearest
    assert missing["true_to_predicted"] == pytest.approx(0.2) and np.isnan(missing["predicted_to_true"])
    assert missing["boundary_error"] == pytest.approx(0.2)


def test_the_last_frame_that_overhangs_does_not_count():
    """As in hieuthi/partialspoof-metrics: the last whole frame lasts to the end."""
    ranges = {"u": [Range(0, 0.1, True), Range(0.1, 0.25, False)]}
    scores = {"u": np.array([1.0, 2.0, 0.0])}  # the third frame would end at 0.3 s; the second lasts 0.15 s
    assert range_eer(scores, ranges, 0.1) == range_eer({"u": scores["u"][:2]}, ranges, 0.1)
    # 0.1 s bona fide at 1, 0.15 s fake at 2: at 1 all bona fide is rejected and all fake accepted
    assert range_eer(scores, ranges, 0.1).value == 1
    # a frame that ends with the utterance, but for the last bit of 3 * 0.1, is whole
    exact = {"u": [Range(0, 0.1, True), Range(0.1, 0.3, False)]}
    assert scored_pieces(np.array([1.0, 2.0, 0.0]), exact["u"], 0.1)[0].tolist() == [1, 2, 0]
    # the only frame counts though it overhangs
    short = {"u": [Range(0, 0.02, True), Range(0.02, 0.05, False)]}
    assert range_eer({"u": np.array([1.0])}, short, 0.1).value == pytest.approx(0.5)


def test_the_eer_of_weights_is_that_of_repeated_scores():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, times = np.sort(rng.normal(size=40).round(1)), rng.integers(0, 4, 40)
        is_bonafide = rng.random(40) < 0.6
        if not (times[is_bonafide].any() and times[~is_bonafide].any()):
            continue
        expected = detection_metrics(np.repeat(scores[is_bonafide], times[is_bonafide]),
                                     np.repeat(scores[~is_bonafide], times[~is_bonafide]))
        assert weighted_eer(scores, times, is_bonafide).value == pytest.approx(expected.eer, abs=1e-12)


def test_intervals_draw_whole_utterances():
    rng = np.random.default_rng(1)
    scores, ranges = {}, {}
    for i in range(30):
        edge = int(rng.integers(5, 15))
        ranges[f"u{i}"] = [Range(0, edge / 50, True), Range(edge / 50, 0.4, False)]
        ranges[f"v{i}"] = [Range(0, 0.4, True)]
        scores[f"u{i}"] = np.where(np.arange(20) < edge, 1.0, -1.0) + rng.normal(0, 1, 20)
        scores[f"v{i}"] = 1.0 + rng.normal(0, 1, 20)
    found = FrameScores(scores, ranges, 0.02)
    result = localization_metrics(found, dev=found, bootstrap=BootstrapOptions(60, by="utterance"))
    for name, row in result["rows"].items():
        for metric in ("eer", "precision", "recall", "f1"):
            low, high = result["confidence"][name][metric]
            assert low <= row[metric] <= high or abs(row[metric] - (low + high) / 2) < 0.05, (name, metric)
    low, high = result["confidence"]["boundaries"]["boundary_error"]
    assert 0 < low < result["boundaries"]["boundary_error"] < high
    # utterances that are all alike have no spread, however many frames they have
    alike = {f"u{i}": RANGES["u"] for i in range(9)}
    same = localization_metrics(FrameScores({name: SCORES["u"] for name in alike}, alike, 0.1), (0.1,),
                                bootstrap=BootstrapOptions(20))
    assert same["confidence"]["time"]["eer"] == [same["rows"]["time"]["eer"]] * 2
    assert "utterance" not in same["rows"]  # all of them are fake


def test_one_class_and_too_few_utterances_are_said():
    with pytest.raises(InputError, match="all of one class"):
        localization_metrics(FrameScores({"v": SCORES["v"]}, {"v": RANGES["v"]}, 0.1), (0.1,))
    # of two utterances half of the resamples lack one, and they are drawn again
    ranges = {"u": [Range(0, 0.4, False)], "v": RANGES["v"]}
    scores = {"u": np.array([1.0, -1.0, -3.0, 0.0]), "v": SCORES["v"]}
    found = localization_metrics(FrameScores(scores, ranges, 0.1), (0.1,), bootstrap=BootstrapOptions(5))
    assert found["confidence"]["0.1"]["eer"] == [found["rows"]["0.1"]["eer"]] * 2  # each has both utterances once


def counted_by_milliseconds(scores, ranges, shift):
    """(FAR, FRR) at every threshold, each millisecond a trial: what hieuthi/partialspoof-metrics counts, but for the
    rounding of its clock."""
    trials = {True: [], False: []}
    for name, spans in ranges.items():
        whole = max(1, round(1000 * spans[-1].end) // round(1000 * shift))
        for span in spans:
            for ms in range(round(1000 * span.start), round(1000 * span.end)):
                trials[span.is_bonafide].append(scores[name][min(ms // round(1000 * shift), whole - 1)])
    bonafide, spoof = (np.array(trials[kind]) for kind in (True, False))
    thresholds = [-np.inf, *np.unique(np.concatenate([bonafide, spoof]))]
    return [(np.mean(spoof > at), np.mean(bonafide <= at)) for at in thresholds]


@pytest.mark.parametrize("shift", [0.02, 0.04, 0.16])
def test_time_is_counted_as_by_milliseconds_on_random_spans(shift):
    """Spans shorter than a frame, a last frame that overhangs or is lacking, utterances of one class or one frame."""
    rng = np.random.default_rng(int(1000 * shift))
    for _ in range(25):
        scores, ranges = {}, {}
        for number in range(int(rng.integers(2, 6))):
            end = int(rng.integers(30, 1500))
            inner = np.sort(rng.choice(np.arange(1, end), int(rng.integers(0, 6)), replace=False))
            edges, first = [0, *inner.tolist(), end], bool(rng.integers(2))
            ranges[f"u{number}"] = [Range(a / 1000, b / 1000, first == bool(i % 2))
                                    for i, (a, b) in enumerate(zip(edges, edges[1:]))]
            frames = max(1, end // round(1000 * shift) + int(rng.integers(2)))
            scores[f"u{number}"] = rng.integers(-9, 9, frames).astype(float)
        if len({span.is_bonafide for spans in ranges.values() for span in spans}) == 2:
            rates = counted_by_milliseconds(scores, ranges, shift)
            far, frr = min(rates, key=lambda pair: round(abs(pair[0] - pair[1]), 12))  # of equals the lowest threshold
            assert range_eer(scores, ranges, shift).value == pytest.approx((far + frr) / 2, abs=1e-9)
