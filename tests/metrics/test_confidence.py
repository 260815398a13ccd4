import numpy as np
import pytest

from wedefense.metrics import confidence
from wedefense.metrics.confidence import bootstrap, compare, eer_interval, holm, interval, wilson
from wedefense.metrics.detection import DetectionCosts, detection_metrics
from wedefense.utils.errors import InputError


def draw(seed, n_bonafide=60, n_spoof=140, decimals=None):
    rng = np.random.default_rng(seed)
    is_bonafide = rng.permutation(np.arange(n_bonafide + n_spoof) < n_bonafide)
    scores = np.where(is_bonafide, 1.0, -1.0) + 1.2 * rng.standard_normal(is_bonafide.size)
    return (scores if decimals is None else scores.round(decimals)), is_bonafide


def spelled_out(scores, is_bonafide, weights, costs):
    again = np.repeat(scores, weights), np.repeat(is_bonafide, weights)
    result = detection_metrics(again[0][again[1]], again[0][~again[1]], costs)
    return [getattr(result, metric) for metric in confidence.BOOTSTRAPPED]


@pytest.mark.parametrize("decimals", [None, 0])
def test_a_resample_is_worth_its_trials(decimals):
    scores, is_bonafide = draw(1, decimals=decimals)
    costs = DetectionCosts(0.3, 2, 5)
    ranked = confidence._Ranked(scores[is_bonafide], scores[~is_bonafide], costs)
    for seed in range(20):
        weights = np.random.default_rng(seed).poisson(0.8, scores.size)
        got = ranked.metrics(weights[is_bonafide][ranked.bonafide_order], weights[~is_bonafide][ranked.spoof_order])
        assert got == pytest.approx(spelled_out(scores, is_bonafide, weights, costs), abs=1e-12)


def test_groups_are_drawn_whole(monkeypatch):
    scores, is_bonafide = draw(2)
    groups = [f"s{i % 7}" for i in range(scores.size)]
    drawn = []
    rng_draw = confidence._Sampler.draw
    monkeypatch.setattr(confidence._Sampler, "draw", lambda self, n: drawn.append(rng_draw(self, n)) or drawn[-1])
    samples = bootstrap(scores, is_bonafide, groups, resamples=5, seed=3)
    order = np.concatenate([rows[np.argsort(scores[rows], kind="stable")]
                            for rows in (np.flatnonzero(is_bonafide), np.flatnonzero(~is_bonafide))])
    for number, weights in enumerate(drawn):
        times = np.empty(scores.size, int)
        times[order] = np.concatenate(weights)
        by_group = [set(times[i::7]) for i in range(7)]
        assert all(len(x) == 1 for x in by_group) and sum(x.pop() for x in by_group) == 7
        expected = spelled_out(scores, is_bonafide, times, DetectionCosts())
        assert [samples[metric][number] for metric in confidence.BOOTSTRAPPED] == pytest.approx(expected, abs=1e-12)


def test_intervals_cover_the_truth():
    # Two normal classes at +-1 with variance 1: the true EER is Phi(-1) = 0.158655.
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        is_bonafide = np.arange(900) < 300
        scores = np.where(is_bonafide, 1.0, -1.0) + rng.standard_normal(900)
        low, high = interval(bootstrap(scores, is_bonafide, resamples=200, seed=seed)["eer"])
        covered += low <= 0.158655 <= high
    assert covered >= 51  # 95 % of 60 is 57; fewer than 51 has a chance below 1 %


def test_same_seed_same_samples():
    scores, is_bonafide = draw(4)
    first, again, other = (bootstrap(scores, is_bonafide, resamples=8, seed=s)["cllr"] for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first[:3], bootstrap(scores, is_bonafide, resamples=3, seed=1)["cllr"])


def test_paired_comparison():
    scores, is_bonafide = draw(5, 300, 700)
    worse = scores + 1.5 * np.random.default_rng(0).standard_normal(scores.size)
    found = {d.metric: d for d in compare([scores, worse], is_bonafide, resamples=200)[0]}
    result = [detection_metrics(s[is_bonafide], s[~is_bonafide]) for s in (scores, worse)]
    for metric, d in found.items():
        assert (d.a, d.b) == pytest.approx([getattr(r, metric) for r in result], abs=1e-12)
    eer = found["eer"]
    assert 0 < eer.interval.low < eer.value < eer.interval.high and eer.p_value <= 0.01
    # Order-preserving changes leave the EER untouched, and one resample serves both systems.
    same = {d.metric: d for d in compare([scores, 3 * scores + 1], is_bonafide, resamples=50)[0]}
    assert same["eer"].interval == (0, 0) and same["eer"].p_value == 1
    # A third system changes nothing of the second but what its p-value is corrected for.
    both = compare([scores, worse, 3 * scores + 1], is_bonafide, resamples=200)
    eers = [next(d for d in each if d.metric == "eer") for each in both]
    assert eers[0].interval == eer.interval and eers[0].p_value == eer.p_value == eer.p_holm
    assert [d.p_holm for d in eers] == [2 * eer.p_value, 1]


def test_holm_by_hand():
    # Ascending .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, and never below one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []


def test_paired_samples_are_those_of_each_system():
    scores, is_bonafide = draw(6)
    other = draw(7)[0]
    pair = confidence._samples([scores, other], is_bonafide, None, DetectionCosts(), 4, 0)
    alone = confidence._samples([scores, scores], is_bonafide, None, DetectionCosts(), 4, 0)
    assert np.array_equal(pair[0], alone[0]) and np.allclose(alone[0], alone[1], atol=1e-12, rtol=0)


def test_bad_requests():
    scores, is_bonafide = draw(8)
    with pytest.raises(InputError, match="at least 1"):
        bootstrap(scores, is_bonafide, resamples=0)
    with pytest.raises(InputError, match="two groups"):
        bootstrap(scores, is_bonafide, ["one"] * scores.size)
    with pytest.raises(InputError, match="must be the same"):
        compare([scores, scores[1:]], is_bonafide)


def test_an_eer_of_few_files_has_an_interval_that_covers():
    """Of draws from scores whose EER is known, 95 % or more have it inside; without errors the width is not zero."""
    from scipy.stats import norm

    rng, truth, inside = np.random.default_rng(3), norm.sf(1.0), 0
    for _ in range(200):
        bonafide, spoof = rng.normal(1, 1, 60), rng.normal(-1, 1, 12)
        found = detection_metrics(bonafide, spoof)
        low, high = eer_interval(bonafide, spoof, found.eer_threshold)
        assert low <= found.eer <= high
        inside += low <= truth <= high
    assert inside >= 186
    assert eer_interval(np.ones(150), -np.ones(6), 0.0) == pytest.approx((0, 0.1956), abs=1e-3)
    assert eer_interval(np.ones(9), np.zeros(9), 0.5).high == pytest.approx(2 ** 0.5 * wilson(np.zeros(1), 9)[1][0] / 2)


def test_wilson_is_that_of_scipy():
    from scipy.stats import binomtest

    for count, trials in ((0, 7), (3, 7), (7, 7), (40, 1000)):
        expected = binomtest(count, trials).proportion_ci(0.9, "wilson")
        low, high = wilson(np.array([count / trials]), trials, 0.9)
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))
