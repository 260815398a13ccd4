import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from wedefense.bin.results import main
from wedefense.metrics.detection import detection_metrics
from wedefense.metrics.evaluation import evaluate_detection
from wedefense.metrics.keys import Trials
from wedefense.metrics.table import result_table
from wedefense.report.sections import results_and_det
from wedefense.scoring.results import evaluate_sets, load_set
from wedefense.utils.errors import InputError
from wedefense.utils.tables import write_table

ATTACKS = ("A01", "A02")


def write_set(root, name, seed, shift=2.0, count=90):
    """Scores of one set, every third bona fide; returns {key: score} per class."""
    rng = np.random.default_rng(seed)
    keys = [f"{name}{i}" for i in range(count)]
    bonafide = {key: float(f"{rng.normal(shift, 1):.6g}") for key in keys[::3]}
    spoof = {key: float(f"{rng.normal(-shift, 1):.6g}") for key in keys if key not in bonafide}
    write_table(root / "exp/posteriors" / name / "llr.txt", bonafide | spoof)
    write_table(root / "data" / name / "utt2lab", {key: "bonafide" if key in bonafide else "spoof" for key in keys})
    write_table(root / "data" / name / "utt2attack",
                {key: "-" if key in bonafide else ATTACKS[i % 2] for i, key in enumerate(keys)})
    write_table(root / "data" / name / "utt2spk", {key: f"s{i % 7}" for i, key in enumerate(keys)})
    write_table(root / "data" / name / "utt2dur", {key: 1 + i / 7 for i, key in enumerate(keys)})
    return list(bonafide.values()), list(spoof.values())


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("wedefense.report.write.write_report", lambda *arguments: None)


@pytest.fixture
def experiment(tmp_path):
    return tmp_path, {name: write_set(tmp_path, name, seed, shift)
                      for name, seed, shift in (("dev", 0, 2.0), ("eval", 1, 1.0))}


def run(root, *arguments):
    return main(["--exp_dir", str(root / "exp"), "--data", str(root / "data"), "--sets", "dev eval", *arguments])


def test_writes_what_the_metrics_say(experiment, capsys):
    root, scores = experiment
    assert run(root, "--bootstrap", "50") == 0
    printed = capsys.readouterr().out
    assert (root / "exp/detection_result.txt").read_text() in printed
    results = json.loads((root / "exp/results.json").read_text())["sets"]
    for name in ("dev", "eval"):
        expected = detection_metrics(*scores[name])
        for key in ("eer", "min_dcf", "act_dcf", "cllr", "eer_threshold", "n_bonafide", "n_spoof"):
            assert results[name][key] == getattr(expected, key)
        low, high = results[name]["confidence"]["eer"]
        assert low <= expected.eer <= high
        assert set(results[name]["breakdown"]) == {"attack", "spk"}
        assert list(results[name]["breakdown"]["attack"]["values"]) == list(ATTACKS)
    lines = printed.splitlines()
    assert max(map(len, lines[:lines.index("")])) <= 80 and lines[3].startswith("  95 % from")
    assert " ".join(lines[0].split()) == "set bona fide spoof minDCF EER % Cllr min Cllr actDCF"
    assert lines[2].split() == ["dev", "30", "60",
                                *(f"{results['dev'][key] * factor:.{digits}f}" for key, factor, digits
                                in (("min_dcf", 1, 4), ("eer", 100, 3), ("cllr", 1, 4), ("min_cllr", 1, 4),
                                    ("act_dcf", 1, 4)))]
    evaluated = evaluate_detection(Trials(list("abc"), np.array([2.0, 1.0, -1.0]), np.array([True, True, False])))
    columns = result_table(evaluated).splitlines()[0].split("spoof")[1]  # after the counts
    assert columns.split() == lines[0].split("spoof")[1].split()
    assert "eval by attack" in printed and "dev by attack" not in printed


def test_bootstrap_by_speaker_and_without(experiment):
    root, _ = experiment
    assert run(root, "--bootstrap", "20", "--by", "spk") == 0
    assert json.loads((root / "exp/results.json").read_text())["sets"]["dev"]["confidence"]["by"] == "spk"
    assert run(root, "--bootstrap", "0") == 0
    assert "confidence" not in json.loads((root / "exp/results.json").read_text())["sets"]["dev"]
    with pytest.raises(InputError, match="'dev' has no utt2codec .*it has: utt2attack, utt2spk"):
        run(root, "--bootstrap", "20", "--by", "codec")


def test_a_set_that_was_not_scored_is_named(experiment):
    root, _ = experiment
    with pytest.raises(InputError, match="posteriors/test/llr.txt: no such file; score the set 'test' first"):
        run(root, "--sets", "dev test")


def test_only_utterances_that_stage_4_left_out_may_be_missing(experiment):
    root, _ = experiment
    path = root / "exp/posteriors/eval/llr.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[2:]) + "\n")
    with pytest.raises(InputError, match="2 utterances .* without a score"):
        run(root)
    lost = [line.split()[0] for line in lines[:2]]
    write_table(root / "exp/embeddings/eval/left_out.txt", {lost[0]: "unreadable"})
    with pytest.raises(InputError, match=f"not among those that stage 4 left out: {lost[1]}"):
        run(root)
    write_table(root / "exp/embeddings/eval/left_out.txt", {key: "unreadable" for key in lost})
    assert run(root, "--bootstrap", "0") == 0
    assert json.loads((root / "exp/results.json").read_text())["sets"]["eval"]["n_bonafide"] == 28


def test_report_and_no_torch(experiment):
    root, _ = experiment
    code = ("import sys\nfrom wedefense.bin.results import main\n"
            f"main(['--exp_dir', {str(root / 'exp')!r}, '--data', {str(root / 'data')!r}, '--sets', 'dev', 'eval', "
            "'--bootstrap', '0'])\nassert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert "Calibrated on &#x27;dev&#x27;" in (root / "exp/report.html").read_text()


def test_calibrated_on_dev_and_applied_to_eval(experiment, capsys):
    root, scores = experiment
    assert run(root, "--bootstrap", "0") == 0
    results = json.loads((root / "exp/results.json").read_text())
    model = json.loads((root / "exp/calibration.json").read_text())
    assert "calibrated" not in results["sets"]["dev"] and results["calibration"].startswith("calibrated on 'dev': ")
    raw, calibrated = results["sets"]["eval"], results["sets"]["eval"]["calibrated"]
    by_hand = [model["scales"][0] * np.array(values) + model["bias"] for values in scores["eval"]]
    assert calibrated["cllr"] == pytest.approx(detection_metrics(*by_hand).cllr)
    assert calibrated["eer"] == pytest.approx(raw["eer"])  # an increasing map changes no order
    assert "\neval calibrated " in capsys.readouterr().out
    assert run(root, "--costs", "0.5", "1", "1", "--bootstrap", "0") == 0
    even = json.loads((root / "exp/results.json").read_text())["sets"]["eval"]
    assert even["act_dcf_threshold"] == even["calibrated"]["act_dcf_threshold"] == 0 and even["eer"] == raw["eer"]
    assert run(root, "--sets", "eval") == 0
    assert not (root / "exp/calibration.json").exists()
    assert "nothing calibrated: it takes the scores of 'dev'" in capsys.readouterr().out


def test_never_calibrated_on_what_it_scores(experiment):
    root, _ = experiment
    for part in ("exp/posteriors", "data"):
        shutil.copytree(root / part / "dev", root / part / "again")
    assert run(root, "--sets", "dev again", "--bootstrap", "0") == 0
    again = json.loads((root / "exp/results.json").read_text())["sets"]["again"]
    assert "calibrated" not in again and "was fitted on utterances that it is to score" in again["doubts"][0]


def test_turned_scores_are_told_and_not_calibrated(experiment, capsys, caplog):
    root, _ = experiment
    for name in ("dev", "eval"):
        path = root / "exp/posteriors" / name / "llr.txt"
        write_table(path, {key: -float(score) for key, score in map(str.split, path.read_text().splitlines())})
    assert run(root, "--bootstrap", "0") == 0
    assert "nothing calibrated: calibration would turn the scores around" in capsys.readouterr().out
    assert "polarity looks swapped" in caplog.text


@pytest.mark.parametrize("scale, shift, said", [(1e-3, 2.0, "extreme scale: scores are multiplied by "),
                                                (1.0, 0.15, "the scores are near chance: even calibrated")],
                         ids=["scale", "chance"])
def test_a_calibration_not_to_be_trusted_is_told_in_text_json_and_on_the_page(tmp_path, capsys, caplog, scale, shift,
                                                                              said):
    for name, seed in (("dev", 3), ("eval", 4)):
        write_set(tmp_path, name, seed, shift, 300)
        path = tmp_path / "exp/posteriors" / name / "llr.txt"
        write_table(path, {key: scale * float(score) for key, score in map(str.split, path.read_text().splitlines())})
    assert run(tmp_path, "--bootstrap", "0") == 0
    results = json.loads((tmp_path / "exp/results.json").read_text())
    assert results["calibration"].startswith("calibrated on 'dev'") and said in results["calibration_doubts"][0]
    assert f"doubt about the calibration: {said}" in capsys.readouterr().out and said in caplog.text
    assert f"doubt about the calibration: {said}" in (tmp_path / "exp/detection_result.txt").read_text()
    assert f"calibration: {said}" in results_and_det(None, results, [])


def test_results_by_duration_where_the_data_folder_knows_it(tmp_path):
    rng, names = np.random.default_rng(0), [f"u{i}" for i in range(120)]
    real = np.arange(120) % 2 == 0
    write_table(tmp_path / "exp/posteriors/eval/llr.txt", dict(zip(names, rng.normal(2.0 * real).round(4))))
    write_table(tmp_path / "data/eval/utt2lab", {n: "bonafide" if r else "spoof" for n, r in zip(names, real)})
    write_table(tmp_path / "data/eval/utt2dur", {n: 1 + i // 40 for i, n in enumerate(names)})
    write_table(tmp_path / "data/eval/wav.scp", {n: "x.wav" for n in names})
    scored = load_set(tmp_path / "exp", tmp_path / "data", "eval")
    assert scored.seconds[[0, 119]].tolist() == [1, 3] and scored.audio == tmp_path / "data/eval/wav.scp"
    results, _ = evaluate_sets([scored], None)
    parts = results["sets"]["eval"]["breakdown"]["duration"]["values"]
    assert list(parts) == ["1 s", "2 s", "3 s"] and all(part["n_bonafide"] == 20 for part in parts.values())
    first = np.arange(120) < 40
    assert parts["1 s"]["eer"] == detection_metrics(scored.trials.scores[first & real],
                                                    scored.trials.scores[first & ~real]).eer
    (tmp_path / "data/eval/utt2dur").write_text("u0 1\n")  # of others nothing is known
    assert load_set(tmp_path / "exp", tmp_path / "data", "eval").seconds is None
