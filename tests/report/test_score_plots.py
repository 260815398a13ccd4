import numpy as np
import pytest

from tests.report.pages import drawn
from wedefense.metrics.evaluation import evaluate_detection
from wedefense.metrics.keys import Trials
from wedefense.report import calibration_plots, score_plots
from wedefense.report.det_plot import det_plot


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    return 2 + 2 * rng.standard_normal(400), -2 + 2 * rng.standard_normal(1000)


def test_histogram_by_class_and_attack(scores):
    attacks = [f"A{i % 12:02d}" for i in range(1000)]
    texts = drawn(score_plots.score_histogram(*scores, attacks, {"EER": 0.1}))
    assert {"spoof (1000)", "bona fide (400)", "EER threshold 0.1"} <= set(texts)
    figure = score_plots.score_histogram(*scores, attacks)
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()][:2] == ["bona fide", "A00"]
    assert len(score_plots.score_histogram(*scores).axes) == 1
    medians = {name: np.median(scores[1][np.array(attacks) == name]) for name in attacks}
    nearest = max(medians, key=medians.get)
    assert f"the nearest to bona fide is {nearest} with median {medians[nearest]:.2f}" in figure.get_label()


def test_speaker_trials_are_called_so(scores):
    speakers = ("target", "nontarget")
    texts = {text for figure in (det_plot({"x": scores}, classes=speakers),
                                 score_plots.score_histogram(*scores, classes=speakers),
                                 calibration_plots.bayes_error_plot({"raw": scores}, classes=speakers),
                                 calibration_plots.reliability_plot({"raw": scores}, speakers))
             for text in drawn(figure)}
    assert {"false alarm rate: nontarget accepted (%)", "target (400)", "score (higher: more target)",
            "stated probability of target (%, log odds)", "effective prior log odds of target"} <= texts
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
    figure = score_plots.breakdown_bars(result["breakdown"]["attack"], "attack", result["eer"])
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    eers = sorted((100 * v["eer"] for v in result["breakdown"]["attack"]["values"].values()), reverse=True)
    assert widths == pytest.approx(eers[:40])
    texts = drawn(figure)
    assert f"pooled {100 * result['eer']:.3f}" in texts and "attack, the worst 40 of 50" in texts and "EER %" in texts


def test_odd_scores_are_drawn_too():
    tied = np.zeros(3), np.zeros(4)
    tiny = np.array([1.0]), np.array([0.0])
    for pair in (tied, tiny, (np.array([-800.0, 800.0]), np.array([-800.0, 700.0]))):
        for figure in (det_plot({"x": pair}), score_plots.score_histogram(*pair, ["A"] * len(pair[1])),
                       calibration_plots.bayes_error_plot({"x": pair}), calibration_plots.reliability_plot({"x": pair}),
                       calibration_plots.before_and_after({"x": pair})):
            assert drawn(figure)
