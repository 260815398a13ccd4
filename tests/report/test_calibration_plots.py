import numpy as np
import pytest

from tests.report.pages import drawn
from wedefense.metrics.detection import cllr, detection_metrics
from wedefense.report.calibration_plots import bayes_error_plot, before_and_after, reliability_plot


def draw(scale, seed=1, sizes=(20_000, 60_000)):
    """Scores that are `scale` times true log-likelihood ratios."""
    rng = np.random.default_rng(seed)
    return tuple(scale * (mean + 2 * rng.standard_normal(size)) for mean, size in zip((2, -2), sizes))


def test_bayes_plot_meets_the_dcfs():
    scores = draw(1, 0, (400, 1000))
    figure, result = bayes_error_plot({"raw": scores}), detection_metrics(*scores)
    actual, lowest = (line.get_xydata() for line in figure.axes[0].lines[:2])
    at = np.argmin(abs(actual[:, 0] + result.act_dcf_threshold))
    assert actual[at, 1] == pytest.approx(result.act_dcf, abs=0.03) and np.all(lowest[:, 1] <= actual[:, 1] + 1e-12)
    assert "operating point (P(spoof) 0.05, C_fa/C_miss 10)" in drawn(figure)
    assert f"raw {actual[at, 1]:.2f}; the least possible {lowest[at, 1]:.2f}" in figure.get_label()
    assert figure.axes[0].get_ylim() == (0, 2)  # of all such figures


def points(figure, hollow):
    return [line.get_xydata() for line in figure.axes[0].lines if line.get_marker() in ("o", "s")
            and len(line.get_xydata()) and (line.get_markerfacecolor() == "none") == hollow]


def test_reliability_of_true_llrs_is_the_diagonal():
    figure = reliability_plot({"half": draw(0.5), "true": draw(1)})
    half, true = points(figure, hollow=False)
    off = np.abs(true[:, 0] - true[:, 1])                                           # log odds
    assert len(true) > 8 and off[1:-1].max() < 0.15 and off.max() < 0.4
    assert np.abs(half[:, 1] - 2 * half[:, 0]).max() < 0.4                          # half of what is found
    assert "stated probability of bona fide (%, log odds)" in drawn(figure)
    box, legend = figure.axes[0].get_tightbbox(), figure.legends[0].get_window_extent()
    assert 0 < box.y0 - legend.y1 < 0.1 * figure.bbox.height  # nothing between them but a margin
    said = figure.get_label()
    assert "half: 0 of 12 bins agree" in said or "half: 1 of 12 bins agree" in said
    assert int(said.split("true: ")[1].split(" of")[0]) >= 10


def test_bins_of_one_class_end_where_their_interval_does():
    bonafide, spoof = np.repeat([-2.0, 3.0], [10, 90]), np.repeat([-2.0, 3.0], [50, 0])
    figure = reliability_plot({"": (bonafide, spoof)}, bins=3)
    (hollow,), (whole,) = points(figure, True), points(figure, False)
    assert whole == pytest.approx(np.array([[-2, np.log(0.1 / 1.0)]]), abs=1e-6)
    low = 90 / (90 + 1.96 ** 2)  # Wilson's lower bound where all 90 are bona fide
    assert hollow == pytest.approx(np.array([[3, np.log(low / (1 - low))]]), abs=0.01)


def test_histograms_before_and_after_calibration():
    versions = {"raw": draw(3, 0, (300, 500)), "calibrated": draw(1, 0, (300, 500))}
    figure = before_and_after(versions)
    assert len(figure.axes) == 2
    for axes, (name, scores) in zip(figure.axes, versions.items()):
        assert axes.get_title("left") == f"{name}, Cllr {cllr(*scores):.3f}" and f"Cllr {cllr(*scores):.3f}" in \
            figure.get_label()
        area = sum(bar.get_width() * bar.get_height() for bar in axes.patches)
        assert area == pytest.approx(2)  # two densities
    assert "log-likelihood ratio (higher: more bona fide)" in drawn(figure)
