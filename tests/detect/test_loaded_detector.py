"""A trained detector in Python: what goes in, what comes out."""

import doctest
import io
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from tests.detect.experiments import SSL, make_experiment, wave
from wedefense import load_detector
from wedefense.cli import main
from wedefense.data.labels import Labels
from wedefense.data.silence import trim
from wedefense.detect.export import export
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.recordings import InputPolicy
from wedefense.detect.score import Score, decide, meaning, posterior
from wedefense.metrics.detection import DetectionCosts
from wedefense.scoring.calibration import Calibration
from wedefense.scoring.llr import llr
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("mhfa"), **SSL)


@pytest.fixture(scope="module")
def model(exp):
    return load_detector(exp)


def saved(path, wav, rate=16000):
    soundfile.write(path, wav, rate, subtype="FLOAT")
    return path


def by_hand(model, wav):
    with torch.no_grad():
        wav = torch.as_tensor(wav, dtype=torch.float32)[None]
        return float(llr(model.detector(wav, torch.tensor([wav.shape[1]])).logits.numpy(), model.labels)[0])


def test_a_score_and_what_it_means(model, tmp_path):
    wav = wave(1.3)
    score = model.score(saved(tmp_path / "a.wav", wav))
    assert score.llr == score.raw == pytest.approx(by_hand(model, wav), abs=1e-4)
    odds = np.exp(score.llr) * 0.95 / 0.05
    assert score.posterior == pytest.approx(1 / (1 + odds))
    assert score.threshold == pytest.approx(-np.log(0.95 / 0.5)) and not score.calibrated
    assert score.decision == ("bonafide" if score.llr >= score.threshold else "spoof")
    assert model.score(tmp_path / "a.wav", prior=0.5).posterior > score.posterior


def test_the_examples_run(model, exp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exp, "exp/mhfa")
    saved("clip.wav", wave(3.0))
    names = {"load_detector": load_detector, "model": model, "np": np}
    finder, results = doctest.DocTestFinder(recurse=False), {}
    for of in (LoadedDetector, LoadedDetector.score, LoadedDetector.embed, LoadedDetector.similarity, Score.plot):
        (example,) = finder.find(of, of.__qualname__, globs=dict(names))
        results[of.__qualname__] = doctest.DocTestRunner().run(example)
    assert all(result.failed == 0 and result.attempted > 0 for result in results.values()), results


def test_a_model_computes_in_the_precision_it_is_loaded_for(exp, model, tmp_path):
    wav = wave(1.3)
    assert model.arithmetic.name == "float32"
    half = load_detector(exp, precision="bfloat16")
    exact, rounded = (one.score(wav, 16000).llr for one in (model, half))
    assert exact != rounded and rounded == pytest.approx(exact, abs=0.05)
    assert not np.array_equal(model.frame_scores(wav, 16000).llr, half.frame_scores(wav, 16000).llr)
    trained_so = load_detector(make_experiment(tmp_path, precision="bfloat16", **SSL))
    assert trained_so.score(wav, 16000).llr == exact  # a CPU is exact unless asked
    with pytest.raises(InputError, match="unknown precision 'half'"):
        load_detector(exp, precision="half")


def test_words_by_hand():
    costs = DetectionCosts()
    assert meaning(np.log(20), costs).startswith(
        "such audio is 20 times likelier if bona fide than if spoofed; where 5 % are spoofs, 0.26 % of such are")
    assert meaning(-np.log(3), costs).startswith("such audio is 3 times likelier if spoofed than if bona fide")
    assert decide(-0.64, costs) == "bonafide" and decide(-0.65, costs) == "spoof"
    assert meaning(5000, costs).startswith("such audio is over 1,000,000 times") and posterior(-5000, 0.05) == 1
    assert posterior(5000, 0.05) == 0


def test_paths_bytes_streams_arrays_and_tensors_are_the_same(model, tmp_path):
    wav = wave(0.8, 44100, channels=2).astype(np.float32)
    path = saved(tmp_path / "a.wav", wav, 44100)
    expected = model.score(path).llr
    content = path.read_bytes()
    for audio, rate in ((str(path), None), (content, None), (io.BytesIO(content), None), (wav, 44100), (wav.T, 44100),
                        (torch.from_numpy(wav.T.copy()), 44100), (wav.mean(axis=1), 44100)):
        assert model.score(audio, sample_rate=rate).llr == pytest.approx(expected, abs=1e-4)
    integers = (wav * 32768).round().astype(np.int16)
    assert model.score(integers, sample_rate=44100).llr == pytest.approx(expected, abs=0.05)


def test_costs_are_refused_by_the_names_that_they_were_given_by(model):
    with pytest.raises(InputError, match="^prior: must lie between 0 and 1"):
        model.score(wave(0.5), 16000, prior=5)


@pytest.mark.parametrize("kind, match", [
    (np.int32, "integers of 32 bits, none of them over 32767"),
    (np.int64, "integers of 64 bits, none of them over 32767"),
    (np.float64, r"numbers up to 32767; expected .* in \[-1, 1\]: divide by 32768"),
    (np.float32, r"numbers up to 32767")])
def test_samples_of_another_scale_are_refused(model, kind, match):
    """As numpy makes them of 16-bit samples: they were heard as silence, or 32768 times too loud."""
    wav = (wave(0.5) / np.abs(wave(0.5)).max() * 32767).astype(np.int16)
    assert np.isfinite(model.score(wav, 16000).llr) and np.isfinite(model.score(wav.astype(np.int32) << 16, 16000).llr)
    assert model.score(np.zeros(8000, np.int32), 16000).doubts  # silence is silence in any type
    with pytest.raises(InputError, match=match):
        model.score(wav.astype(kind), 16000)


def test_no_type_is_named_that_does_not_hold_the_samples(model):
    """Such as the sum of two channels of 16 bits, of which int16 would turn the loudest around."""
    wav = (wave(0.5) / np.abs(wave(0.5)).max() * 32767).astype(np.int64)
    for samples, cure in ((wav, r"recorded with, or give samples.astype\(numpy.int16\)$"), (2 * wav, "recorded with$")):
        with pytest.raises(InputError, match=cure):
            model.score(samples, 16000)


def test_a_batch_is_not_heard_as_the_channels_of_one_recording(model):
    batch = np.stack([wave(0.5, seed=seed) for seed in range(9)])
    with pytest.raises(InputError, match=r"9 x 8000: .* give recordings one by one"):
        model.score(batch, 16000)
    assert np.isfinite(model.score(batch[:8].T, 16000).llr)  # 7.1


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_are_near_the_models_own(model, rate):
    def low(rate):
        time = np.arange(2 * rate) / rate
        return sum(np.sin(2 * np.pi * f * time + f) for f in (150, 700, 1900)) / 10

    assert model.score(low(rate), rate).llr == pytest.approx(model.score(low(16000), 16000).llr, abs=0.02)


def test_lists_scores_do_not_depend_on_company(model):
    inputs = [wave(seconds, seed=number) for number, seconds in enumerate((0.01, 3.0, 0.3, 1.1, 0.7))]
    together = model.score(inputs, sample_rate=16000)
    for wav, score in zip(inputs, together):
        assert score.llr == pytest.approx(model.score(wav, sample_rate=16000).llr, abs=1e-4)
    assert together[0].llr == pytest.approx(by_hand(model, np.resize(inputs[0], 400)), abs=1e-4)  # repeated
    assert together[0].seconds == pytest.approx(0.01) and together[2].name == "input 3"
    assert model.embed(inputs, 16000).shape == (5, 16) and model.embed(inputs[0], 16000).shape == (16,)


def test_windows_by_hand():
    policy = InputPolicy(rate=10, shortest=5, whole=4.0, window=2.0)
    assert policy.pieces(40) == [(0, 40)]
    assert policy.pieces(45) == [(0, 20), (10, 20), (20, 20), (25, 20)]
    assert policy.pieces(41, window=3.0) == [(0, 30), (11, 30)]
    fixed = InputPolicy(rate=10, fixed=8)
    assert fixed.pieces(50) == [(0, 8)] and fixed.pieces(5) == [(0, 5)] and len(fixed.fit(np.ones(5))) == 8
    assert fixed.pieces(13, window=60) == [(0, 8), (4, 8), (5, 8)]


def test_long_recordings_are_heard_in_windows_whose_scores_are_kept(model, tmp_path):
    wav = wave(70.0)
    score = model.score(saved(tmp_path / "long.flac".replace("flac", "wav"), wav))
    assert [(round(w.start), round(w.end)) for w in score.windows] == [(0, 30), (15, 45), (30, 60), (40, 70)]
    assert score.windows[1].llr == pytest.approx(by_hand(model, wav[15 * 16000:45 * 16000]), abs=1e-3)
    assert score.llr == pytest.approx(np.mean([w.llr for w in score.windows]))
    assert score.lowest.llr == min(w.llr for w in score.windows) and score.heard == score.seconds == 70


def test_recordings_may_be_heard_in_part(tmp_path):
    """At most so many frames, and without their silence, as stage 4 hears them."""
    short = load_detector(make_experiment(tmp_path / "short", **SSL, dataset_args__eval_max_frms=20))
    assert short.score(wave(2.0), 16000).llr == pytest.approx(by_hand(short, wave(2.0)[:6400]), abs=1e-4)
    assert short.score(wave(0.2), 16000).llr == pytest.approx(by_hand(short, wave(0.2)), abs=1e-4)
    trimming = load_detector(make_experiment(tmp_path / "trimming", **SSL, dataset_args__trim_silence=True))
    wav = np.concatenate([wave(0.5), np.zeros(8000), wave(0.5)])
    assert trimming.score(wav, 16000).llr == pytest.approx(
        by_hand(trimming, trim(wav.astype(np.float32), 16000)), abs=1e-4)
    with pytest.raises(InputError, match="nothing but silence"):
        trimming.score(np.zeros(8000), 16000)
    with pytest.raises(InputError, match="trim_silence cuts recordings"):
        export(trimming, tmp_path / "out", "torchscript")


def test_calibration_beside_the_experiment_is_used(tmp_path):
    exp = make_experiment(tmp_path)
    before = load_detector(exp).score(wave(1), 16000)
    Calibration((2.0,), -1.0).save(exp / "calibration.json")
    after = load_detector(exp).score(wave(1), 16000)
    assert after.calibrated and after.raw == before.llr and after.llr == pytest.approx(2 * before.llr - 1)
    other = exp / "models" / "model_3.pt"
    other.write_bytes((exp / "models" / "avg_model.pt").read_bytes())
    assert not load_detector(other).score(wave(1), 16000).calibrated  # it was fitted on the average's scores


def test_what_is_to_be_said_against_a_calibration_is_said_with_every_score(tmp_path, capsys):
    exp = make_experiment(tmp_path)
    Calibration((20.0,), -1.0, doubts=("the scores are near chance",)).save(exp / "calibration.json")
    soundfile.write(tmp_path / "a.wav", wave(1), 16000)
    for command in (["score", "--model", str(exp), str(tmp_path / "a.wav")], ["info", str(exp)],
                    ["info", str(exp / "calibration.json")]):
        assert main(command) == 0
        assert "but the scores are near chance" in " ".join(capsys.readouterr().out.split())
    main(["score", "--model", str(exp), str(tmp_path / "a.wav"), "--format", "json"])
    assert json.loads(capsys.readouterr().out)["model"]["calibration_doubts"] == ["the scores are near chance"]


def test_frame_scores_say_what_the_back_end_says(model, exp, tmp_path):
    wav = wave(1.0)
    found = model.frame_scores(wav, 16000)
    assert len(found.llr) == len(found.times) == 49 and found.times[1] == pytest.approx(0.02)
    assert np.isfinite(found.llr).all() and found.llr.std() > 0
    other = load_detector(make_experiment(tmp_path))
    with pytest.raises(InputError, match="MeanPooling has no scores of frames"):
        other.frame_scores(wav, 16000)


def test_speaker_models_have_similarities_and_no_scores(tmp_path):
    speakers = load_detector(make_experiment(tmp_path, labels=Labels(("anna", "ben", "eve"), (1, 1, 1))))
    one, other = wave(1.0, seed=1), wave(1.5, seed=2)
    assert speakers.similarity(one, one, 16000) == pytest.approx(1)
    a, b = speakers.embed([one, other], 16000)
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert speakers.similarity(one, other, 16000) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="not bona fide"):
        speakers.score(one, 16000)


@pytest.mark.parametrize("audio, rate, message", [
    ("missing.wav", None, "no such file"), (b"RIFF nothing", None, "not readable"),
    (np.ones(100), None, "sample_rate="),
    (np.ones((2, 2, 9)), 16000, "3 dimensions"), (np.array([0.0, np.nan]), 16000, "NaN"),
    (np.ones(0), 16000, "no samples")])
def test_what_cannot_be_heard_is_told(model, audio, rate, message):
    with pytest.raises(InputError, match=message):
        model.score(audio, sample_rate=rate)


def test_what_cannot_be_loaded_is_told(tmp_path, exp, monkeypatch):
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    monkeypatch.setenv("WEDEFENSE_CACHE", str(tmp_path))
    for path, message in ((tmp_path / "none", "no such file or folder"), ("xlsr_sls_v3", "did you mean 'xlsr_sls_v"),
                          (tmp_path, "not a trained experiment"), ("someone/model", "WEDEFENSE_OFFLINE"),
                          ("xlsr_sls_authors", "give the path of the file"), ("xlsr-sls-v1", "v1/epoch_2.pth")):
        with pytest.raises(InputError, match=message):
            load_detector(path)


@pytest.mark.parametrize("name", ["out", "out/model.onnx", "out/model.ts"])
def test_an_export_is_told_to_be_one(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/export.json").write_text("{}")
    for file in ("model.onnx", "model.ts"):
        (tmp_path / "out" / file).write_bytes(b"x")
    with pytest.raises(InputError, match=f"{name}: was exported to run without WeDefense, as MODEL.md beside it tells; "
                                         "give the experiment that it was made of"):
        load_detector(tmp_path / name)


def test_a_checkpoint_in_its_experiment_and_one_on_its_own_with_a_config(exp, model, tmp_path):
    wav = wave(1.0)
    expected = model.score(wav, 16000)
    assert load_detector(exp / "models" / "avg_model.pt").score(wav, 16000).llr == expected.llr
    alone = tmp_path / "weights.pt"
    alone.write_bytes((exp / "models" / "avg_model.pt").read_bytes())
    with pytest.raises(InputError, match="with a config"):
        load_detector(alone)
    loaded = load_detector(alone, config=exp / "config.yaml")
    assert "no label2id" in loaded.remark
    difference = np.log(30 / 70)  # the priors that only label2id tells
    assert loaded.score(wav, 16000).llr == pytest.approx(expected.llr + difference, abs=1e-4)
