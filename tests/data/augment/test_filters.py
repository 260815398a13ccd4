import numpy as np
import pytest

from wedefense.config.augment import LowPassOptions, Setting, TelephoneOptions
from wedefense.data.augment.channels import LowPass, Telephone
from wedefense.data.augment.filters import filter_long, filter_sum, limit_peak
from wedefense.utils.errors import InputError

RATE = 16000


def white(samples, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * np.float32(0.1)


def moved(full, advance, samples):
    """`samples` of a full convolution from `advance` on, zeros past its end."""
    return np.pad(full, (0, advance + samples))[advance:advance + samples]


@pytest.mark.parametrize("samples", [1, 40, 511, 5000])
def test_filter_sum_is_a_sum_of_convolutions(samples):
    signals = [white(samples, i) for i in range(3)]
    filters = [white(taps, 9 + taps) for taps in (1, 31, 200)]
    advances = [0, 16, 3]
    plain = sum(moved(np.convolve(x, b), a, samples) for x, b, a in zip(signals, filters, advances))
    assert np.allclose(filter_sum(signals, filters, advances), plain, atol=1e-6)


@pytest.mark.parametrize("taps, advance", [(1, 0), (900, 100), (3000, 2999)])
def test_filter_long_is_a_convolution(taps, advance):
    wav, response = white(1000), white(taps, 1)
    assert np.allclose(filter_long(wav, response, advance), moved(np.convolve(wav, response), advance, 1000), atol=1e-6)


def test_limit_peak():
    assert limit_peak(np.array([0.5, -2.0])).tolist() == [0.25, -1]
    assert limit_peak(np.array([0.5, -1.0])).tolist() == [0.5, -1]


def tone(frequency, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)


def level(step, frequency, rng=None):
    """dB by which a tone comes through, away from the ends."""
    heard = step(tone(frequency), rng)
    assert heard.shape == (RATE,)
    return 10 * np.log10(2 * np.mean(heard[2000:-2000] ** 2) + 1e-20)


def test_telephone_band():
    line = Telephone(TelephoneOptions(), Setting(RATE))
    assert all(abs(level(line, f)) < 0.2 for f in (450, 1000, 3200))
    assert all(level(line, f) < -40 for f in (100, 3600, 6000))
    assert np.abs(line(tone(1000), None) - tone(1000))[2000:-2000].max() < 0.02  # no delay


def test_low_pass_cutoffs_cover_their_range():
    low_pass = LowPass(LowPassOptions(min_cutoff=2000, max_cutoff=6000), Setting(RATE))
    through = [level(low_pass, 4000, np.random.default_rng(seed)) for seed in range(60)]
    closed, open_ = np.mean(np.array(through) < -40), np.mean(np.abs(through) < 0.2)
    assert 0.3 < closed < 0.7 and 0.3 < open_ < 0.7 and closed + open_ > 0.8
    assert all(abs(level(low_pass, 1500, np.random.default_rng(s))) < 0.2 for s in range(5))
    assert all(level(low_pass, 6500, np.random.default_rng(s)) < -40 for s in range(5))


def test_frequencies_that_the_sample_rate_cannot_hold():
    with pytest.raises(InputError, match="max_cutoff: 7000 Hz is not below half the sample rate"):
        LowPass(LowPassOptions(), Setting(8000))
    with pytest.raises(InputError, match="telephone: high"):
        Telephone(TelephoneOptions(), Setting(6000))
