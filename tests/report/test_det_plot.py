import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom

from tests.report.pages import drawn
from wedefense.metrics.detection import det_curve, detection_metrics
from wedefense.report.det_plot import FINE, FRAME, det_notes, det_plot


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    return 2 + 2 * rng.standard_normal(400), -2 + 2 * rng.standard_normal(1000)


def markers(figure, shape):
    """(x, y, size) of each marker of a system."""
    return [(*line.get_xydata()[0], line.get_markersize()) for line in figure.axes[0].lines
            if line.get_marker() == shape and len(line.get_xydata())]


def test_points_lie_where_the_rates_are(scores):
    figure = det_plot({"ours": scores})
    result = detection_metrics(*scores)
    said = f"EER {100 * result.eer:.2f} %, minDCF {result.min_dcf:.4f}"
    assert any(text.startswith(f"ours: {said}") for text in drawn(figure)) and f"ours has {said}" in figure.get_label()
    frr, far = np.mean(scores[0] <= result.eer_threshold), np.mean(scores[1] > result.eer_threshold)
    assert markers(figure, "o")[0][:2] == pytest.approx(ndtri([far, frr]))
    bayes = result.act_dcf_threshold
    assert markers(figure, "^")[0][:2] == pytest.approx(ndtri([np.mean(scores[1] >= bayes),
                                                               np.mean(scores[0] < bayes)]))


def test_markers_that_coincide_are_drawn_around_one_another(scores):
    figure = det_plot({"one": scores, "same": scores, "other": (scores[0], scores[1] + 2)})
    (*first, small), (*second, large), (*third, again) = markers(figure, "o")
    assert first == second != third and small == again < large
    shapes = [markers(det_plot({"x": scores}), shape)[0][2] for shape in "os^"]
    assert shapes == sorted(shapes, reverse=True) and len(set(shapes)) == 3


def test_all_figures_have_one_frame_but_of_the_best_systems(scores):
    worse = scores[0], scores[1] + 3
    perfect = scores[0] + 50, scores[1]
    for systems, edges in (({"x": scores}, FRAME), ({"x": worse}, FRAME), ({"x": scores, "best": perfect}, FINE)):
        axes = det_plot(systems).axes[0]
        assert axes.get_xlim() == axes.get_ylim() == pytest.approx(ndtri(edges))


def test_what_lies_outside_is_marked_on_the_edge_and_said(scores):
    figure = det_plot({"x": (scores[0] - 50, scores[1] - 50)})  # the Bayes threshold rejects all
    assert markers(figure, "^")[0][1] == pytest.approx(ndtri(FRAME[1])) and "thin, lie beyond it" in figure.get_label()
    assert "beyond" not in det_plot({"x": scores}).get_label()


def test_where_no_error_was_counted_the_line_is_dashed_and_it_is_said():
    bonafide, spoof = np.array([0.0, 2.0, 3.0, 4.0]), np.array([-3.0, -2.0, -1.0, 1.0, -4.0])
    solid, misses, alarms = (line.get_xydata() for line in det_plot({"x": (bonafide, spoof)}).axes[0].lines[:3])
    assert misses[:, 1] == pytest.approx(ndtri([1 / 8] * 5 + [1 / 4]))           # until the bona fide 0 is rejected
    assert alarms[:, 0] == pytest.approx(ndtri([1 / 5] + [1 / 10] * (len(alarms) - 1)))
    assert solid == pytest.approx(ndtri([[1 / 5, 1 / 4]]))
    assert "half a trial: a of 4 bona fide 12 %, of 5 spoof 10 %; b of 2 bona fide 25 %, of 5" in det_notes(
        {"a": (bonafide, spoof), "b": (bonafide[:2], spoof)})
    assert "half a trial: of 4 bona fide 12 %, of 5 spoof 10 %." in det_notes({"x": (bonafide, spoof)})


def test_the_band_covers_the_true_rates(scores):
    """Both rates at a threshold lie in the band of about 95 of 100 draws; exactly known, as the scores are normal."""
    from matplotlib.path import Path

    rng, inside = np.random.default_rng(5), 0
    frr, far = 0.12, 0.2
    for _ in range(25):
        misses, alarms = binom.rvs(80, frr, random_state=rng), binom.rvs(120, far, random_state=rng)
        bonafide = np.repeat([-1.0, 1.0], [misses, 80 - misses])  # the threshold is 0
        spoof = np.repeat([-1.0, 1.0], [120 - alarms, alarms])
        polygon = det_plot({"x": (bonafide, spoof)}).axes[0].patches[0].get_xy()
        inside += Path(polygon).contains_point(ndtri([far, frr]))
    assert 22 <= inside <= 25
    assert not det_plot({str(i): scores for i in range(5)}).axes[0].patches


def test_a_line_of_many_trials_stays_small():
    rng = np.random.default_rng(0)
    many = 2 + 2 * rng.standard_normal(20_000), -2 + 2 * rng.standard_normal(80_000)
    line = det_plot({"x": many}).axes[0].lines[0].get_xydata()
    assert len(det_curve(*many).far) > 90_000 and 200 < len(line) < 8000
    for far in (0.01, 0.2, 0.5):  # and still passes where the rates say
        frr = np.mean(many[0] <= np.quantile(many[1], 1 - far))
        assert np.abs(line - ndtri([far, frr])).max(axis=1).min() < 0.02
