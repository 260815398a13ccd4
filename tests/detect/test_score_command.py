"""`wedefense score`, as it is called."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.detect.experiments import make_experiment, wave
from wedefense import load_detector
from wedefense.bin.score import main
from wedefense.detect.output import short_names
from wedefense.metrics.keys import read_scores
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("exp"))


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio" / "inner"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", wave(1.0, 8000, 2), 8000)
    soundfile.write(folder.parent / "b.flac", wave(0.4, seed=1), 16000)
    (folder / "notes.txt").write_text("no audio")
    return folder.parent


def test_a_folder_as_csv_has_the_scores_of_python(exp, audio, capsys):
    assert main(["--model", str(exp), str(audio), "--format", "csv", "--device", "cpu"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [Path(row["name"]).name for row in rows] == ["b.flac", "inner/a.wav".split("/")[1]]
    model = load_detector(exp)
    for row in rows:
        assert float(row["llr"]) == pytest.approx(model.score(row["name"]).llr, abs=1e-4)


def test_unreadable_files_are_told_and_the_rest_scored(exp, audio, tmp_path, capsys):
    (audio / "bad.wav").write_bytes(b"RIFF and nothing else")
    (audio / "empty.wav").touch()
    good = soundfile.read(audio / "b.flac", dtype="int16")[0]
    soundfile.write(tmp_path / "whole.wav", good, 16000)
    (audio / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:-2000])
    table = tmp_path / "wav.scp"
    table.write_text(f"one {audio / 'b.flac'}\ntwo {audio / 'bad.wav'}\nthree {audio / 'none.wav'}\n"
                     f"four {audio / 'empty.wav'}\n")
    assert main(["--model", str(exp), str(table), "--format", "json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["model"]["precision"] == "float32 on this CPU"
    assert [score["name"]
            for score in found["scores"]] == ["one"] and list(found["failures"]) == ["two", "three", "four"]
    assert "not scored: two: not readable" in captured.err and "no such file" in captured.err
    assert "not scored: four: an empty file" in captured.err and "where ffmpeg is installed m4a" in captured.err


def test_a_table_says_what_the_scores_rest_on(exp, audio, capsys, tmp_path):
    assert main(["--model", str(exp), str(audio / "b.flac"), "--prior", "0.3", "--out", str(tmp_path / "t.txt")]) == 0
    text = (tmp_path / "t.txt").read_text()
    assert " x if " in text and "where 30 % of all recordings are spoofs" in text
    assert "not calibrated" in text
    assert "below 1.455" in text  # -ln(0.7 / 3)


def test_scores_are_what_evaluate_reads(exp, audio, tmp_path, capsys):
    out = tmp_path / "scores.txt"
    assert main(["--model", str(exp), str(audio), "--format", "scores", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 2 of 2 recordings\n"
    names, llrs = read_scores(out)
    model = load_detector(exp)
    assert names == [str(audio / "b.flac"), str(audio / "inner/a.wav")]
    assert llrs == pytest.approx([model.score(name).llr for name in names], abs=1e-4)


def test_a_file_is_what_its_suffix_says_and_a_table_for_people_is_not_evaluated(exp, audio, tmp_path, capsys):
    places = {suffix: tmp_path / f"scores.{suffix}" for suffix in ("csv", "json", "txt")}
    for place in places.values():
        assert main(["--model", str(exp), str(audio), "--out", str(place)]) == 0
    assert len(read_scores(places["csv"])[0]) == len(json.loads(places["json"].read_text())["scores"]) == 2
    with pytest.raises(InputError, match="wrote it to be read, and writes what is evaluated with --format scores"):
        read_scores(places["txt"])


def test_linked_folders_of_a_folder_are_scored_too(exp, audio, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/clips").symlink_to(audio / "inner")
    assert main(["--model", str(exp), str(tmp_path / "new"), "--format", "scores"]) == 0
    assert f"{tmp_path}/new/clips/a.wav" in capsys.readouterr().out


def test_names_without_folders_and_suffix(exp, audio, tmp_path, capsys):
    assert main(["--model", str(exp), str(audio / "b.flac"), "--names", "stem", "--format", "json"]) == 0
    assert [score["name"] for score in json.loads(capsys.readouterr().out)["scores"]] == ["b"]
    (tmp_path / "b.wav").touch()
    with pytest.raises(InputError, match=r"'b' comes twice \(.*b.flac and .*b.wav\)"):
        main(["--model", str(exp), str(audio / "b.flac"), str(tmp_path / "b.wav"), "--names", "stem"])


def test_what_is_odd_about_a_recording_is_told(exp, tmp_path, capsys):
    for name, wav, rate in (("silence", 0 * wave(1.5), 16000), ("clipped", 50 * wave(1.5), 16000),
                            ("short", wave(0.3), 16000), ("telephone", wave(1.5, 8000), 8000),
                            ("good", wave(1.5), 16000)):
        soundfile.write(tmp_path / f"{name}.wav", wav, rate)
    assert main(["--model", str(exp), str(tmp_path), "--format", "json"]) == 0
    found = {Path(score["name"]).stem: score["doubts"] for score in json.loads(capsys.readouterr().out)["scores"]}
    assert found.pop("good") == [] and all(len(doubts) == 1 for doubts in found.values())
    for name, part in (("silence", "nothing to judge"), ("clipped", "full scale"), ("short", "than a second"),
                       ("telephone", "nothing above 4000 Hz")):
        assert part in found[name][0]
    assert main(["--model", str(exp), str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert f"shorter than a second ({tmp_path / 'short.wav'})" in " ".join(table.split())
    assert "5 recordings: " in table and table.startswith(f"in {tmp_path}/\nrecording ")
    assert max(map(len, (line for line in table.splitlines() if str(tmp_path) not in line))) <= 80


def test_long_names_have_their_ends_alone_unless_two_would_look_alike():
    assert short_names(["a/b.wav", "a/c.wav"], 20) == ("", ["a/b.wav", "a/c.wav"])
    assert short_names(["calls/a_long_name.wav", "calls/b.wav"], 12) == ("calls/", ["..._name.wav", "b.wav"])
    alike = ["calls/1_a_long_name.wav", "calls/2_a_long_name.wav"]
    assert short_names(alike, 12) == ("calls/", ["1_a_long_name.wav", "2_a_long_name.wav"])


@pytest.mark.parametrize("arguments, message", [
    (["--prior", "5"], "--prior must lie between 0 and 1"), (["--cost_fa", "0"], "--cost_fa must lie between"),
    (["--window", "0"], "a window must last more than 0 seconds")])
def test_impossible_options_are_told_by_their_names(exp, audio, arguments, message):
    with pytest.raises(InputError, match=message):
        main(["--model", str(exp), str(audio), *arguments])


def test_audio_by_a_pipe(exp, audio):
    done = subprocess.run([sys.executable, "-m", "wedefense.cli", "score", "--model", exp, "-", "--format", "csv"],
                          input=(audio / "b.flac").read_bytes(), capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    row, = csv.DictReader(done.stdout.decode().splitlines())
    assert float(row["llr"]) == pytest.approx(load_detector(exp).score(audio / "b.flac").llr, abs=1e-4)


@pytest.mark.parametrize("content, message", [("a cat x |\n", "commands of a table are not run"),
                                              ("a\n", "has no value")])
def test_tables_are_checked(exp, tmp_path, content, message):
    (tmp_path / "wav.scp").write_text(content)
    with pytest.raises(InputError, match=message):
        main(["--model", str(exp), str(tmp_path / "wav.scp")])


def test_what_is_named_twice_or_empty_is_refused(exp, audio, tmp_path):
    with pytest.raises(InputError, match="comes twice"):
        main(["--model", str(exp), str(audio), str(audio / "b.flac")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no audio file"):
        main(["--model", str(exp), str(tmp_path / "empty")])
