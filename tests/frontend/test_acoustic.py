import pytest
import torch

from wedefense.config.frontend import FbankOptions, LfccDecibelOptions, LfccOptions
from wedefense.frontend.acoustic import Fbank, Lfcc, LfccDecibel


def speech_like(samples, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(samples, generator=g).cumsum(0).mul(0.01).tanh() * 0.3


@pytest.fixture
def torchaudio():
    return pytest.importorskip("torchaudio")


def test_fbank_equals_torchaudio(torchaudio):
    wav = speech_like(16000)
    ours = Fbank(FbankOptions(), 16000).eval()(wav[None], torch.tensor([16000]))
    peer = torchaudio.compliance.kaldi.fbank(wav[None] * 32768, num_mel_bins=80, dither=0.0, window_type="hamming",
                                             use_energy=False, sample_frequency=16000)
    assert ours.lengths.tolist() == [len(peer)]
    torch.testing.assert_close(ours.layers[0][0], peer, atol=2e-3, rtol=1e-4)


def test_lfcc_equals_torchaudio(torchaudio):
    wav = speech_like(12000)
    ours = Lfcc(LfccOptions(), 16000).eval()(wav[None], torch.tensor([12000]))
    peer = torchaudio.transforms.LFCC(16000, n_filter=20, n_lfcc=20, log_lf=True, speckwargs={
        "n_fft": 512, "win_length": 320, "hop_length": 160, "center": False})(wav)
    torch.testing.assert_close(ours.layers[0][0, :, :20].T, peer, atol=1e-4, rtol=0)
    first = torchaudio.functional.compute_deltas(peer)
    torch.testing.assert_close(ours.layers[0][0].T,
                               torch.cat([peer, first, torchaudio.functional.compute_deltas(first)]), atol=1e-4, rtol=0)


def test_lfcc_in_decibels_equals_torchaudio(torchaudio):
    """torchaudio's defaults, on 16-bit scale, with near silence whose decibels are raised."""
    wav = speech_like(12000)
    wav[4000:8000] *= 1e-8
    ours = LfccDecibel(LfccDecibelOptions(), 16000).eval()(wav[None], torch.tensor([12000]))
    peer = torchaudio.transforms.LFCC(16000, n_lfcc=20, speckwargs={
        "n_fft": 512, "win_length": 320, "hop_length": 160, "center": False})(wav[None] * 32768)[0].T
    first = torchaudio.functional.compute_deltas(peer)  # of coefficients, as WeDefense has it
    torch.testing.assert_close(ours.layers[0][0],
                               torch.cat([peer, first, torchaudio.functional.compute_deltas(first)], dim=1),
                               atol=5e-4, rtol=0)


@pytest.mark.parametrize("frontend", [Fbank(FbankOptions(), 16000), Lfcc(LfccOptions(), 16000),
                                      LfccDecibel(LfccDecibelOptions(), 16000)])
def test_an_utterance_alone_and_in_a_padded_batch_is_the_same(frontend):
    frontend.eval()
    lengths = torch.tensor([9000, 16000, 3000])
    wav = torch.zeros(3, 16000)
    for row, length in enumerate(lengths):
        wav[row, :length] = speech_like(int(length), row)
    batch = frontend(wav, lengths)
    for row, length in enumerate(lengths):
        alone = frontend(wav[row:row + 1, :length], lengths[row:row + 1])
        frames = int(batch.lengths[row])
        assert frames == int(alone.lengths[0]) == alone.layers[0].shape[1]
        torch.testing.assert_close(batch.layers[0][row, :frames], alone.layers[0][0], atol=1e-4, rtol=1e-4)


def test_dither_is_for_training_only():
    frontend, wav, lengths = Fbank(FbankOptions(), 16000), torch.zeros(1, 8000), torch.tensor([8000])
    frontend.train()
    assert not torch.equal(frontend(wav, lengths).layers[0], frontend(wav, lengths).layers[0])
    frontend.eval()
    assert torch.equal(frontend(wav, lengths).layers[0], frontend(wav, lengths).layers[0])
    assert not frontend.state_dict()
