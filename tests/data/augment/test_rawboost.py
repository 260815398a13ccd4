"""RawBoost against its published formulas on the same numbers, and by its statistics."""

import numpy as np
import pytest
from scipy.signal import firwin, freqz, welch

from tools.bench import published_rawboost as published
from wedefense.config.augment import RawBoostOptions, Setting
from wedefense.data.augment.rawboost import (
    Notches,
    RawBoost,
    convolutive,
    draw_notches,
    impulsive,
    notch_filters,
    stationary,
)

RATE = 16000


def speechlike(samples=8000, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(samples) * 0.2 * np.hanning(samples)).astype(np.float32)


def as_published(notches: Notches, i: int) -> published.Filter:
    return published.Filter(list(zip(notches.centres[i], notches.widths[i], notches.taps[i])), notches.gains[i])


def boost(wav, seed=0, rate=RATE, **options):
    return RawBoost(RawBoostOptions(**options), Setting(rate))(wav, np.random.default_rng(seed))


def expected(wav, options, seed):
    """The published algorithm on the numbers that ours draws from `seed`."""
    rng = np.random.default_rng(seed)
    wav = wav.astype(np.float64)

    def filters(gains):
        notches = draw_notches(options, RATE, gains, rng)
        return [as_published(notches, i) for i in range(len(gains))]

    def one(x):
        return published.convolutive(x, filters([(0, 0)] + [(-5, -20)] * 4), RATE)

    def two(x):
        share = rng.random() * options.P / 100
        places = rng.choice(len(x), int(len(x) * share), replace=False, shuffle=False)
        unit = rng.random((2, len(places)), dtype=np.float32)
        return published.impulsive(x, places, *unit, options.g_sd)

    def three(x):
        white = rng.standard_normal(len(x), dtype=np.float32)
        (numbers,) = filters([(0, 0)])
        return published.stationary(x, white, numbers, 10 + 30 * rng.random(), RATE)

    if options.algo == 8:
        return published.normalise(one(wav) + two(wav))
    for step in {1: (one,), 2: (two,), 3: (three,), 4: (one, two, three), 5: (one, two), 6: (one, three),
                 7: (two, three)}.get(options.algo, ()):
        wav = step(wav)
    return wav


@pytest.mark.parametrize("algo", range(9))
@pytest.mark.parametrize("scale", [0.3, 4.0])  # the second makes every peak exceed 1
def test_equals_the_published_formula_on_the_same_numbers(algo, scale):
    wav = speechlike() * np.float32(scale)
    before = wav.copy()
    ours = boost(wav, seed=algo, algo=algo)
    assert ours.dtype == np.float32 and np.array_equal(wav, before)
    theirs = expected(wav, RawBoostOptions(algo=algo), seed=algo)
    assert np.abs(ours - theirs).max() < 2e-5 * max(1, np.abs(theirs).max())
    assert algo == 0 or not np.allclose(ours, wav, atol=1e-3)


def test_one_notch_is_scipys_window_design():
    notches = Notches(*(np.array([[v]]) for v in (3000.0, 600.0, 101)), gains=np.array([-6.0]))
    (taps,) = notch_filters(notches, RATE)
    plain = firwin(101, [2700, 3300], window="hamming", fs=RATE)
    assert np.allclose(taps, plain * 10 ** (-6 / 20) / np.abs(freqz(plain)[1]).max(), atol=1e-12)


def test_notches_lie_where_they_are_drawn_and_the_largest_gain_is_the_drawn_one():
    options = RawBoostOptions(nBands=2, minF=500, maxF=7500, minBW=600, minCoeff=99)
    rng = np.random.default_rng(1)
    notches = draw_notches(options, RATE, [(0, 0), (-20, -5), (3, 3)], rng)
    for taps, centres, gain in zip(notch_filters(notches, RATE), notches.centres, notches.gains):
        response = 20 * np.log10(np.abs(freqz(taps, 1, worN=512, fs=RATE)[1]))
        assert response.max() == pytest.approx(gain, abs=1e-6)
        at = 20 * np.log10(np.abs(freqz(taps, 1, worN=centres, fs=RATE)[1]))
        assert (at < gain - 15).all()


def test_the_notches_are_seen_in_the_sound():
    white = np.random.default_rng(0).standard_normal(1 << 17).astype(np.float32) * 0.1
    notches = Notches(np.array([[2000.0, 5000.0]]), np.full((1, 2), 800.0), np.full((1, 2), 99), np.zeros(1))
    frequency, density = welch(convolutive(white, notch_filters(notches, RATE)), RATE, nperseg=512)
    level = 10 * np.log10(density / np.median(density))
    for centre in (2000, 5000):
        assert level[np.abs(frequency - centre).argmin()] < -15
    assert np.abs(level[(frequency > 3000) & (frequency < 4000)]).max() < 2


def test_drawn_numbers_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    notches = draw_notches(RawBoostOptions(), RATE, [(0, 0)] * 400 + [(-5, -20)] * 400, rng)
    for drawn, low, high in ((notches.centres, 20, 8000), (notches.widths, 100, 1000), (notches.taps, 11, 99),
                             (notches.gains[400:], -20, -5)):
        assert low <= drawn.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < drawn.max() <= high
    assert (notches.taps % 2 == 1).all() and not notches.gains[:400].any()
    low_rate = draw_notches(RawBoostOptions(), 8000, [(0, 0)] * 400, rng)
    assert low_rate.centres.max() < 4000
    assert np.isfinite(boost(speechlike(), rate=8000, algo=4)).all()


def test_order_one_is_linear_and_the_higher_orders_are_not():
    wav = speechlike()
    for order, linear in ((1, True), (3, False)):
        louder, quieter = (boost(wav * np.float32(g), algo=1, N_f=order) for g in (0.5, 0.25))
        assert np.allclose(louder, 2 * quieter, atol=1e-6) == linear


def test_impulses_hit_only_the_drawn_samples_and_are_bounded():
    wav = speechlike(20_000) * np.float32(0.3)  # no peak comes near 1
    shares = []
    for seed in range(40):
        changed = np.flatnonzero(boost(wav, seed=seed, algo=2) != wav)
        shares.append(len(changed) / len(wav))
        factor = boost(wav, seed=seed, algo=2)[changed] / wav[changed] - 1
        assert (np.abs(factor) <= 2 + 1e-4).all()
    assert max(shares) <= 0.1 and min(shares) < 0.02 and 0.035 < np.mean(shares) < 0.065
    places = np.array([3, 50])
    y = impulsive(wav, places, np.array([0.5, -2.0], np.float32))
    assert np.flatnonzero(y != wav).tolist() == [3, 50]
    assert y[places] == pytest.approx(wav[places] * [1.5, -1.0])


def test_impulse_factors_are_products_of_two_uniform_numbers():
    wav = np.full(200_000, 0.1, np.float32)  # peaks stay under 1
    y = boost(wav, algo=2, P=100)
    factor = y[y != wav] / 0.1 - 1
    assert np.mean(factor) == pytest.approx(0, abs=0.02)
    assert np.var(factor) == pytest.approx(4 / 9, rel=0.03)  # g_sd^2 * (1/3)^2


def test_stationary_noise_keeps_its_snr_and_its_range():
    wav = speechlike()
    drawn = []
    for seed in range(60):
        noise = boost(wav, seed=seed, algo=3) - wav
        drawn.append(10 * np.log10(np.dot(wav, wav) / np.dot(noise, noise)))
    assert 9.99 <= min(drawn) < 13 and 37 < max(drawn) <= 40.01
    noise = stationary(wav, np.random.default_rng(0).standard_normal(len(wav)), np.ones(1), 17.0) - wav
    assert 10 * np.log10(np.dot(wav, wav) / np.dot(noise, noise)) == pytest.approx(17, abs=0.01)


@pytest.mark.parametrize("samples", [1, 7, 300, 16001])
@pytest.mark.parametrize("algo", [4, 8])
def test_any_length_and_silence(samples, algo):
    assert boost(speechlike(samples), algo=algo).shape == (samples,)
    assert not boost(np.zeros(samples, np.float32), algo=algo).any()
