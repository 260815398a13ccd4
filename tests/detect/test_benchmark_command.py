"""`wedefense benchmark`: each set scored once, gone on with where it was broken off, again under conditions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment, wave
from tests.tools.corpus_trees import TREES
from wedefense.cli import main
from wedefense.detect import benchmark
from wedefense.detect.conditions import parse_condition
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.experiment import checkpoint
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table, write_table

ROOT = Path(__file__).parents[2]


def data_folder(folder, classes, seed=0):
    wavs = {}
    for number in range(len(classes)):
        path = folder / f"audio/{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave(0.4 + 0.1 * number, 16000, seed=seed + number), 16000)
        wavs[f"u{number}"] = str(path)
    write_table(folder / "wav.scp", wavs)
    write_table(folder / "utt2lab", dict(zip(wavs, classes)))
    return folder


@pytest.fixture
def place(tmp_path):
    make_experiment(tmp_path, **SSL)
    data_folder(tmp_path / "dev", ["bonafide", "spoof"] * 3)
    data_folder(tmp_path / "wild", ["spoof", "human", "fake", "real"], 50)
    data_folder(tmp_path / "spoofs", ["spoof"] * 3, 90)
    return tmp_path


def run(place, *words):
    sets = [str(place / name) for name in ("dev", "wild", "spoofs")]
    return main(["benchmark", "--model", str(place / "exp"), "--sets", *sets, "--out", str(place / "out"),
                 "--device", "cpu", "--bootstrap", "20", *words])


def test_scores_are_those_of_the_score_command_and_are_read_again(place, capsys, monkeypatch):
    assert run(place, "--fix_on", "dev", "--export", "arena") == 0
    out = capsys.readouterr().out
    first, beside = (part.splitlines() for part in out.split("\n\n")[:2])
    assert first[1].split() == "set bona fide spoof minDCF EER % 95 % actDCF".split()
    assert beside[0].split() == "set Cllr min Cllr miss % false accept %".split() and "1 - SRR" in out
    assert [line.split()[0] for line in first[3:]] == ["dev", "wild", "spoofs", "mean", "pooled"]
    assert max(map(len, first + beside[:7])) <= 80
    results = json.loads((place / "out/benchmark.json").read_text())["exp"]
    assert results["sets"]["wild"]["n_bonafide"] == 2 and "eer" not in results["sets"]["spoofs"]
    assert main(["score", "--model", str(place / "exp"), str(place / "wild/wav.scp"), "--format", "csv", "--out",
                 str(place / "scores.csv"), "--device", "cpu"]) == 0
    single = {row.split(",")[0]: float(row.split(",")[1]) for row in
              (place / "scores.csv").read_text().splitlines()[1:]}
    arena = dict(line.split() for line in (place / "out/arena/exp/wild/scores.txt").read_text().splitlines())
    assert {key: float(value) for key, value in arena.items()} == pytest.approx(single, abs=1e-5)

    def fail(*_, **__):
        raise AssertionError("scored twice")

    monkeypatch.setattr(LoadedDetector, "score_files", fail)
    assert run(place, "--fix_on", "dev") == 0
    assert json.loads((place / "out/benchmark.json").read_text())["exp"] == results
    write_table(place / "wild/utt2lab", {**read_table(place / "wild/utt2lab"), "u0": "real"})  # another list
    with pytest.raises(AssertionError, match="scored twice"):
        run(place)


def backwards(place):
    for path in (place / "wild/audio").iterdir():
        status, (wav, rate) = path.stat(), soundfile.read(path)
        soundfile.write(path, wav[::-1], rate)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edited(name, old, new):
    def edit(place):
        path = place / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return edit


def other_weights(place):
    weights = checkpoint.load(place / "exp/models/avg_model.pt")
    checkpoint.save(place / "exp/models/avg_model.pt", {name: 1.1 * tensor for name, tensor in weights.items()})


def calibrated(place):
    Calibration((2.0,), 0.5).save(place / "exp/calibration.json")


CHANGES = {"recordings": backwards, "weights": other_weights, "calibration": calibrated,
           "labels": edited("exp/label2id", "spoof 1 70", "spoof 1 7"),
           "settings": edited("exp/config.yaml", "eval_frms: 0", "eval_frms: 12"),
           "a key": edited("wild/wav.scp", "u3", "v3"), "code": lambda place: None}


@pytest.mark.parametrize("change", CHANGES)
def test_scores_of_what_is_there_no_more_are_not_read_again(place, change, monkeypatch):
    def scores(out):
        sets = [str(place / name) for name in ("dev", "wild")]
        main(["benchmark", "--model", str(place / "exp"), "--sets", *sets, "--out", str(place / out), "--device", "cpu",
              "--bootstrap", "0"])
        return json.loads((place / out / "systems/exp/wild.json").read_text())

    before = scores("out")
    assert scores("out") == before
    CHANGES[change](place)
    if change == "a key":
        edited("wild/utt2lab", "u3", "v3")(place)
    if change == "code":
        real = benchmark.of_sources
        monkeypatch.setattr(benchmark, "of_sources", lambda *parts: real(*parts)[::-1])
    after = scores("out")
    assert after == scores("fresh") and after["of"] != before["of"]
    assert change == "code" or after["scores"] != before["scores"]


@pytest.mark.parametrize("damage", [
    lambda text: text[:-20], lambda text: "[]", lambda text: "[" * 100_000, lambda text: '{"of": 1}',
    lambda text: text.replace('"u0": ', '"u0": 1'), lambda text: text.replace('"u0"', '"u9"'), lambda text: "\0"])
def test_damaged_scores_are_made_again(place, damage, monkeypatch):
    run(place)
    path = place / "out/systems/exp/dev.json"
    whole = path.read_text()
    path.write_text(damage(whole))
    assert run(place) == 0 and path.read_text() == whole


def test_a_set_goes_on_where_it_was_broken_off(place, monkeypatch):
    whole = LoadedDetector.score_files
    heard = []

    def breaking(model, sources, **more):
        heard.append(list(sources))
        if len(heard) == 2:
            raise KeyboardInterrupt
        return whole(model, sources, **more)

    monkeypatch.setattr(benchmark, "_CHUNK", 2)
    monkeypatch.setattr(LoadedDetector, "score_files", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(place)
    run(place)
    assert heard[:3] == [["u0", "u1"], ["u2", "u3"], ["u2", "u3"]]
    assert sorted(path.name for path in (place / "out/systems/exp").iterdir()) == ["dev.json", "spoofs.json",
                                                                                 "wild.json"]


def test_windows_and_conditions_are_systems_of_their_own(place, capsys):
    run(place, "--window", "8000", "8000", "--with", "noise@0dB", "telephone+low_pass@2000", "--fix_on", "dev")
    results = json.loads((place / "out/benchmark.json").read_text())
    assert list(results) == ["exp", "exp, noise@0dB", "exp, telephone+low_pass@2000", "exp, first 8000",
                             "exp, first 8000, noise@0dB", "exp, first 8000, telephone+low_pass@2000"]
    assert "differences" in results["exp, noise@0dB"] and "differences" not in results["exp"]
    assert "points against the recordings as they are" in capsys.readouterr().out
    assert results["exp"]["threshold"] == results["exp, noise@0dB"]["threshold"]  # fixed on recordings as they are
    assert "exp, first 8000" in (place / "out/benchmark.html").read_text()


def test_a_condition_does_what_it_says_the_same_each_time(place):
    path = str(place / "dev/audio/5.wav")
    clean = soundfile.read(path)[0]
    read = lambda name, key="u": soundfile.read(__import__("io").BytesIO(parse_condition(name, 16000)(key, path)))[0]
    noisy = read("noise@10dB")
    assert 10 * np.log10((clean ** 2).mean() / ((noisy - clean) ** 2).mean()) == pytest.approx(10, abs=0.1)
    assert np.array_equal(noisy, read("noise@10dB")) and not np.array_equal(noisy, read("noise@10dB", "v"))
    power = lambda wav, low, high: (np.abs(np.fft.rfft(wav))[int(low * len(wav) / 16000):int(high * len(wav) / 16000)]
                                    ** 2).mean()
    assert power(read("low_pass@2000"), 3000, 7000) < 1e-3 * power(noisy, 3000, 7000)


@pytest.mark.parametrize("words, match", [
    (["--with", "mp4@64"], "unknown condition 'mp4', did you mean 'mp3'"), (["--with", "noise"], "how much"),
    (["--with", "noise@loud"], "'loud' is no number"), (["--fix_on", "evil"], "no such set"),
    (["--sets", "a=dev", "a=wild"], "several sets are called 'a'"),
    (["--model", "exp", "exp"], r"two models are called 'exp'; call one otherwise: --model exp_2=exp$"),
    (["--model", "a b=exp", "a_b=exp"], "'a b' and 'a_b' would be written to the same files"),
    (["--model", "=exp"], "'' cannot be the name of a folder"), (["--model", "..=exp"], "'..' cannot be the name"),
    (["--sets", "a/b=dev"], "'a/b' cannot be the name of a set"), (["--sets", ".."], "'..' cannot be the name of a"),
    (["--sets", "=dev"], "'' cannot be the name of a set")])
def test_what_cannot_be_done_is_named(place, monkeypatch, words, match):
    monkeypatch.chdir(place)
    with pytest.raises(InputError, match=match):
        run(place, *words)
    assert not (place / "out/systems").exists()


def test_the_calibration_that_a_detector_brings_is_told(place, capsys):
    assert run(place) == 0 and "calibration: the scores are taken as they are\n" in capsys.readouterr().out
    Calibration((0.5,), 1.0).save(place / "exp/calibration.json")
    assert run(place) == 0
    assert "calibration: the detector's own, llr = 0.5 x score + 1" in capsys.readouterr().out
    assert run(place, "--fix_on", "dev") == 0 and "the detector's own" not in capsys.readouterr().out


def test_a_set_is_called_as_its_folder_is_also_from_inside(place, monkeypatch):
    monkeypatch.chdir(place / "dev")
    assert run(place, "--sets", ".") == 0
    assert (place / "out/systems/exp/dev.json").is_file()
    with pytest.raises(SystemExit, match="2"):  # at once, not after the hours of scoring
        run(place, "--bootstrap", "-3")


def test_a_recording_that_cannot_be_read_stops_unless_it_may_be_left_out(place):
    (place / "wild/audio/1.wav").write_text("no audio")
    with pytest.raises(InputError, match="wild: 1 of 4 recordings cannot be scored, u1: not readable.*--skip_bad"):
        run(place)
    assert run(place, "--skip_bad") == 0
    assert json.loads((place / "out/benchmark.json").read_text())["exp"]["sets"]["wild"]["n_skipped"] == 1


def test_what_cannot_be_fixed_is_told_before_anything_is_scored(place, monkeypatch):
    monkeypatch.setattr(LoadedDetector, "score_files", lambda *_, **__: pytest.fail("scored"))
    for name, match in (("evil", "--fix_on evil: no such set"), ("spoofs", "spoofs: a threshold needs bona fide")):
        with pytest.raises(InputError, match=match):
            run(place, "--fix_on", name)


def test_the_script_goes_from_releases_to_the_page_and_goes_on(place):
    for name in ("pyara", "lrlspoof"):
        TREES[name].make(place / f"released/{name}")
    words = ["bash", str(ROOT / "tools/benchmark.sh"), "--corpora", "released", "--models", "exp", "--out", "bench",
             "--sets", "pyara lrlspoof", "--data", "dev=dev", "--num_workers", "1",
             "--more", "--fix_on dev --bootstrap 0 --device cpu --export arena"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for _ in range(2):  # the second time from what is there
        done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results = json.loads((place / "bench/benchmark.json").read_text())["exp"]
        assert list(results["sets"]) == ["dev", "pyara", "lrlspoof"]
        assert results["fixed_on"] == "dev" and results["sets"]["pyara"]["n_bonafide"] == 1
    assert "exp on" not in done.stderr and "utterances" not in done.stderr
    assert {path.name for path in (place / "bench/arena/exp").iterdir()} == {"dev", "PyAra", "LRLspoof"}
    words[words.index("--corpora")] = "--corpura"
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "unknown option --corpura" in done.stderr


def test_labels_that_are_no_classes_are_named(place):
    write_table(place / "dev/utt2lab", dict.fromkeys(read_table(place / "dev/utt2lab"), "angry"))
    with pytest.raises(InputError, match="utt2lab: the labels angry are neither bona fide nor spoof"):
        run(place)
