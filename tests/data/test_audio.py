"""Reading audio of any format and rate, and no more of it than needed."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile
from corpora import noise

from wedefense.data import audio
from wedefense.data.audio import BadAudio, open_audio, probe, read_frames, read_span, resample


@pytest.mark.parametrize("suffix, subtype, error", [
    ("wav", "PCM_U8", 1 / 128), ("wav", "PCM_16", 1 / 32768), ("wav", "PCM_24", 1 / 2**23), ("wav", "PCM_32", 1e-7),
    ("wav", "FLOAT", 0), ("wav", "DOUBLE", 0), ("wav", "ULAW", 0.02), ("flac", "PCM_16", 1 / 32768),
    ("flac", "PCM_24", 1 / 2**23), ("flac", "PCM_S8", 1 / 128), ("ogg", "VORBIS", 0.2),
])
def test_every_format_is_float_in_unit_range(tmp_path, suffix, subtype, error):
    wav = noise(4000)
    soundfile.write(tmp_path / f"x.{suffix}", wav, 16000, subtype=subtype)
    with open_audio(tmp_path / f"x.{suffix}") as sound:
        read = read_frames(sound)
        part = read_frames(sound, 1000, 500)
    assert read.dtype == np.float32 and read.shape == (4000,)
    assert np.abs(read - wav).max() <= error
    if suffix != "ogg":
        assert np.array_equal(part, read[1000:1500])


def test_fast_path_of_16_bit_gives_the_numbers_of_libsndfile(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.array([-32768, -1, 0, 1, 32767], dtype=np.int16), 16000)
    with open_audio(tmp_path / "x.wav") as sound:
        read = read_frames(sound)
    assert np.array_equal(read, soundfile.read(tmp_path / "x.wav", dtype="float32")[0])


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels_are_averaged(tmp_path, subtype):
    left, right, third = noise(800, 1), noise(800, 2), noise(800, 3)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right, third], axis=1), 16000, subtype=subtype)
    with open_audio(tmp_path / "x.wav") as sound:
        assert np.allclose(read_frames(sound), (left + right + third) / 3, atol=1e-4)


def tone(rate, frequency, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_a_tone(rate):
    resampled = resample(tone(rate, 1000), Fraction(16000, rate))
    assert len(resampled) == 16000 and resampled.dtype == np.float32
    inner = slice(400, -400)
    assert np.abs(resampled - tone(16000, 1000))[inner].max() < 2e-4


def test_resampling_keeps_out_what_lies_above_half_the_rate():
    aliased = resample(tone(48000, 9000), Fraction(1, 3))
    assert np.abs(aliased[400:-400]).max() < 1e-4  # -80 dB


def test_resampling_like_torchaudio():
    import torch

    torchaudio = pytest.importorskip("torchaudio")
    wav = noise(44100)
    wav = np.convolve(wav, np.hanning(9) / 4, "same").astype(np.float32)  # little energy near the cut-off
    theirs = torchaudio.functional.resample(
        torch.from_numpy(wav), 44100, 16000, lowpass_filter_width=64, rolloff=0.9476,
        resampling_method="sinc_interp_kaiser", beta=14.77).numpy()
    ours = resample(wav, Fraction(16000, 44100))
    assert ours.shape == theirs.shape
    residue = (ours - theirs)[400:-400]
    assert np.square(residue).mean() < 1e-3 * np.square(theirs).mean()


@pytest.mark.parametrize("ratio", [Fraction(2), Fraction(160, 441), Fraction(10, 11), Fraction(1600, 3969)])
@pytest.mark.parametrize("start, length", [(0, 300), (1234, 777), (None, 500)])
def test_a_span_equals_that_part_of_the_whole_file_resampled(tmp_path, ratio, start, length):
    soundfile.write(tmp_path / "x.wav", noise(20_000), 44100, subtype="FLOAT")
    with open_audio(tmp_path / "x.wav") as sound:
        whole = read_span(sound, ratio)
        start = len(whole) - length if start is None else start
        part = read_span(sound, ratio, start, length)
    assert part.shape == (length,)
    assert np.allclose(part, whole[start:start + length], atol=1e-6)


def bytes_read():
    with open("/proc/self/io") as stream:
        return int(stream.readline().split()[1])


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_crop_reads_only_its_samples(tmp_path, suffix, rate):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noise(rate * 60), rate)
    size, before = path.stat().st_size, bytes_read()
    with open_audio(path) as sound:
        assert len(read_span(sound, Fraction(16000, rate), 16000 * 30, 8000)) == 8000  # half a second of sixty
    assert bytes_read() - before < 0.05 * size


@pytest.mark.parametrize("content, reason", [
    (None, "no such file"), (b"", "not readable"), (b"RIFF of no kind" * 100, "not readable"),
])
def test_unreadable(tmp_path, content, reason):
    path = tmp_path / "x.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadAudio, match=reason):
        probe(path)


def test_probe_sees_the_end_of_the_file(tmp_path):
    whole, cut = tmp_path / "whole.flac", tmp_path / "cut.flac"
    soundfile.write(whole, noise(64_000), 16000)
    cut.write_bytes(whole.read_bytes()[:-8000])
    assert probe(whole).seconds == 4.0
    with pytest.raises(BadAudio):
        probe(cut)


@pytest.mark.parametrize("kind", [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("mp3", None)])
def test_probe_tells_silence(tmp_path, kind):
    suffix, subtype = kind
    sounds = {"none": np.zeros(48000), "late": np.append(np.zeros(47000), noise(1000)), "some": noise(48000),
              "early": np.append(noise(1000), np.zeros(47000))}
    for name, wav in sounds.items():
        soundfile.write(tmp_path / f"{name}.{suffix}", wav, 16000, subtype=subtype)
    assert [probe(tmp_path / f"{name}.{suffix}").silent for name in sounds] == [True, False, False, False]


def test_probe_reads_no_more_than_the_end_where_that_sounds(tmp_path, monkeypatch):
    """Of a million files, another look costs minutes."""
    soundfile.write(tmp_path / "x.flac", noise(48000), 16000)
    read = []
    monkeypatch.setattr(audio, "read_frames", lambda *given: read.append(given) or read_frames(*given))
    assert not probe(tmp_path / "x.flac").silent and len(read) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_probe_finds_nan_in_float_files(tmp_path, value):
    wav = noise(8000)
    wav[10] = value
    soundfile.write(tmp_path / "x.wav", wav, 16000, subtype="FLOAT")
    with pytest.raises(BadAudio, match="NaN or infinite"):
        probe(tmp_path / "x.wav")


def test_integers_that_were_written_as_floats_are_refused_and_loud_floats_are_not(tmp_path):
    wav = noise(8000)
    soundfile.write(tmp_path / "x.wav", wav * 32768, 16000, subtype="FLOAT")
    with pytest.raises(BadAudio, match=r"numbers up to \d+.*, where 1 is full scale; divide by 32768"):
        probe(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", wav * 20, 16000, subtype="FLOAT")
    assert probe(tmp_path / "x.wav").frames == 8000


def test_an_mp3_that_is_none_is_not_told_to_be_no_file(tmp_path):
    (tmp_path / "x.mp3").write_text("text")
    with pytest.raises(BadAudio, match="not readable: no audio of the kind that its name says"):
        probe(tmp_path / "x.mp3")
