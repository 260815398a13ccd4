import io

import numpy as np
import pytest
from scipy.special import ndtri

from wedefense.metrics.detection import detection_metrics
from wedefense.metrics.evaluation import evaluate_detection
from wedefense.metrics.keys import Trials
from wedefense.report import score_plots

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    return 2 + 2 * rng.standard_normal(400), -2 + 2 * rng.standard_normal(1000)


def drawn(figure):
    """The picture really renders; its texts."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG") and len(stream.getvalue()) > 5000
    texts = [text.get_text() for legend in [*figure.legends, *(a.get_legend() for a in figure.axes)] if legend
             for text in legend.get_texts()]
    return texts + [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())]


def test_det_points_lie_where_the_rates_are(scores):
    figure = score_plots.det_plot({"ours": scores, "raw": (scores[0] / 9, scores[1] / 9)})
    result = detection_metrics(*scores)
    texts = drawn(figure)
    assert any(t.startswith(f"ours: EER {100 * result.eer:.2f} %, minDCF {result.min_dcf:.4f}") for t in texts)
    markers = {line.get_marker(): line.get_xydata()[0] for line in figure.axes[0].lines[:4]
               if line.get_marker() != "None"}
    frr, far = np.mean(scores[0] <= result.eer_threshold), np.mean(scores[1] > result.eer_threshold)
    assert markers["o"] == pytest.approx(ndtri([far, frr]))
    bayes = result.act_dcf_threshold
    assert markers["^"] == pytest.approx(ndtri([np.mean(scores[1] >= bayes), np.mean(scores[0] < bayes)]))
    limits = figure.axes[0].get_xlim()
    assert all(limits[0] < x < limits[1] for point in markers.values() for x in point)


def test_a_det_line_of_many_trials_stays_small():
    rng = np.random.default_rng(0)
    many = 2 + 2 * rng.standard_normal(20_000), -2 + 2 * rng.standard_normal(80_000)
    line = score_plots.det_plot({"x": many}).axes[0].lines[0].get_xydata()
    assert 200 < len(line) < 8000
    for far in (0.01, 0.2, 0.5):  # and still passes where the rates say
        frr = np.mean(many[0] <= np.quantile(many[1], 1 - far))
        assert np.abs(line - ndtri([far, frr])).max(axis=1).min() < 0.02


def test_bayes_plot_meets_the_dcfs(scores):
    figure = score_plots.bayes_error_plot({"raw": scores})
    result = detection_metrics(*scores)
    actual, lowest = (line.get_xydata() for line in figure.axes[0].lines[:2])
    at = np.argmin(abs(actual[:, 0] + result.act_dcf_threshold))
    assert actual[at, 1] == pytest.approx(result.act_dcf, abs=0.03) and np.all(lowest[:, 1] <= actual[:, 1] + 1e-12)
    assert "operating point (P(spoof) 0.05, C_fa/C_miss 10)" in drawn(figure)


def test_reliability_of_true_llrs_is_the_diagonal():
    rng = np.random.default_rng(1)
    llrs = 2 + 2 * rng.standard_normal(20_000), -2 + 2 * rng.standard_normal(60_000)
    figure = score_plots.reliability_plot({"half": (llrs[0] / 2, llrs[1] / 2), "true": llrs})
    half, true = (line.get_xydata() for line in figure.axes[0].lines if line.get_marker() == "o")
    assert len(true) > 10 and np.abs(true[:, 0] - true[:, 1]).max() < 0.02
    assert np.abs(half[:, 0] - half[:, 1]).max() > 0.1
    assert "stated probability of bona fide" in drawn(figure)


def test_histogram_by_class_and_attack(scores):
    attacks = [f"A{i % 12:02d}" for i in range(1000)]
    texts = drawn(score_plots.score_histogram(*scores, attacks, {"EER": 0.1}))
    assert {"spoof (1000)", "bona fide (400)", "EER threshold 0.1"} <= set(texts)
    figure = score_plots.score_histogram(*scores, attacks)
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()][:2] == ["bona fide", "A00"]
    assert len(score_plots.score_histogram(*scores).axes) == 1


def test_speaker_trials_are_called_so(scores):
    speakers = ("target", "nontarget")
    texts = {text for figure in (score_plots.det_plot({"x": scores}, classes=speakers),
                                 score_plots.score_histogram(*scores, classes=speakers),
                                 score_plots.bayes_error_plot({"raw": scores}, classes=speakers),
                                 score_plots.reliability_plot({"raw": scores}, speakers)) for text in drawn(figure)}
    assert {"false alarm rate: nontarget accepted (%)", "target (400)", "score (higher: more target)",
            "stated probability of target", "effective prior log odds of target"} <= texts
    assert not [text for text in texts if "spoof" in text or "bona fide" in text]


def test_confusion_in_per_cent_of_the_true_class():
    figure = score_plots.confusion_plot(np.array([[3, 1], [0, 0]]), ["ang", "hap"])
    assert {"predicted", "true (utterances)"} <= set(drawn(figure))
    assert [text.get_text() for text in figure.axes[0].texts] == ["75", "25", "-", "-"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["ang (4)", "hap (0)"]


def test_bars_are_sorted_and_limited(scores):
    trials = Trials([""] * 1400, np.concatenate(scores), np.arange(1400) < 400)
    column = ["-"] * 400 + [f"A{i % 50:02d}" for i in range(1000)]
    result = evaluate_detection(trials, {"attack": column})
    figure = score_plots.breakdown_bars(result["breakdown"]["attack"], "attack", result["eer"],
                                  intervals={"A00": (0.1, 0.2)})
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    eers = sorted((100 * v["eer"] for v in result["breakdown"]["attack"]["values"].values()), reverse=True)
    assert widths == pytest.approx(eers[:40])
    texts = drawn(figure)
    assert f"pooled {100 * result['eer']:.3f}" in texts and "attack, the worst 40 of 50" in texts and "EER %" in texts


def test_odd_scores_are_drawn_too():
    tied = np.zeros(3), np.zeros(4)
    tiny = np.array([1.0]), np.array([0.0])
    for pair in (tied, tiny, (np.array([-800.0, 800.0]), np.array([-800.0, 700.0]))):
        for figure in (score_plots.det_plot({"x": pair}), score_plots.score_histogram(*pair, ["A"] * len(pair[1])),
                       score_plots.bayes_error_plot({"x": pair}), score_plots.reliability_plot({"x": pair})):
            assert drawn(figure)
