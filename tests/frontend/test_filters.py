import math

import pytest
import torch

from wedefense.frontend.filters import cosines, linear_filters, mel_filters, slopes


def test_filters_by_hand():
    """Of 8 samples at 8 kHz: bins at 0, 1, 2, 3 and 4 kHz; three triangles with tops at 1, 2 and 3 kHz."""
    assert linear_filters(3, 8, 8000).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    top = 1127 * math.log(1 + 4000 / 700)                        # one triangle on the mel scale, from 0 to 4 kHz
    at = [1127 * math.log(1 + hertz / 700) / top for hertz in (1000, 2000, 3000)]
    expected = [2 * min(place, 1 - place) for place in at]
    assert mel_filters(1, 8, 8000, lowest=0)[:, 0].tolist() == pytest.approx([0, *expected, 0])


def test_they_are_made_where_no_numbers_are():
    """As `with torch.device("meta")` builds a detector to learn its shapes."""
    with torch.device("meta"):
        assert mel_filters(80, 512, 16000).shape == (257, 80) and linear_filters(20, 512, 16000).shape == (257, 20)
        assert cosines(20, 13).shape == (20, 13)


def test_cosines_and_slopes_by_hand():
    assert cosines(2, 2).tolist() == [pytest.approx([2 ** -0.5, 2 ** -0.5]), pytest.approx([2 ** -0.5, -(2 ** -0.5)])]
    line = torch.tensor([0.0, 3, 6, 9, 12, 15])[None, :, None]   # (1, 6, 1)
    assert slopes(line)[0, :, 0].tolist() == pytest.approx([1.5, 2.4, 3, 3, 2.4, 1.5])


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_they_are_those_of_torchaudio(rate):
    """Which computes them in float32: to the fifth digit."""
    torchaudio = pytest.importorskip("torchaudio")
    mel, _ = torchaudio.compliance.kaldi.get_mel_banks(80, 1024, float(rate), 20.0, 0.0, 100.0, -500.0, 1.0)
    torch.testing.assert_close(mel_filters(80, 1024, rate)[:-1].T, mel, atol=5e-5, rtol=0)
    linear = torchaudio.functional.linear_fbanks(513, 0.0, rate / 2, 20, rate)
    torch.testing.assert_close(linear_filters(20, 1024, rate), linear, atol=5e-5, rtol=0)
    torch.testing.assert_close(cosines(40, 20), torchaudio.functional.create_dct(20, 40, "ortho"), atol=1e-5, rtol=0)
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slopes(x.mT).mT, torchaudio.functional.compute_deltas(x))
