"""Recordings that are none: a pipe is not waited for, half a file is no file, and what is passed over is named."""

import io
import os
import socket

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment
from wedefense import load_detector
from wedefense.bin import frames, make_list, score
from wedefense.data.audio import BadAudio, open_audio, probe
from wedefense.data.manifest import Recording as Listed
from wedefense.data.manifest import check_recordings
from wedefense.utils.errors import InputError

HALVES = [("wav", "WAV"), ("wav", "WAVEX"), ("aiff", "AIFF"), ("au", "AU"), ("w64", "W64"), ("rf64", "RF64")]


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("exp"), **SSL)


def sound(seconds: float = 1.0, kind: str = "WAV") -> bytes:
    content = io.BytesIO()
    soundfile.write(content, 0.1 * np.random.default_rng(0).standard_normal(int(16000 * seconds)), 16000, format=kind)
    return content.getvalue()


def special(path, kind: str):
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, exp, kind, capsys):
    monkeypatch.chdir(tmp_path)
    path = special(tmp_path / "a.wav", kind)
    for look in (probe, lambda path: open_audio(path).__enter__()):
        with pytest.raises(BadAudio, match="no file but a folder, a pipe, a socket or a device"):
            look(path)
    with pytest.raises(InputError, match="a.wav: no file but"):
        load_detector(exp).score(path)
    manifest = check_recordings("set", [Listed("a", "spoof", str(path))], 1)
    assert "no file but" in manifest.problems[0].detail
    (tmp_path / "b.wav").write_bytes(sound())
    (tmp_path / "wav.scp").write_text("a a.wav\nb b.wav\n")
    assert score.main(["--model", str(exp), "wav.scp"]) == 1
    assert "not scored: a: no file but" in capsys.readouterr().err


@pytest.mark.parametrize("suffix, kind", HALVES)
@pytest.mark.parametrize("rest", [0.5, 0.99, 3])
def test_half_a_file_is_doubted_in_stages_1_and_2_and_by_score(tmp_path, exp, suffix, kind, rest):
    content = sound(kind=kind)
    with soundfile.SoundFile(io.BytesIO(content)) as whole:
        samples = whole.frames
    keep = len(content) - 2 * samples + 6 if rest == 3 else int(len(content) * rest)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    probe(path)
    path.write_bytes(content[:keep])
    with pytest.raises(BadAudio, match="cut short: its header says .* bytes of audio, .* are there"):
        probe(path)
    with pytest.raises(InputError, match=f"a.{suffix}: cut short"):
        load_detector(exp).score(path)
    with pytest.raises(InputError, match="cut short"):
        load_detector(exp).score(path.read_bytes())
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"a {path}\n")
    (data / "utt2lab").write_text("a spoof\n")
    with pytest.raises(InputError, match="1 x unusable audio: a .*cut short"):
        make_list.main(["--data_dir", str(data)])


def test_a_stream_whose_length_nobody_knew_is_whole(tmp_path):
    """As ffmpeg and sox write to a pipe."""
    for length in (0xFFFFFFFF, 0x7FFFFFFF - 36):
        content = bytearray(sound())
        place = content.index(b"data") + 4
        content[place:place + 4] = length.to_bytes(4, "little")
        content[4:8] = min(length + 36, 0xFFFFFFFF).to_bytes(4, "little")
        (tmp_path / "a.wav").write_bytes(content)
        assert probe(tmp_path / "a.wav").frames == 16000


@pytest.mark.parametrize("main", [score.main, lambda argv: frames.main([*argv, "--out", "frames.txt"])],
                         ids=["score", "frames"])
def test_a_folder_with_everything_in_it(tmp_path, exp, main, capsys, monkeypatch):
    """One row for each that can be read, a line for each that cannot, and what was passed over in words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "good.wav").write_bytes(sound())
    (folder / "half.wav").write_bytes(sound()[:9000])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("hello")
    os.mkfifo(folder / "fifo.wav")
    (folder / os.fsdecode(b"\xff.wav")).write_bytes(sound())
    for name in ("a.m4a", "b.M4A", "c.mp4", "notes.txt", "README"):
        (folder / name).touch()
    assert main(["--model", str(exp), "audio"]) == 1
    said = capsys.readouterr()
    assert ("audio: passed over 3 files of kinds that need ffmpeg, which is not installed (2 m4a, 1 mp4) and "
            "2 files of other kinds (1 no suffix, 1 txt)") in said.err
    for name, reason in (("half.wav", "cut short"), ("empty.wav", "empty"), ("text.wav", "not readable"),
                         ("fifo.wav", "pipe")):
        assert f"not scored: audio/{name}: " in said.err and reason in said.err
    text = (tmp_path / "frames.txt").read_text() if main is not score.main else said.out
    assert "audio/good.wav" in text and r"audio/\xff.wav" in text and "half.wav" not in text


def test_a_folder_without_audio_says_what_it_has(tmp_path, exp, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / "a.m4a").touch()
    with pytest.raises(InputError, match="no audio file in this folder .*it has 1 file of kinds that need ffmpeg"):
        score.main(["--model", str(exp), str(tmp_path)])


def test_an_address_is_said_as_it_was_given(exp):
    with pytest.raises(InputError, match="https://a.org/b.wav: recordings are not fetched; get the file first"):
        score.main(["--model", str(exp), "https://a.org/b.wav"])


@pytest.mark.parametrize("main", [score.main, frames.main], ids=["score", "frames"])
def test_an_output_that_cannot_be_written_is_found_before_the_work(tmp_path, main, monkeypatch):
    import wedefense.api

    (tmp_path / "file").touch()
    (tmp_path / "a.wav").write_bytes(sound())
    monkeypatch.setattr(wedefense.api, "load_detector", None)
    with pytest.raises(InputError, match="out: cannot be written"):
        main(["--model", "any", str(tmp_path / "a.wav"), "--out", str(tmp_path / "file/out")])


@pytest.mark.parametrize("window", ["nan", "inf", "0", "-1"])
def test_a_window_of_no_length(tmp_path, exp, window):
    (tmp_path / "a.wav").write_bytes(sound())
    with pytest.raises(InputError, match="a window must last more than 0 seconds"):
        score.main(["--model", str(exp), str(tmp_path / "a.wav"), "--window", window])


@pytest.mark.parametrize("rate", [0, -16000, 1, 10**9])
def test_a_rate_that_is_none(exp, rate):
    with pytest.raises(InputError, match="input 1: .*sample.rate"):
        load_detector(exp).score(np.ones(1600, np.float32), sample_rate=rate)


def test_a_gpu_that_is_not_there(tmp_path, exp):
    (tmp_path / "a.wav").write_bytes(sound())
    with pytest.raises(InputError, match="--device cuda: .* finds no GPU on this machine .*--device cpu"):
        score.main(["--model", str(exp), str(tmp_path / "a.wav"), "--device", "cuda"])
