"""One line of what one holds, `wedefense info` of what `wedefense score` takes, embeddings of recordings."""

import shutil

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment, make_pruned, wave
from wedefense import load_detector
from wedefense.bin.embed import main as embed
from wedefense.bin.info import main as info
from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.detection import DetectionCosts
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("mhfa"), **SSL)


def test_reprs_are_one_line(exp):
    model = load_detector(exp)
    score, frames = model.score(wave(1.2), 16000, prior=0.5), model.frame_scores(wave(1.2), 16000)
    size = sum(parameter.numel() for parameter in model.detector.parameters())
    assert repr(model) == (f"LoadedDetector({exp}/models/avg_model.pt: SSLFrontend + MHFA -> bonafide, spoof; "
                           f"{size / 1e6:.3g} M parameters, cpu, float32, not calibrated)")
    assert repr(score).startswith(f"Score(input 1: {score.decision}, LLR {score.llr:.3f}, P(spoof) ")
    assert "where 50 % are" in repr(score)
    at = frames.times[frames.llr.argmin()]
    assert repr(frames).startswith(f"FrameScores({len(frames.llr)} frames to 1.") and f"at {at:.2f} s)" in repr(frames)
    assert not any("\n" in repr(one) for one in (model, score, frames))


def test_costs_and_priors_decide_and_change_no_llr(exp):
    model, wav = load_detector(exp), wave(1.2)
    plain = model.score(wav, 16000)
    strict = model.score(wav, 16000, prior=0.5, cost_miss=1, cost_fa=np.exp(plain.llr + 1))
    lax = model.score(wav, 16000, prior=0.5, cost_miss=1, cost_fa=np.exp(plain.llr - 1))
    assert plain.llr == strict.llr == lax.llr and (strict.decision, lax.decision) == ("spoof", "bonafide")
    assert strict.threshold == DetectionCosts(0.5, 1, np.exp(plain.llr + 1)).bayes_threshold


def test_info_of_what_score_takes(exp, tmp_path, capsys):
    pruned = make_pruned(tmp_path / "pruned", exp)
    for place in (pruned, exp, exp / "models/avg_model.pt"):
        assert info([str(place)]) == 0
        lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
        assert lines["back-end"].startswith("MHFA, ") and lines["classes"].startswith("bonafide (")
        assert lines["audio"] == "16000 Hz, frames of 20 ms" and lines["embedding"] == "16 dimensions"
    plain = make_experiment(tmp_path / "fbank", dataset_args__frontend="fbank")
    assert info([str(plain)]) == 0 and "(fbank)" in capsys.readouterr().out
    assert lines["training"].startswith("standard, seed ")
    cut = ExperimentFolder(shutil.copytree(exp, tmp_path / "whole")).cut.root
    shutil.copytree(exp, cut)
    assert info([str(cut)]) == 0 and "that of whole, cut since, seed " in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it holds nothing"):
        info([str(tmp_path / "empty")])


def test_embeddings_of_recordings_are_those_of_python(exp, tmp_path, capsys):
    for number, name in enumerate(("a.wav", "b.wav")):
        soundfile.write(tmp_path / name, wave(0.8 + number, 16000, 1, number), 16000)
    (tmp_path / "c.wav").write_text("no audio")
    out = tmp_path / "embeddings.npz"
    assert embed(["--model", str(exp), str(tmp_path), "--out", str(out), "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "2 of 3 recordings, of 16 numbers each" in printed and "c.wav" in printed
    found = np.load(out)
    assert found["names"].tolist() == [str(tmp_path / name) for name in ("a.wav", "b.wav")]
    expected = load_detector(exp).embed([tmp_path / "a.wav", tmp_path / "b.wav"])
    assert np.allclose(found["embeddings"], expected, atol=1e-5) and found["embeddings"].dtype == np.float32


@pytest.mark.parametrize("words", [["a.wav"], ["a.wav", "--model", "m"], ["--model", "m"], ["--exp_dir", "e"],
                                   ["a.wav", "--model", "m", "--out", "o", "--eval_frms", "9"],
                                   ["--exp_dir", "e", "--sets", "a", "b", "--data", "x"],
                                   ["--exp_dir", "e", "--sets", "a", "--data", "x", "--config", "c"]])
def test_half_a_command_says_what_is_missing(words, capsys):
    with pytest.raises(SystemExit):
        embed(words)
    assert "--model and --out" in capsys.readouterr().err
