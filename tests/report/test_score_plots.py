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
    assert f"pooled {100 * result['eer']:.1f}" in texts and "attack, the worst 40 of 50" in texts and "EER %" in texts


def test_odd_scores_are_drawn_too():
    tied = np.zeros(3), np.zeros(4)
    tiny = np.array([1.0]), np.array([0.0])
    for pair in (tied, tiny, (np.array([-800.0, 800.0]), np.array([-800.0, 700.0]))):
        for figure in (det_plot({"x": pair}), score_plots.score_histogram(*pair, ["A"] * len(pair[1])),
                       calibration_plots.bayes_error_plot({"x": pair}), calibration_plots.reliability_plot({"x": pair}),
                       calibration_plots.before_and_after({"x": pair})):
            assert drawn(figure)


def by_attack(eers):
    return {"values": {name: {"eer": eer, "eer_interval": ends} for name, (eer, *ends) in eers.items()}}


def whiskers(axes):
    return [line.get_xdata().tolist() for line in axes.lines
            if len(line.get_xdata()) == 2 and line.get_label().startswith("_")]


def test_bars_have_intervals_and_no_more_decimals_than_few_files_give():
    found = by_attack({"A1": (0.1, 0.05, 0.2), "A2": (0.254, 0.2, 0.4)})
    figure = score_plots.breakdown_bars(found, "attack", 0.15)
    assert whiskers(figure.axes[0]) == [pytest.approx([20, 40]), pytest.approx([5, 20])]
    assert [text.get_text() for text in figure.axes[0].texts] == ["25.4", "10.0"]
    assert "A2 25.4 (20.0 to 40.0), A1 10.0 (5.0 to 20.0); pooled 15.0" in figure.get_label()
    assert "pooled 15.0" in drawn(figure)


def test_parts_of_durations_stand_in_their_order():
    found = by_attack({"1 to 2 s": (0.3, 0.2, 0.4), "2 to 3 s": (0.1, 0.0, 0.2)})
    figure = score_plots.parts_plot(found, "duration", 0.2)
    axes, = figure.axes
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([30, 10])
    assert [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()] == [
        pytest.approx([20, 40]), pytest.approx([0, 20])]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\nto 2 s", "2\nto 3 s"]
    assert "1 to 2 s 30.0 (20.0 to 40.0)" in figure.get_label() and "duration" in drawn(figure)


def test_tenths_of_the_scores_hold_their_errors():
    bonafide, spoof = np.arange(10.0, 30), np.arange(0.0, 20) + 0.5    # 40 trials, four in each tenth
    figure = score_plots.decile_plot(bonafide, spoof, 14.7)            # rejects 10 to 14, accepts 15.5 to 19.5 spoofs
    heights = np.array([bar.get_height() for bar in figure.axes[0].patches]).reshape(10, 2)
    assert heights[:, 0].tolist() == [0, 0, 25, 50, 50, 0, 0, 0, 0, 0]   # 10 | 11 12 | 13 14
    assert heights[:, 1].tolist() == [0, 0, 0, 0, 0, 50, 50, 25, 0, 0]   # 15.5 16.5 | 17.5 18.5 | 19.5
    assert "0, 0, 25, 50, 50, 50, 50, 25, 0, 0" in figure.get_label()
    assert {"bona fide rejected", "spoof accepted", "threshold 14.7"} <= set(drawn(figure))
