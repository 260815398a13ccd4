import json
import math

import numpy as np
import pytest

from wedefense.bin.calibrate import main as calibrate
from wedefense.bin.fuse import main as fuse
from wedefense.metrics.detection import act_dcf, cllr, eer, min_cllr
from wedefense.metrics.keys import read_scores
from wedefense.scoring.calibration import Calibration, CalibrationOptions, fit, read_qualities
from wedefense.utils.errors import InputError, OptionError


def true_llrs(seed, n_bonafide=60_000, n_spoof=140_000):
    """llr ~ N(+-2, var 4) is its own log-likelihood ratio."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.permutation(np.arange(n_bonafide + n_spoof) < n_bonafide)
    return np.where(is_bonafide, 2.0, -2.0) + 2 * rng.standard_normal(is_bonafide.size), is_bonafide


@pytest.mark.parametrize("prior", [0.5, 0.05, 0.9])
def test_true_llrs_come_back_as_they_are(prior):
    model = fit(*true_llrs(0), CalibrationOptions(prior))
    assert model.scales[0] == pytest.approx(1, abs=0.02) and model.bias == pytest.approx(0, abs=0.05)


def test_a_distortion_is_undone_and_the_eer_kept():
    llrs, is_bonafide = true_llrs(1, 3000, 9000)
    distorted = 0.01 * llrs - 7
    model = fit(distorted, is_bonafide)
    fresh, is_fresh_bonafide = true_llrs(2, 3000, 9000)
    before, after = 0.01 * fresh - 7, model.apply(0.01 * fresh - 7)
    assert model.scales[0] == pytest.approx(100, rel=0.1) and model.bias == pytest.approx(700, rel=0.1)
    b, s = is_fresh_bonafide, ~is_fresh_bonafide
    assert act_dcf(after[b], after[s]) < 0.6 * act_dcf(before[b], before[s])
    assert cllr(after[b], after[s]) == pytest.approx(min_cllr(after[b], after[s]), abs=0.02)
    assert eer(after[b], after[s]) == eer(before[b], before[s])


def test_equal_to_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(3)
    is_bonafide = np.arange(400) < 100
    scores = rng.normal(size=(400, 2)) + np.where(is_bonafide, 0.7, -0.7)[:, None]
    prior = 0.8
    weight = np.where(is_bonafide, prior / 100, (1 - prior) / 300)
    peer = linear.LogisticRegression(C=1e9, tol=1e-12, max_iter=10_000).fit(scores, is_bonafide, 1e4 * weight)
    model = fit(scores, is_bonafide, CalibrationOptions(prior, ridge=0))
    assert model.scales == pytest.approx(peer.coef_[0], rel=1e-4)
    assert model.bias == pytest.approx(peer.intercept_[0] - math.log(prior / (1 - prior)), abs=1e-3)


def test_fusion_weighs_systems_by_what_they_know():
    llrs, is_bonafide = true_llrs(4, 4000, 8000)
    rng = np.random.default_rng(0)
    rank = np.stack([llrs + rng.normal(0, 1, llrs.size), llrs + rng.normal(0, 4, llrs.size)], axis=1)
    model = fit(rank, is_bonafide)
    assert model.scales[0] > 5 * model.scales[1] > 0
    fused = model.apply(rank)
    single = min(eer(column[is_bonafide], column[~is_bonafide]) for column in rank.T)
    assert eer(fused[is_bonafide], fused[~is_bonafide]) < single


def test_a_quality_measure_that_shifts_the_scores_is_used():
    llrs, is_bonafide = true_llrs(5, 2000, 4000)
    duration = np.random.default_rng(0).uniform(0, 10, llrs.size)
    model = fit(llrs + 0.5 * duration, is_bonafide, qualities=duration, quality_names=["dur"])
    assert model.weights[0] == pytest.approx(-0.5, abs=0.05) and model.qualities == ("dur",)
    with pytest.raises(InputError, match="fitted on 1 quality measure, not on 0; give those, .*--quality"):
        model.apply(llrs)


def test_classes_apart_give_finite_llrs(caplog):
    model = fit(np.array([3.0, 4.0, -3.0, -4.0]), np.array([True, True, False, False]))
    assert np.all(np.isfinite(model.apply(np.array([-800.0, 800.0])))) and model.scales[0] > 0
    assert "no overlap between the classes" in caplog.text


@pytest.mark.parametrize("seed, distance", [(49, 1), (40, 3), (0, 5)])
def test_the_fit_stands_where_the_slope_is_zero(seed, distance, caplog):
    rng = np.random.default_rng(seed)
    is_bonafide = np.arange(110) < 50
    scores = np.where(is_bonafide, distance, -distance) + rng.normal(size=110) * rng.choice([1, 2, 3])
    model = fit(scores, is_bonafide, CalibrationOptions(ridge=0 if distance < 5 else 1e-7))
    posterior = 1 / (1 + np.exp(-model.apply(scores)))
    share = np.where(is_bonafide, 0.5 / 50, 0.5 / 60)
    assert share @ posterior == pytest.approx(0.5, abs=1e-12)
    assert share @ (posterior * scores - is_bonafide * scores) == pytest.approx(0, abs=1e-9 if distance < 5 else 1e-5)
    assert "converge" not in caplog.text


def test_a_formula_reads_like_one():
    assert Calibration((0.5,), -2.4, n_bonafide=3, n_spoof=4).formula() == (
        "llr = 0.5 x score - 2.4 (fitted on 3 bona fide and 4 spoof trials)")
    speaker = Calibration((2.0, -1.0), 0.25, (-0.125,), ("dur",), classes=("target", "nontarget"))
    assert speaker.formula() == ("llr = 2 x score 1 - 1 x score 2 - 0.125 x dur + 0.25 "
                                 "(fitted on 0 target and 0 nontarget trials)")


def test_bad_fits_are_refused():
    llrs, is_bonafide = true_llrs(6, 50, 50)
    with pytest.raises(InputError, match="turn the scores around"):
        fit(-llrs, is_bonafide)
    with pytest.raises(InputError, match="no spoof scores"):
        fit(llrs, np.ones(100, bool))
    with pytest.raises(InputError, match="column 1 .* same value"):
        fit(np.zeros(100), is_bonafide)
    for value in (0.1, -3.7, 1e6 + 0.1):  # whose mean is rounded, so that the standard deviation is not 0
        constant = np.full(100, value)
        assert np.ptp(constant) == 0
        with pytest.raises(InputError, match="column 1 .* same value"):
            fit(constant, is_bonafide)
        with pytest.raises(InputError, match="column 2 .* same value"):
            fit(llrs, is_bonafide, qualities=constant + 1e-8 * value * np.arange(100) / 100)
    with pytest.raises(OptionError, match="prior"):
        CalibrationOptions(prior=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e155, 1e200, 1e306, 1e-200, 1e-310])
def test_scores_whose_squares_overflow_are_not_called_turned_around(size):
    llrs, is_bonafide = true_llrs(6, 50, 50)
    with pytest.raises(InputError, match=r"column 1 .* reaches [\d.]+e[+-]?\d+, whose square no float64 holds"):
        fit(size * llrs, is_bonafide)
    with pytest.raises(InputError, match="column 2 .* whose square no float64 holds"):
        fit(llrs, is_bonafide, qualities=size * np.arange(100))
    assert fit(1e150 * llrs, is_bonafide).scales[0] == pytest.approx(1e-150 * fit(llrs, is_bonafide).scales[0])


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for name, seed in (("dev", 7), ("eval", 8)):
        llrs, is_bonafide = true_llrs(seed, 300, 600)
        names = [f"{name}{i}" for i in range(llrs.size)]
        for system, scale in (("a", 0.5), ("b", 2.0)):
            order = rng.permutation(llrs.size) if system == "b" else range(llrs.size)
            noisy = scale * (llrs + rng.normal(0, 1, llrs.size)) + 3
            (tmp_path / f"{name}.{system}").write_text("".join(f"{names[i]} {noisy[i]}\n" for i in order))
        (tmp_path / f"{name}.keys").write_text("".join(
            f"{n} {'bonafide' if b else 'spoof'}\n" for n, b in zip(names, is_bonafide)))
        (tmp_path / f"{name}.dur").write_text("".join(f"{n} {d:.2f}\n" for n, d in zip(names, rng.uniform(1, 9, 900))))
    return tmp_path


def test_calibrate_command(files, capsys):
    at = lambda name: str(files / name)
    assert calibrate(["--dev_scores", at("dev.a"), "--dev_keys", at("dev.keys"), "--scores", at("eval.a"),
                      "--out", at("llr"), "--model", at("model.json"), "--dev_quality", at("dev.dur"),
                      "--quality", at("eval.dur")]) == 0
    assert "llr = " in capsys.readouterr().out and "dev.dur" in (files / "model.json").read_text()
    names, llrs = read_scores(at("llr"))
    raw_names, raw = read_scores(at("eval.a"))
    model = Calibration.load(at("model.json"))
    duration = np.array([float(line.split()[1]) for line in (files / "eval.dur").read_text().splitlines()])
    assert names == raw_names and np.array_equal(llrs, model.apply(raw, duration))
    assert calibrate(["--model", at("model.json"), "--scores", at("eval.a"), "--quality", at("eval.dur"),
                      "--out", at("again")]) == 0
    assert (files / "again").read_bytes() == (files / "llr").read_bytes()
    with pytest.raises(InputError, match="fitted on utterances that it is to score"):
        calibrate(["--model", at("model.json"), "--scores", at("dev.a"), "--quality", at("dev.dur"), "--out", at("x")])
    assert not (files / "x").exists()
    for wrong in (["--dev_scores", at("dev.a")], ["--model", at("model.json"), "--scores", at("eval.a")],
                  ["--average", "--scores", at("eval.a"), "--out", at("x")]):
        with pytest.raises(SystemExit):
            calibrate(wrong)


def test_fuse_command(files):
    at = lambda name: str(files / name)
    both = [at("eval.a"), at("eval.b")]
    assert fuse(["--dev_scores", at("dev.a"), at("dev.b"), "--dev_keys", at("dev.keys"), "--scores", *both,
                 "--out", at("fused")]) == 0
    is_bonafide = np.array(["bonafide" in line for line in (files / "eval.keys").read_text().splitlines()])
    rates = {}
    for name in ("fused", "eval.a", "eval.b"):
        names, values = read_scores(at(name))
        values = values[np.argsort([int(n[4:]) for n in names])]
        rates[name] = cllr(values[is_bonafide], values[~is_bonafide])
    assert rates["fused"] < min(rates["eval.a"], rates["eval.b"])
    assert fuse(["--average", "--scores", *both, "--out", at("mean")]) == 0
    (names, mean), (_, a), (b_names, b) = map(read_scores, (at("mean"), *both))
    assert mean == pytest.approx((a + b[[b_names.index(n) for n in names]]) / 2, abs=1e-12)
    with pytest.raises(InputError, match="eval.a: named twice; combine different systems"):
        fuse(["--average", "--scores", *both, at("../" + files.name + "/eval.a"), "--out", at("mean")])
    (files / "eval.b").write_text("other 1\n")
    with pytest.raises(InputError, match="do not score the same utterances"):
        fuse(["--average", "--scores", *both, "--out", at("mean")])


def test_quality_measures_of_recordings_that_are_named_by_paths(tmp_path):
    (tmp_path / "utt2dur").write_text("clips/u1 1.5\nclips/u2 2.5\n")
    table = [str(tmp_path / "utt2dur")]
    for names in (["in/clips/u2.wav", "in/clips/u1.wav"], ["clips/u2", "clips/u1"]):
        assert read_qualities(table, names).tolist() == [[2.5], [1.5]]
    with pytest.raises(InputError, match="utt2dur: no value for u3"):
        read_qualities(table, ["u3"])


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "other"}', '{"kind": "calibration", "scales": [1]}',
                                  '{"kind": "calibration", "scales": [NaN], "bias": 0}'])
def test_what_is_no_model_is_refused(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match="m.json: (not a calibration model|not valid JSON|expected a JSON object)"):
        Calibration.load(tmp_path / "m.json")


def test_a_model_survives_its_file(tmp_path):
    model = Calibration((1 / 3, 2e-7), -0.1, (0.5,), ("dur",), 0.25, 10, 20, ("ab",))
    model.save(tmp_path / "m.json")
    assert Calibration.load(tmp_path / "m.json") == model
    assert json.loads((tmp_path / "m.json").read_text())["kind"] == "calibration"
