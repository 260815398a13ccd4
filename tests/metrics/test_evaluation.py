import json

import numpy as np
import pytest

from wedefense.bin.evaluate import main
from wedefense.metrics.detection import detection_metrics
from wedefense.metrics.evaluation import evaluate_detection, evaluate_sasv
from wedefense.metrics.keys import Trials
from wedefense.metrics.sasv_keys import load_sasv_trials
from wedefense.metrics.table import result_table, text_table
from wedefense.metrics.tandem import a_dcf, min_tdcf, t_eer
from wedefense.utils.errors import InputError


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    is_bonafide = np.arange(60) < 24
    scores = np.where(is_bonafide, 1.0, -1.0) + rng.standard_normal(60)
    return Trials([f"u{i}" for i in range(60)], scores, is_bonafide)


def test_breakdown_by_attack_and_by_speaker(trials):
    attack = ["-" if b else f"A0{i % 3}" for i, b in enumerate(trials.is_bonafide)]
    speaker = [f"s{i % 4}" for i in range(59)] + ["alone"]
    result = evaluate_detection(trials, {"attack": attack, "spk": speaker})
    by_attack, by_speaker = result["breakdown"]["attack"], result["breakdown"]["spk"]
    assert not by_attack["shared"] and list(by_attack["values"]) == ["A00", "A01", "A02"]
    for name, values in by_attack["values"].items():  # every bona fide trial against the spoofs of this attack
        spoof = trials.scores[[a == name for a in attack]]
        assert values["eer"] == detection_metrics(trials.bonafide, spoof).eer and values["n_bonafide"] == 24
    eers = [values["eer"] for values in by_attack["values"].values()]
    assert by_attack["macro"]["eer"] == pytest.approx(np.mean(eers)) and by_attack["incomplete"] == {}
    assert by_attack["values"][by_attack["worst"]]["eer"] == max(eers)
    assert by_speaker["shared"] and by_speaker["incomplete"] == {"alone": 1}
    own = [s == "s2" for s in speaker]
    assert by_speaker["values"]["s2"]["cllr"] == detection_metrics(
        trials.scores[own & trials.is_bonafide], trials.scores[own & ~trials.is_bonafide]).cllr


def test_mean_and_worst_by_hand():
    # Bona fide 1, 2, 3, 4. A1 lies under all of them: EER 0; A2 (0, 5): at 1, frr 1/4 and far 1/2, at 2, 1/2 and 1/2.
    scores = Trials(list("abcdefgh"), np.array([1, 2, 3, 4, -1, -2, 0, 5.0]), np.arange(8) < 4)
    found = evaluate_detection(scores, {"attack": ["-"] * 4 + ["A1", "A1", "A2", "A2"]})["breakdown"]["attack"]
    assert found["values"]["A1"]["eer"] == 0 and found["values"]["A2"]["eer"] == 0.5
    assert found["macro"]["eer"] == 0.25 and found["worst"] == "A2"


def test_table_is_aligned(trials):
    text = result_table(evaluate_detection(trials, {"attack": ["-"] * 24 + ["A1"] * 20 + ["A2"] * 16}), rocch=True)
    lines = text.splitlines()
    assert "ROCCH-EER %" in lines[0] and set(lines[1]) == {"-"}
    table = [line for line in lines[:9] if line.strip()]
    pooled = next(line for line in lines if line.startswith("pooled"))
    assert len(pooled) == len(lines[0]) and any("worst: A" in line for line in table)
    assert lines[-1].startswith("thresholds: EER ") and "actDCF -0.641854" in lines[-1]
    assert text_table(["a", "bb"], [["x", "1"], [], ["yyy", "22"]]) == "a    bb\n-------\nx     1\n\nyyy  22"


@pytest.fixture
def files(tmp_path, trials):
    (tmp_path / "scores").write_text("".join(f"{n} {s}\n" for n, s in zip(trials.names, trials.scores)))
    (tmp_path / "utt2lab").write_text("".join(
        f"{n} {'bonafide' if b else 'spoof'}\n" for n, b in zip(trials.names, trials.is_bonafide)))
    (tmp_path / "utt2spk").write_text("".join(f"{n} s{i % 5}\n" for i, n in enumerate(trials.names)))
    return tmp_path


def test_command(files, trials, capsys):
    out = files / "out" / "results.json"
    arguments = ["--scores", str(files / "scores"), "--keys", str(files / "utt2lab"), "--json", str(out)]
    assert main([*arguments, "--meta", str(files / "utt2spk"), "--bootstrap", "50", "--groups",
                 str(files / "utt2spk")]) == 0
    printed, result = capsys.readouterr().out, json.loads(out.read_text())
    expected = detection_metrics(trials.bonafide, trials.spoof)
    for key in ("eer", "min_dcf", "act_dcf", "cllr", "eer_threshold", "min_dcf_threshold"):
        assert result[key] == pytest.approx(getattr(expected, key), abs=1e-12)
    assert f"{100 * expected.eer:.3f}" in printed and "95 % from by spk" in printed and "s4" in printed
    assert result["confidence"]["by"] == "spk" and len(result["confidence"]["eer"]) == 2
    assert main([*arguments, "--costs", "0.5", "1", "1"]) == 0
    assert json.loads(out.read_text())["act_dcf_threshold"] == 0
    (files / "scores").write_text("".join(f"{n} {-s}\n" for n, s in zip(trials.names, trials.scores)))
    assert main(arguments) == 0 and "warning: EER" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--sasv", "--bootstrap", "10"])
    with pytest.raises(InputError, match="resamples"):
        main([*arguments, "--bootstrap", "0"])


@pytest.fixture
def sasv(tmp_path):
    rng = np.random.default_rng(1)
    kinds = ["target"] * 20 + ["nontarget"] * 30 + ["spoof"] * 40
    values = rng.normal(0, 1, (90, 3)).round(6) + [[2 * (k != "spoof"), 2 * (k != "nontarget"), 2 * (k == "target")]
                                                  for k in kinds]
    keys = ["spk\tfilename\tcm-label\tasv-label\n"]
    scores = ["spk\tfilename\tcm-score\tasv-score\tsasv-score\n"]
    for i, (kind, row) in enumerate(zip(kinds, values)):
        # The same utterance is tried against two speakers, so only the pair is unique.
        pair = f"s{i % 2}\tE_{i // 2}"
        keys.append(f"{pair}\t{'spoof' if kind == 'spoof' else 'bonafide'}\t{kind}\n")
        scores.append(f"{pair}\t" + "\t".join(map(repr, map(float, row))) + "\n")
    (tmp_path / "keys.tsv").write_text("".join(keys))
    (tmp_path / "scores.tsv").write_text("".join([scores[0], *reversed(scores[1:])]))
    return tmp_path, values


def test_sasv_command(sasv, capsys):
    folder, values = sasv
    out = folder / "results.json"
    arguments = ["--sasv", "--scores", str(folder / "scores.tsv"), "--keys", str(folder / "keys.tsv"), "--json",
                 str(out)]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    tar, non, spf = values[:20], values[20:50], values[50:]
    assert result["a_dcf"] == a_dcf(tar[:, 2], non[:, 2], spf[:, 2]).value
    assert result["min_tdcf"] == min_tdcf(values[:50, 0], spf[:, 0]).value
    assert result["t_eer"] == t_eer(values[:50, 0], spf[:, 0], tar[:, 1], non[:, 1], spf[:, 1]).value
    assert {"a_dcf_threshold", "min_tdcf_threshold", "t_eer_asv_threshold", "t_eer_cm_threshold"} <= set(result)
    printed = capsys.readouterr().out
    assert "a-DCF" in printed and "t-EER %" in printed and "nontarget" in printed


def test_sasv_scores_that_a_system_does_not_give(sasv):
    folder, _ = sasv
    lines = (folder / "scores.tsv").read_text().splitlines()
    only = [lines[0]] + ["\t".join([*line.split()[:2], "-", "-", line.split()[4]]) for line in lines[1:]]
    (folder / "scores.tsv").write_text("\n".join(only))
    result = evaluate_sasv(load_sasv_trials(folder / "scores.tsv", folder / "keys.tsv"))
    assert "a_dcf" in result and "min_tdcf" not in result and "t_eer" not in result
    only[3] = only[3].replace("-", "0.5", 1)
    (folder / "scores.tsv").write_text("\n".join(only))
    with pytest.raises(InputError, match="cm-score is '-' in 89 of 90 trials"):
        load_sasv_trials(folder / "scores.tsv", folder / "keys.tsv")


@pytest.mark.parametrize("old, new, message", [
    ("\tbonafide\ttarget", "\tspoof\ttarget", "keys.tsv:2: cm-label 'spoof' and asv-label 'target' contradict"),
    ("\ttarget", "\ttargte", "keys.tsv:2: unknown asv-label 'targte', did you mean 'target'"),
    ("s0\tE_0\t", "s1\tE_0\t", "keys.tsv:3: duplicate trial 's1 E_0', first in .*keys.tsv:2"),
    ("asv-label", "asv", "header lacks asv-label"),
])
def test_bad_sasv_keys(sasv, old, new, message):
    folder, _ = sasv
    text = (folder / "keys.tsv").read_text()
    (folder / "keys.tsv").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_sasv_trials(folder / "scores.tsv", folder / "keys.tsv")


def test_parts_are_in_the_order_of_their_numbers():
    scores = Trials([""] * 8, np.arange(8.0), np.arange(8) >= 4)
    found = evaluate_detection(scores, {"attack": ["A10", "A2", "A2", "9.5 to 12 s"] + ["-"] * 4})["breakdown"]
    assert list(found["attack"]["values"]) == ["9.5 to 12 s", "A2", "A10"]
    low, high = found["attack"]["values"]["A10"]["eer_interval"]
    assert low == 0 and high > 0.3  # one spoof tells little
