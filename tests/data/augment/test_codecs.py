"""Codecs, there and back, and what is said of those that a machine does not have."""

import os
import shutil
import stat
import sys
from textwrap import dedent

import numpy as np
import pytest

from wedefense.config.augment import CODEC_NAMES, CodecOptions, Setting
from wedefense.data.augment import codecs
from wedefense.data.augment.codecs import CODECS, Codec, Soundfile, available, through
from wedefense.utils.errors import InputError

RATE = 16000
HERE = [name for name, lack in available().items() if lack is None]


def voice(samples=9000, seed=0):
    """Harmonics of a gliding pitch under a wobbling level: something that speech codecs keep."""
    time = np.arange(samples) / RATE
    phase = 2 * np.pi * (140 * time + 20 * np.sin(4 * time))
    wav = sum(np.sin(k * phase + k) / k for k in range(1, 16)) * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * time))
    return (0.1 * wav + 1e-3 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def delay(sent, heard):
    size = 2 * len(sent)
    c = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)))
    return int((np.argmax(c) + len(sent)) % size - len(sent))


QUALITY = {"mp3": 16, "opus": 12, "aac": 16, "vorbis": 0.0, "amr_nb": 7.95, "amr_wb": 12.65}


def test_table_and_names_agree():
    assert sorted(CODECS) == sorted(CODEC_NAMES)
    assert {"mp3", "vorbis", "opus", "alaw", "ulaw", "gsm"} <= {*HERE}


@pytest.mark.parametrize("name", CODECS)
def test_there_and_back(name):
    if name not in HERE:
        pytest.skip(available()[name])
    wav = voice()
    heard = through(name, wav, RATE, QUALITY.get(name))
    assert heard.shape == wav.shape and heard.dtype == np.float32
    assert not np.array_equal(wav, heard)
    if not name.startswith("amr"):  # these keep no waveform
        assert abs(delay(wav, heard)) <= 1 and np.corrcoef(wav, heard)[0, 1] > 0.75
    late = np.concatenate([np.zeros(3000, np.float32), wav])
    onset = np.square(through(name, late, RATE, QUALITY.get(name)).reshape(-1, 200)).mean(1)  # (blocks of 200,)
    assert onset[:14].max() < 0.1 * onset[15:].mean() < 0.5 * onset[15:17].max()
    assert np.array_equal(heard, through(name, wav, RATE, QUALITY.get(name)))
    assert through(name, wav[:1], RATE, QUALITY.get(name)).shape == (1,)
    assert through(name, 9 * wav[:2000], 22050, QUALITY.get(name)).shape == (2000,)


@pytest.mark.parametrize("name, low, high", [("mp3", 16, 96), ("opus", 8, 64), ("vorbis", 0, 0.9)])
def test_more_bits_less_damage(name, low, high):
    wav = voice()
    error = [np.mean((through(name, wav, RATE, quality) - wav) ** 2) for quality in (low, high)]
    assert error[1] < error[0] / 2


def test_telephone_codecs_lose_what_lies_over_four_kilohertz():
    wav = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * np.float32(0.1)
    for name in ("alaw", "ulaw", "gsm"):
        spectrum = np.abs(np.fft.rfft(through(name, wav, RATE))) ** 2
        assert spectrum[4200:].mean() < 1e-3 * spectrum[1000:3000].mean()


def test_draws_cover_the_codecs_and_the_range(monkeypatch):
    drawn = []
    monkeypatch.setattr(codecs, "through", lambda name, wav, rate, quality: drawn.append((name, quality)))
    step = Codec(CodecOptions(mp3_kbps=(20, 30)), Setting(RATE))
    for seed in range(200):
        step(None, np.random.default_rng(seed))
    assert {name for name, _ in drawn} == {name for name in CODECS if isinstance(CODECS[name], Soundfile)}
    rates = [quality for name, quality in drawn if name == "mp3"]
    assert 20 <= min(rates) < 22 and 28 < max(rates) <= 30
    assert {quality for name, quality in drawn if name == "gsm"} == {None}


def test_the_mp3_rate_is_the_one_asked_for(monkeypatch):
    sizes, read = [], codecs.soundfile.read
    monkeypatch.setattr(codecs.soundfile, "read",
                        lambda coded, dtype: sizes.append(len(coded.getvalue())) or read(coded, dtype=dtype))
    for kbps in (16, 64, 128):
        through("mp3", np.tile(voice(), 8), RATE, kbps)
        assert sizes[-1] * 8 / 4.5 / 1000 == pytest.approx(kbps, rel=0.1)


FAKE = """\
    #!{python}
    import sys
    if "-encoders" in sys.argv:
        print(" A....D g722   G.722\\n A....D aac   AAC")
    elif "aac" in sys.argv:
        sys.exit("aac: broken on purpose")
    else:
        assert sys.argv[sys.argv.index("-ar") + 1] == "16000" and sys.argv[-1] == "pipe:1"
        sys.stdout.buffer.write(sys.stdin.buffer.read())
"""


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(dedent(FAKE).format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    codecs._ffmpeg_encoders.cache_clear()
    yield
    codecs._ffmpeg_encoders.cache_clear()


def test_ffmpeg_is_asked_for_raw_samples_both_ways(fake_ffmpeg):
    wav = voice(1000)
    assert np.array_equal(through("g722", wav, RATE), np.concatenate([wav[22:], np.zeros(22, np.float32)]))
    with pytest.raises(InputError, match="ffmpeg failed with aac: aac: broken on purpose"):
        through("aac", wav, RATE, 16)


def test_what_is_missing_is_named(fake_ffmpeg, monkeypatch):
    with pytest.raises(InputError, match="cannot do amr_nb: .*no encoder libopencore_amrnb; take .* here: .*g722"):
        Codec(CodecOptions(codecs=("mp3", "amr_nb", "g722")), Setting(RATE))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="cannot do g722: it needs the program ffmpeg, which is not installed"):
        Codec(CodecOptions(codecs=("g722",)), Setting(RATE))
    monkeypatch.setattr(codecs.soundfile, "check_format", lambda *names: "MP3" not in names)
    with pytest.raises(InputError, match=r"cannot do mp3: libsndfile .* has no MP3/MPEG_LAYER_III"):
        Codec(CodecOptions(codecs=("mp3",)), Setting(RATE))
    Codec(CodecOptions(), Setting(RATE))  # the default takes what there is
    monkeypatch.setattr(codecs.soundfile, "check_format", lambda *names: False)
    with pytest.raises(InputError, match="none of the codecs"):
        Codec(CodecOptions(), Setting(RATE))
