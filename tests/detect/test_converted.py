"""What ffmpeg reads is scored where it is installed, as if it had been converted by hand, and follows no other file."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment
from wedefense import load_detector
from wedefense.bin import score
from wedefense.data.converted import is_installed
from wedefense.detect.inputs import collect
from wedefense.utils.audio_kinds import FORMATS
from wedefense.utils.errors import InputError

HERE = pytest.mark.skipif(not is_installed(), reason="ffmpeg is not installed")
CODECS = {"m4a": "aac", "mp4": "aac", "webm": "libopus", "mkv": "flac", "wma": "wmav2", "ac3": "ac3", "ts": "aac"}


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("exp"), **SSL)


def ffmpeg(*arguments) -> None:
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def speech(path: Path, seconds: float = 2.0) -> Path:
    time = np.arange(round(seconds * 44100)) / 44100
    wav = 0.2 * np.sin(2 * np.pi * 200 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    soundfile.write(path, np.stack([wav, 0.5 * wav], axis=1), 44100)
    return path


@HERE
@pytest.mark.parametrize("kind", CODECS)
def test_a_recording_is_scored_as_if_it_had_been_converted_by_hand(tmp_path, exp, kind):
    path = tmp_path / f"a b.{kind}"
    ffmpeg("-i", speech(tmp_path / "a.wav"), "-c:a", CODECS[kind], path)
    ffmpeg("-i", path, "-c:a", "pcm_f32le", tmp_path / "by_hand.wav")
    model = load_detector(exp)
    assert model.score(path).llr == model.score(tmp_path / "by_hand.wav").llr


@HERE
def test_many_recordings_leave_few_files(tmp_path, exp, monkeypatch):
    """All are opened before the first is scored."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ffmpeg("-i", speech(tmp_path / "a.wav", 0.5), tmp_path / "0.m4a")
    paths = [tmp_path / f"{number}.m4a" for number in range(20)]
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    model = load_detector(exp)
    opened = [model.open(path.stem, path) for path in paths]
    assert 0 < len(list((tmp_path / "temporary").iterdir())) <= 8
    assert len({recording.read(0, recording.samples).tobytes() for recording in opened}) == 1
    assert len(list((tmp_path / "temporary").iterdir())) <= 8
    ffmpeg("-i", speech(tmp_path / "a.wav", 0.7), paths[-1])
    assert model.open("again", paths[-1]).samples > opened[-1].samples


@HERE
def test_a_folder_gives_a_row_for_each_and_names_what_is_broken(tmp_path, exp, capsys):
    ffmpeg("-i", speech(tmp_path / "a.wav"), "-movflags", "faststart", tmp_path / "whole.m4a")
    (tmp_path / "half.m4a").write_bytes((tmp_path / "whole.m4a").read_bytes()[:12000])
    (tmp_path / "text.m4a").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.m4a").write_text("#EXTM3U\n#EXTINF:2,\na.wav\n#EXT-X-ENDLIST\n")
    (tmp_path / "list.webm").write_text("ffconcat version 1.0\nfile a.wav\n")
    assert score.main(["--model", str(exp), str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "a.wav" in said.out and "whole.m4a" in said.out and said.out.count("bona fide") + said.out.count("spoof") > 1
    for name in ("half.m4a", "text.m4a", "empty.mp4", "list.m4a", "list.webm"):
        assert f"{name}: " in said.err and name not in said.out, name


def test_without_ffmpeg_it_is_named(tmp_path, exp, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / "a.m4a").write_bytes(b"1")
    with pytest.raises(InputError, match="a.m4a: a .m4a file needs the program ffmpeg, which is not installed"):
        load_detector(exp).score(tmp_path / "a.m4a")
    with pytest.raises(InputError, match="1 file of kinds that need ffmpeg, which is not installed"):
        collect([str(tmp_path)])
    assert {"m4a", "mp4", "webm"} <= FORMATS.keys()
