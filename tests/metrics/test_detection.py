import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from wedefense.metrics.detection import (
    DetectionCosts,
    act_dcf,
    bayes_error_rates,
    cllr,
    det_curve,
    detection_metrics,
    eer,
    min_cllr,
    min_dcf,
    pav_blocks,
    rocch_eer,
)
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.tables import read_table

OFFICIAL = Path(__file__).resolve().parents[2].parent / "shared/data/asvspoof2019_la_dev"


def random_scores(seed, n_bonafide=40, n_spoof=90, decimals=None):
    rng = np.random.default_rng(seed)
    bonafide, spoof = rng.normal(1, 1.5, n_bonafide), rng.normal(-1, 1.5, n_spoof)
    return (bonafide, spoof) if decimals is None else (bonafide.round(decimals), spoof.round(decimals))


@pytest.mark.skipif(not (OFFICIAL / "expected.json").exists(), reason="the official scores are not beside the checkout")
def test_official_values():
    scores, keys, attacks = (read_table(OFFICIAL / name) for name in ("scores.tsv", "keys.tsv", "utt2attack"))
    names = [name for name in scores if name != "filename"]
    values = np.array([float(scores[name]) for name in names])
    is_bonafide = np.array([keys[name] == "bonafide" for name in names])
    attack = np.array([attacks[name] for name in names])
    for name, expected in json.loads((OFFICIAL / "expected.json").read_text()).items():
        spoof = ~is_bonafide if name == "pooled" else attack == name
        result = asdict(detection_metrics(values[is_bonafide], values[spoof]))
        for key, value in expected.items():
            assert result[key] == pytest.approx(value, abs=1e-9, rel=0), (name, key)


def test_by_hand():
    # Thresholds at 1.0: one of four bona fide at or below it, one of five spoofs above it.
    bonafide, spoof = [1.0, 2.0, 3.0, 4.0], [-3.0, -2.0, -1.0, 0.0, 2.5]
    result = detection_metrics(bonafide, spoof)
    assert result.eer == pytest.approx((1 / 4 + 1 / 5) / 2, abs=1e-12) and result.eer_threshold == 1.0
    # 0.95 frr + 0.5 far is least at 0.0 (frr 0, far 1/5): 0.1, over min(0.95, 0.5).
    assert result.min_dcf == pytest.approx(0.2, abs=1e-12) and result.min_dcf_threshold == 0.0
    # The Bayes threshold -ln(1.9) = -0.64: no miss, 0.0 and 2.5 accepted.
    assert result.act_dcf_threshold == pytest.approx(-math.log(1.9), abs=1e-12)
    assert result.act_dcf == pytest.approx(0.4, abs=1e-12)
    bits = lambda x: math.log2(1 + math.exp(x))
    expected = (sum(bits(-x) for x in bonafide) / 4 + sum(bits(x) for x in spoof) / 5) / 2
    assert result.cllr == pytest.approx(expected, abs=1e-12)
    b, s = 2 / 4, 1 / 5  # PAV pools 1.0 and 2.0 with the spoof at 2.5; all other blocks are pure
    assert result.min_cllr == pytest.approx((b * math.log2(1 + s / b) + s * math.log2(1 + b / s)) / 2, abs=1e-12)
    assert (result.n_bonafide, result.n_spoof) == (4, 5)


@pytest.mark.parametrize("decimals", [None, 0])
def test_rates_are_what_counting_gives(decimals):
    bonafide, spoof = random_scores(1, decimals=decimals)
    curve = det_curve(bonafide, spoof)
    assert (curve.frr[0], curve.far[0]) == (0, 1) and np.all(np.diff(curve.thresholds) > 0)
    for frr, far, threshold in zip(*curve):
        assert frr == np.mean(bonafide <= threshold) and far == np.mean(spoof > threshold)
    costs = DetectionCosts(0.2, 3, 2)
    candidates = np.concatenate(([-np.inf], bonafide, spoof))
    brute = min(3 * np.mean(bonafide <= t) * 0.8 + 2 * np.mean(spoof > t) * 0.2 for t in candidates) / 0.4
    assert min_dcf(bonafide, spoof, costs) == pytest.approx(brute, abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 0])
def test_equal_to_scikit_learn(decimals):
    metrics = pytest.importorskip("sklearn.metrics")
    isotonic = pytest.importorskip("sklearn.isotonic")
    bonafide, spoof = random_scores(2, decimals=decimals)
    scores = np.concatenate((bonafide, spoof))
    labels = np.concatenate((np.ones(bonafide.size), np.zeros(spoof.size)))
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    curve = det_curve(bonafide, spoof)
    np.testing.assert_allclose(curve.far[::-1], fpr, atol=1e-12)
    np.testing.assert_allclose(curve.frr[::-1], 1 - tpr, atol=1e-12)
    posterior = 1 / (1 + np.exp(-scores))
    weight = np.where(labels == 1, 0.5 / bonafide.size, 0.5 / spoof.size)
    log_loss = metrics.log_loss(labels, posterior, sample_weight=weight) / math.log(2)
    assert cllr(bonafide, spoof) == pytest.approx(log_loss, abs=1e-9)
    fitted = isotonic.IsotonicRegression(y_min=0, y_max=1).fit_transform(scores, labels, sample_weight=weight)
    best = metrics.log_loss(labels, np.clip(fitted, 1e-15, 1 - 1e-15), sample_weight=weight) / math.log(2)
    assert min_cllr(bonafide, spoof) == pytest.approx(best, abs=1e-9)


def test_rocch_by_hand():
    # The ROC's corners (0, 1/2) and (1/2, 0) hide its step at (1/2, 1/2): the line between them crosses at 1/4.
    assert rocch_eer([1, 3], [0, 2]) == 0.25 and eer([1, 3], [0, 2]) == 0.5


def test_rocch_is_the_hull():
    bonafide, spoof = random_scores(3, 25, 30)
    curve = det_curve(bonafide, spoof)
    # The hull's EER: the worst over all lines through the origin side of the lowest weighted error.
    lowest = max(min(w * curve.frr + (1 - w) * curve.far) for w in np.linspace(0, 1, 20001))
    assert rocch_eer(bonafide, spoof) == pytest.approx(lowest, abs=1e-4)
    assert rocch_eer(spoof, bonafide) == pytest.approx(0.5, abs=1e-12)  # swapped polarity: the chance line
    assert rocch_eer([1, 2], [-1]) == 0
    counts = pav_blocks(bonafide, spoof)
    assert counts[0].sum() == 25 and counts[1].sum() == 30


def test_ties_and_single_scores():
    tied = detection_metrics([0.0] * 3, [0.0] * 5)
    assert tied.eer == 0.5 and tied.min_dcf == 1.0 and tied.cllr == 1.0 and tied.min_cllr == 1.0
    assert rocch_eer([0.0] * 3, [0.0] * 5) == 0.5
    assert eer([1.0], [0.0]) == 0 and eer([0.0], [1.0]) == 1
    assert min_dcf([1.0], [0.0]) == 0 and min_dcf([0.0], [1.0]) == 1


def test_extreme_scores_stay_finite():
    assert cllr([-800.0], [800.0]) == pytest.approx(800 / math.log(2), rel=1e-12)
    assert cllr([800.0], [-800.0]) == 0
    assert act_dcf([-800.0], [800.0]) == pytest.approx((0.95 + 0.5) / 0.5)
    curve = det_curve([1e20], [-1e20])
    assert np.all(np.diff(curve.thresholds) > 0)


def test_float32_is_computed_in_float64():
    bonafide, spoof = (x.astype(np.float32) for x in random_scores(4))
    assert detection_metrics(bonafide, spoof) == detection_metrics(bonafide.astype(float), spoof.astype(float))
    assert act_dcf(np.float32([-0.641854]), [-9.0]) == pytest.approx(1.9)  # just below -ln 1.9


def test_bayes_error_rates_meet_the_costs():
    bonafide, spoof = random_scores(5)
    costs = DetectionCosts()
    log_odds = -costs.bayes_threshold
    actual, lowest = bayes_error_rates(bonafide, spoof, [log_odds])
    assert actual[0] == pytest.approx(act_dcf(bonafide, spoof), abs=1e-12)
    assert lowest[0] == pytest.approx(min_dcf(bonafide, spoof), abs=1e-12)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="no spoof scores"):
        eer([1.0], [])
    with pytest.raises(InputError, match="2 of 3 bona fide scores are NaN or infinite"):
        cllr([1.0, math.nan, math.inf], [0.0])
    with pytest.raises(OptionError, match="p_spoof"):
        DetectionCosts(p_spoof=1.0)


def test_metrics_leave_torch_alone():
    code = ("import importlib, pkgutil, sys, wedefense.metrics as m\n"
            "[importlib.import_module(f'wedefense.metrics.{x.name}') for x in pkgutil.iter_modules(m.__path__)]\n"
            "assert not {'torch', 'matplotlib'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
