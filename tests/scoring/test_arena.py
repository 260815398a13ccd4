"""What the Speech Anti-Spoofing Arena takes, read back by its toolkit's rules, and its sets beside the layouts."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.scoring.test_benchmark import scored
from wedefense.data.layouts import read_layouts
from wedefense.report import published
from wedefense.scoring.arena import arena_set, arena_sets, eer, joined, warn_of_others
from wedefense.scoring.submissions import write_submissions

LAYOUTS = read_layouts(Path(__file__).parents[2] / "tools/layouts.yaml")


def brute(bonafide, spoof):
    """The toolkit's sweep, threshold by threshold."""
    thresholds = sorted({*bonafide, *spoof})
    rates = [(np.mean([s >= t for s in spoof]), np.mean([b < t for b in bonafide])) for t in thresholds]
    for (t, (far, frr)), (later, (next_far, next_frr)) in zip(zip(thresholds, rates), zip(thresholds[1:], rates[1:])):
        if np.sign(far - frr) != np.sign(next_far - next_frr):
            share = (far - frr) / (far - frr - next_far + next_frr)
            rate = (far + share * (next_far - far) + frr + share * (next_frr - frr)) / 2
            return rate, t + share * (later - t)
    far, frr = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    return (far + frr) / 2, None


def test_eer_by_hand_and_by_the_slow_way():
    assert eer(np.array([1.0, 2]), np.array([-1.0, 0])).value == 0
    assert eer(np.array([-1.0, 0]), np.array([1.0, 2])).value == 1
    rng = np.random.default_rng(0)
    for size in (3, 10, 41):
        bonafide, spoof = rng.normal(1, 1, size).round(1), rng.normal(0, 1, 2 * size).round(1)  # with ties
        value, threshold = brute(bonafide, spoof)
        assert eer(bonafide, spoof) == pytest.approx((value, threshold), abs=1e-12)


def called(row):
    """What tools/benchmark.sh calls the sets of a row."""
    return {name if name.startswith(row) else f"{row}.{name}" for name in LAYOUTS[row].sets}


def test_sets_are_those_of_the_published_table_and_of_layouts():
    columns = {column.split()[0]: column.split()[1] for column in published.load("antispoofing_arena").columns}
    assert len(arena_sets()) == 24 and columns.keys() == arena_sets().keys()
    known = {name for row in LAYOUTS for name in called(row)}
    for name, a_set in arena_sets().items():
        assert (a_set.metric == "srr_complement") == (columns[name] == "srr_complement")
        assert set(a_set.sets) <= known, name
        assert a_set.sets or a_set.differs
    for name in ("asvspoof2019.eval", "asvspoof5.eval", "lrlspoof", "habla"):  # whose rows have the count of all
        row, _, part = name.rpartition(".")
        assert LAYOUTS[row or name].sets[part].count == arena_set(name).trials
    parts = [LAYOUTS["decro"].sets[name].count["label"] for name in ("en_eval", "ch_eval")]
    assert sum(sum(part.values()) for part in parts) == arena_sets()["DECRO"].trials
    parts = [LAYOUTS["cd_add"].sets[name].count for name in arena_sets()["CD-ADD"].sets]
    assert sum(sum(part["label"].values()) + sum(part["attack"].values()) for part in parts) == 20786


def read(folder):
    scores = dict(line.split(" ") for line in (folder / "scores.txt").read_text().splitlines())
    content = yaml.safe_load((folder / "result.yaml").read_text())
    digest = hashlib.sha256((folder / "scores.txt").read_bytes()).hexdigest()
    assert content["artifact"]["scores_sha256"] == digest
    return {key: float(score) for key, score in scores.items()}, content


def test_spoofs_alone_are_judged_at_the_threshold_of_deepvoice(tmp_path, caplog):
    sets = {"DeepVoice": scored([0, 2, 4], [1, 3, -1, -2]), "lrlspoof": scored([], [0, 1, 2, 3, np.nan])}
    write_submissions(tmp_path, ("arena",), "A_b", sets)
    scores, content = read(tmp_path / "arena/A_b/LRLspoof")
    assert scores == {"u0": 0, "u1": 1, "u2": 2, "u3": 3} and content["dataset"]["id"] == "lab260/LRLspoof"
    assert content["scores"] == {"srr_complement": 50.0, "n_trials": 5, "n_skipped": 1}
    assert content["calibration"]["source_dataset"] == "SpeechAntiSpoofingBenchmarks/DeepVoice"
    assert content["calibration"]["threshold"] == pytest.approx(5 / 3) and content["schema_version"] == 5
    assert read(tmp_path / "arena/A_b/DeepVoice")[1]["scores"]["eer_percent"] == pytest.approx(100 / 3)
    assert "lrlspoof: 5 recordings, the Arena has 1,304,455" in caplog.text
    assert "1 of 5 have no score; the Arena takes no more than 5 %" in caplog.text
    write_submissions(tmp_path, ("arena",), "A_b", {"lrlspoof": sets["lrlspoof"]})
    assert "calibration" not in read(tmp_path / "arena/A_b/LRLspoof")[1]
    assert "LRLspoof" not in caplog.text and "judged at the threshold of DeepVoice; score that set too" in caplog.text


def test_a_set_of_several_is_joined(tmp_path, caplog):
    parts = {"decro.en_eval": scored([1], [0]), "decro.ch_eval": scored([5], [3, 4]), "mine": scored([1], [0])}
    both = joined(parts)["DECRO"]
    assert both.scores.tolist() == [1, 0, 5, 3, 4] and both.is_bonafide.tolist() == [True, False, True, False, False]
    write_submissions(tmp_path, ("arena",), "s", parts)
    assert (tmp_path / "arena/s/decro.en_eval/scores.txt").exists()
    assert "DECRO: 5 recordings, the Arena has 37,314" in caplog.text
    warn_of_others(["mine", "decro.en_eval", "DECRO"])
    assert "no sets of the Arena are called mine; where they are" in caplog.text
