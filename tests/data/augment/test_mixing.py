"""Noise and reverberation, and the places that they come from."""

import pickle
import sys
import tarfile

import numpy as np
import pytest
import soundfile

from wedefense.config.augment import NoiseOptions, ReverbOptions, Setting
from wedefense.data.augment.mixing import Noise, Reverb, mix, reverberate
from wedefense.data.augment.recordings import kind_of, open_recordings, pack
from wedefense.utils.errors import InputError

RATE = 16000


def white(samples, seed=0, scale=0.1):
    return (np.random.default_rng(seed).standard_normal(samples) * scale).astype(np.float32)


@pytest.fixture
def musan(tmp_path):
    """Two noises, one speech, one music of different lengths and rates; each is a tone of its own frequency."""
    def add(name, frequency, seconds, rate):
        path = tmp_path / "musan" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate), rate)

    add("noise/free-sound/noise-0.wav", 1000, 3, RATE)
    add("noise/sound-bible/noise-1.flac", 1000, 0.1, RATE)
    add("speech/us-gov/speech-0.wav", 2000, 3, 8000)
    add("music/fma/music-0.wav", 3000, 3, 44100)
    (tmp_path / "musan" / "README").write_text("not audio")
    return tmp_path / "musan"


def packed(musan, how):
    folder = musan.parent
    if how == "folder":
        return musan
    if how == "scp":
        lines = [f"{p.relative_to(musan)} {p}\n" for p in sorted(musan.rglob("*.*"))]
        (folder / "wav.scp").write_text("".join(lines))
        return folder / "wav.scp"
    if how == "lmdb":
        lmdb = pytest.importorskip("lmdb")
        with lmdb.open(str(folder / "lmdb")) as environment, environment.begin(write=True) as view:
            for path in musan.rglob("*.*"):
                view.put(str(path.relative_to(musan)).encode(), path.read_bytes())
            view.put(b"__keys__", b"a pickle that is not read")
        return folder / "lmdb"
    tar = folder / "musan.tar"
    if how == "plain tar":
        with tarfile.open(tar, "w") as stream:
            stream.add(musan, "musan")
    else:
        assert pack(musan, tar) == 4
    return tar


HOWS = ["folder", "scp", "plain tar", "indexed tar", "lmdb"]


@pytest.mark.parametrize("how", HOWS)
def test_every_kind_of_source_holds_the_same(musan, how):
    recordings = open_recordings(packed(musan, how), "noise_data")
    recordings = pickle.loads(pickle.dumps(recordings))
    assert sorted(recordings.kind(i) for i in range(len(recordings))) == ["music", "noise", "noise", "speech"]
    found = {}
    for i in range(len(recordings)):
        with recordings.open(i) as sound:
            found[sound.samplerate, sound.frames] = sound.read(sound.frames)
    for path in musan.rglob("*.*"):
        wav, rate = soundfile.read(path)
        assert np.array_equal(found[rate, len(wav)], wav)


@pytest.mark.parametrize("how", HOWS)
def test_noise_is_at_the_snr_of_its_kind_to_a_tenth_of_a_decibel(musan, how):
    options = NoiseOptions(noise_snr=(0, 0), speech_snr=(15, 15), music_snr=(5, 5))
    step = Noise(options, Setting(RATE, noise_data=str(packed(musan, how))))
    wav, seen = white(24_000, scale=0.05), set()
    for seed in range(12):
        noise = step(wav, np.random.default_rng(seed)) - wav
        frequency = round(float(np.abs(np.fft.rfft(noise)).argmax()) * RATE / len(wav))
        wanted = {1000: 0, 2000: 15, 3000: 5}[frequency]
        assert 10 * np.log10(np.dot(wav, wav) / np.dot(noise, noise)) == pytest.approx(wanted, abs=0.1)
        seen.add(frequency)
    assert seen == {1000, 2000, 3000}


def test_mixing_by_hand():
    wav, noise = np.array([0.1, -0.1, 0.1, -0.1], np.float32), np.array([1, 1, -1, -1], np.float32)
    assert mix(wav, noise, 20.0) == pytest.approx(wav + 0.01 * noise)
    assert np.abs(mix(wav * 9, noise, -10.0)).max() == pytest.approx(1)
    assert not mix(np.zeros(4, np.float32), noise, 0.0).any()


def test_chosen_kinds_and_babble(musan):
    setting = Setting(RATE, noise_data=str(musan))
    wav = white(8000)

    def spectrum(options, seed):
        return np.abs(np.fft.rfft(Noise(options, setting)(wav, np.random.default_rng(seed)) - wav))

    for seed in range(4):
        assert spectrum(NoiseOptions(kinds=("music",)), seed).argmax() == 1500
    one, three = (Noise(NoiseOptions(kinds=("speech",), babble=b, speech_snr=(10, 10)), setting)
                  for b in ((1, 1), (3, 3)))
    assert not np.allclose(one(wav, np.random.default_rng(0)), three(wav, np.random.default_rng(0)), atol=1e-3)
    with pytest.raises(InputError, match="none of 1 recordings is of kind music"):
        Noise(NoiseOptions(kinds=("music",), data=str(musan / "speech")), setting)


def test_silent_stretches_are_not_mixed(tmp_path):
    folder = tmp_path / "noises"
    folder.mkdir()
    half = np.concatenate([np.zeros(RATE), white(RATE)])
    soundfile.write(folder / "noise-0.wav", half, RATE)
    step = Noise(NoiseOptions(), Setting(RATE, noise_data=str(folder)))
    wav = white(1000)
    assert all(not np.array_equal(step(wav, np.random.default_rng(s)), wav) for s in range(10))
    soundfile.write(folder / "noise-0.wav", np.zeros(RATE), RATE)
    with pytest.raises(InputError, match="noises: noise-0.wav: silent"):
        step(wav, np.random.default_rng(0))


@pytest.mark.parametrize("make, message", [
    (lambda p: p / "nowhere", "noise_data: .*nowhere: no such file or folder"),
    (lambda p: p, "noise_data: .*: no recordings in it"),
    (lambda p: write(p / "wav.scp", ""), "noise_data: .*wav.scp: the table is empty"),
    (lambda p: write(p / "wav.scp", "a /nowhere/a.wav\n"), "noise_data: .*wav.scp: a: no such file: /nowhere/a.wav"),
    (lambda p: write(p / "wav.scp", "a sox a.wav -t wav - |\n"), "a: commands are not run"),
    (lambda p: write(p / "a.tar", "no tar"), "noise_data: .*a.tar: not a whole, uncompressed tar"),
    (lambda p: empty_tar(p / "a.tar"), "noise_data: .*a.tar: no recordings in it"),
    (lambda p: write(p / "x" / "noise.wav", "no audio").parent, "noise_data: .*noise.wav: not readable"),
])
def test_missing_empty_or_broken_sources(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        Noise(NoiseOptions(), Setting(RATE, noise_data=str(make(tmp_path))))


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def empty_tar(path):
    tarfile.open(path, "w").close()
    return path


def test_a_step_without_a_source():
    with pytest.raises(InputError, match="'reverb' has nothing to draw from: name reverb_data"):
        Reverb(ReverbOptions(), Setting(RATE))


def test_a_recording_lost_later_is_named(musan):
    step = Noise(NoiseOptions(), Setting(RATE, noise_data=str(musan)))
    for path in musan.rglob("*.*"):
        path.unlink()
    with pytest.raises(InputError, match="musan: .*no such file.*mend it or take it out"):
        step(white(100), np.random.default_rng(0))


def test_an_lmdb_without_the_package(tmp_path, monkeypatch):
    write(tmp_path / "lmdb" / "data.mdb", "")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"noise_data: .*lmdb is not installed: pip install 'wedefense\[lmdb\]'"):
        open_recordings(tmp_path / "lmdb", "noise_data")


def test_kinds_come_from_names():
    assert kind_of("musan/speech/librivox/speech-librivox-0000.wav") == "speech"
    assert kind_of("music.tar/x/y") == "music"
    assert kind_of("free-sound/x.wav") == "noise"


def test_reverberation_keeps_the_direct_sound_in_place_and_the_power():
    response = np.zeros(4000, np.float32)
    response[200], response[1000] = -0.8, 0.4  # the direct sound, and an echo 800 samples later at half its level
    click = np.zeros(8000, np.float32)
    click[3000] = 0.5
    wet = reverberate(click, response)
    assert np.flatnonzero(np.abs(wet) > 1e-4).tolist() == [3000, 3800]
    assert wet[3800] / wet[3000] == pytest.approx(-0.5, abs=1e-4)
    assert np.dot(wet, wet) == pytest.approx(np.dot(click, click), rel=1e-4)


def test_reverberation_as_in_wespeaker(tmp_path):
    """Written out as its data processor computes it: the sound as late as it comes, a peak of 1."""
    response = np.zeros(600, np.float32)
    response[[100, 400]] = 0.8, -0.4
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    options = ReverbOptions(realign=False, scale_peak=True, data=str(tmp_path))
    wav = white(4000, scale=0.02)
    heard = Reverb(options, Setting(RATE))(wav, np.random.default_rng(0))
    whole = np.convolve(wav.astype(float), response / np.sqrt(np.square(response).sum()))[:4000]
    assert heard == pytest.approx(whole / (np.abs(whole).max() + 1e-4), abs=1e-6)
    assert np.abs(heard[:100]).max() < 1e-6 and np.abs(heard).max() > 0.99
    late = Reverb(ReverbOptions(realign=False, data=options.data), Setting(RATE))(wav, np.random.default_rng(0))
    assert np.mean(late ** 2) == pytest.approx(np.mean(wav ** 2), rel=1e-3) and np.abs(late[:100]).max() < 1e-6


def test_what_is_mixed_may_be_scaled_to_a_peak_of_one(musan):
    quiet = white(8000, scale=1e-3)
    options = NoiseOptions(kinds=("music",), music_snr=(10, 10), scale_peak=True)
    mixed = Noise(options, Setting(RATE, noise_data=str(musan)))(quiet, np.random.default_rng(0))
    plain = Noise(NoiseOptions(kinds=("music",), music_snr=(10, 10)), Setting(RATE, noise_data=str(musan)))(
        quiet, np.random.default_rng(0))
    assert mixed == pytest.approx(plain / (np.abs(plain).max() + 1e-4), abs=1e-6) and np.abs(plain).max() < 0.02


def test_reverberation_of_rooms(tmp_path):
    decay = white(RATE // 2, 3, 1) * np.exp(-np.arange(RATE // 2) / 1000).astype(np.float32)
    decay[0] = 8
    soundfile.write(tmp_path / "room.wav", np.stack([decay / 8, white(RATE // 2, 4)], 1), RATE)
    step = Reverb(ReverbOptions(), Setting(RATE, reverb_data=str(tmp_path)))
    wav = white(RATE)
    wav[RATE // 2:] = 0
    wet = step(wav, np.random.default_rng(0))
    assert wet.shape == wav.shape and wet.dtype == np.float32
    assert np.mean(wet ** 2) == pytest.approx(np.mean(wav ** 2), rel=1e-3)
    tail = wet[RATE // 2:]
    plain = np.convolve(wav, soundfile.read(tmp_path / "room.wav")[0][:, 0])[:RATE]
    assert np.corrcoef(wet, plain)[0, 1] > 0.9999 and np.mean(tail[:800] ** 2) > 100 * np.mean(tail[4000:] ** 2)
    soundfile.write(tmp_path / "room.wav", np.zeros(100), RATE)
    with pytest.raises(InputError, match="room.wav: an impulse response of zeros"):
        step(wav, np.random.default_rng(0))


def test_pack_takes_folders_and_lists_only(musan):
    tar = packed(musan, "indexed tar")
    with pytest.raises(InputError, match="is packed already"):
        pack(tar, musan.parent / "again.tar")
    with pytest.raises(InputError, match="has to end in .tar"):
        pack(musan, musan.parent / "musan.zip")
    with tarfile.open(tar) as stream:
        assert sum(name.endswith(".wav") for name in stream.getnames()) == 3
