import numpy as np
import pytest

from wedefense.metrics.tandem import AsvRates, TandemCosts, a_dcf, asv_rates, min_tdcf, t_eer
from wedefense.utils.errors import InputError, OptionError


def draw(seed, decimals=None):
    rng = np.random.default_rng(seed)
    sizes, means = (30, 40, 50), ((2, 2), (-2, 2), (1, -2))
    classes = [rng.normal(mean, 1.5, (size, 2)) for size, mean in zip(sizes, means)]
    return [c if decimals is None else c.round(decimals) for c in classes]  # (trials, [asv, cm])


def candidates(*scores):
    return np.concatenate(([-np.inf], np.unique(np.concatenate(scores))))


@pytest.mark.parametrize("seed, decimals", [(0, None), (1, 0)])
def test_a_dcf_by_brute_force(seed, decimals):
    tar, non, spf = (c[:, 0] for c in draw(seed, decimals))
    costs = TandemCosts(0.8, 0.15, 0.05, 2, 3, 7)
    brute = min(1.6 * np.mean(tar <= t) + 0.45 * np.mean(non > t) + 0.35 * np.mean(spf > t)
                for t in candidates(tar, non, spf)) / min(0.45 + 0.35, 1.6)
    point = a_dcf(tar, non, spf, costs)
    assert point.value == pytest.approx(brute, abs=1e-12)
    at = 1.6 * np.mean(tar <= point.threshold) + 0.45 * np.mean(non > point.threshold) + 0.35 * np.mean(
        spf > point.threshold)
    assert at / 0.8 == pytest.approx(brute, abs=1e-12)


def test_a_dcf_by_hand():
    # Accepting 3 and 4 only: the nontarget at 3.5 passes, nothing is missed.
    assert a_dcf([3, 4], [3.5, 0], [1, -1]).value == pytest.approx(0.0095 * 10 / 2 / 0.595, abs=1e-12)
    assert a_dcf([1.0], [1.0], [1.0]).value == 1.0


@pytest.mark.parametrize("legacy", [False, True])
def test_min_tdcf_by_brute_force(legacy):
    bona, spoof = np.concatenate([c[:, 1] for c in draw(2)[:2]]), draw(2)[2][:, 1]
    asv = AsvRates(0.03, 0.04, 0.5)
    c0 = 0.9405 * 0.03 + 0.0095 * 10 * 0.04
    c1, c2 = 0.9405 - c0, 0.05 * 10 * 0.5
    floor = 0 if legacy else c0
    brute = min(floor + c1 * np.mean(bona <= t) + c2 * np.mean(spoof > t) for t in candidates(bona, spoof))
    assert min_tdcf(bona, spoof, asv, legacy=legacy).value == pytest.approx(brute / (floor + min(c1, c2)), abs=1e-12)


def test_min_tdcf_by_hand():
    asv = AsvRates(miss=0.1, fa_nontarget=0.2, fa_spoof=0.5)
    # The ASV system alone costs 0.9405 x 0.1 + 0.095 x 0.2 = 0.11305, a miss of the CM 0.9405 - 0.11305, an accepted
    # spoof 0.5 x 0.5 = 0.25. The best threshold, 0, misses nothing and accepts one spoof of two: 0.125.
    assert min_tdcf([1, 2], [0, 1.5], asv, legacy=True) == (pytest.approx(0.125 / 0.25, abs=1e-12), 0)
    assert min_tdcf([1, 2], [0, 1.5], asv).value == pytest.approx((0.11305 + 0.125) / (0.11305 + 0.25), abs=1e-12)


def test_t_eer_by_hand():
    # The ASV system accepts every spoof; above 0 it accepts 1 nontarget of 4. The CM, above 0, lets 1 spoof of 4 pass.
    found = t_eer([1] * 4, [0, 0, 0, 1], [1, 2, 3, 4], [0, 0, 0, 2.5], [5] * 4)
    assert found == (0.25, 0, 0)
    assert t_eer([1] * 4, [0] * 4, [1, 2, 3, 4], [0] * 4, [5] * 4).value == 0


def test_min_tdcf_of_a_perfect_and_a_silent_countermeasure():
    assert min_tdcf([1, 2], [0, -1], legacy=True).value == 0
    asv = AsvRates()
    alone = 0.9405 * asv.miss + 0.095 * asv.fa_nontarget
    assert min_tdcf([1, 2], [0, -1]).value == pytest.approx(alone / (alone + 0.5 * asv.fa_spoof), abs=1e-12)
    assert min_tdcf([1, 1], [1, 1]).value == pytest.approx(1, abs=1e-12)
    with pytest.raises(InputError, match="not defined"):
        min_tdcf([1], [0], AsvRates(fa_spoof=0))


def test_asv_rates_stand_at_the_eer():
    rates = asv_rates([3, 4, 5, 6], [0, 1, 2, 3.5], [1, 3, 7])  # EER threshold 3.0: one target is at it, not below
    assert (rates.miss, rates.fa_nontarget, rates.fa_spoof) == (0, 0.25, pytest.approx(2 / 3))


def brute_t_eer(cm_bona, cm_spoof, tar, non, spf, share):
    best, value = np.inf, None
    for a in candidates(tar, non, spf):
        miss_a, fa_n, fa_s = np.mean(tar <= a), np.mean(non > a), np.mean(spf > a)
        if miss_a >= (1 - share) * fa_n + share * fa_s:
            continue
        nearest = None
        for c in candidates(cm_bona, cm_spoof):
            frr, far = np.mean(cm_bona <= c), np.mean(cm_spoof > c)
            gap = abs(frr + (1 - frr) * miss_a - ((1 - share) * (1 - frr) * fa_n + share * far * fa_s))
            if nearest is None or gap < nearest[0]:
                nearest = gap, frr, far
        _, frr, far = nearest
        if fa_s > 0 and frr < 1 and abs(fa_n / fa_s - far / (1 - frr)) < best:
            best, value = abs(fa_n / fa_s - far / (1 - frr)), fa_s * far
    return value


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [None, 0])
def test_t_eer_by_brute_force(seed, decimals):
    tar, non, spf = draw(seed, decimals)
    parts = np.concatenate((tar, non))[:, 1], spf[:, 1], tar[:, 0], non[:, 0], spf[:, 0]
    assert t_eer(*parts).value == pytest.approx(brute_t_eer(*parts, 0.5), abs=1e-12)


def test_t_eer_thresholds_give_equal_rates():
    rng = np.random.default_rng(5)
    tar, non, spf = (rng.normal(m, 1, (3000, 2)) for m in ((2, 1), (-2, 1), (1.5, -1)))
    found = t_eer(np.concatenate((tar, non))[:, 1], spf[:, 1], tar[:, 0], non[:, 0], spf[:, 0])
    accepted = [np.mean((c[:, 0] > found.asv_threshold) & (c[:, 1] > found.cm_threshold)) for c in (tar, non, spf)]
    assert 1 - accepted[0] == pytest.approx(found.value, abs=0.02)
    assert accepted[1:] == pytest.approx([found.value] * 2, abs=0.02)


def test_priors_must_add_up():
    with pytest.raises(OptionError, match="add up to 1"):
        TandemCosts(p_target=0.9)
