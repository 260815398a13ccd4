"""The numbers of a benchmark, by hand, and the files that leaderboards take."""

import zipfile

import numpy as np
import pytest
import yaml

from tests.report.pages import parse
from wedefense.metrics.detection import DetectionCosts, detection_metrics
from wedefense.report.benchmark import heat_map, rows_of, summary, told, write
from wedefense.scoring.benchmark import MEAN, POOLED, Scored, difference, evaluate, fix
from wedefense.scoring.submissions import write_submissions
from wedefense.utils.errors import InputError


def scored(bonafide, spoof):
    values = np.array([*bonafide, *spoof], dtype=float)
    return Scored([f"u{number}" for number in range(len(values))], values,
                  np.array([True] * len(bonafide) + [False] * len(spoof)))


SETS = {"dev": scored([1, 2, 3, 4], [-4, -3, -2, 1.5]),       # equal error rates of 1 in 4 at 1
        "eval": scored([0.5, 2, 2, 2], [-1, -1, -1, -1]),     # right, and one miss at 1
        "spoofs": scored([], [0, 0, 0, 2, 5])}                # two of five pass at 1


def test_each_set_the_mean_and_the_pool():
    result = evaluate(SETS, fix(SETS, "dev"))
    assert result["threshold"] == 1 and result["fixed_on"] == "dev"
    dev, other, spoofs = (result["sets"][name] for name in SETS)
    assert dev["eer"] == 0.25 and dev["miss"] == 0.25 and dev["false_accept"] == 0.25
    assert other["eer"] == 0 and other["miss"] == 0.25 and other["false_accept"] == 0
    assert spoofs == {"n_bonafide": 0, "n_spoof": 5, "n_skipped": 0, "false_accept": 0.4}  # 1 - SRR
    assert result[MEAN]["eer"] == 0.125 and result[MEAN]["false_accept"] == pytest.approx((0.25 + 0 + 0.4) / 3)
    pooled = detection_metrics(*(np.concatenate([s.scores[s.is_bonafide == kind] for s in SETS.values()])
                                 for kind in (True, False)))
    assert result[POOLED]["eer"] == pooled.eer and result[POOLED]["n_spoof"] == 13


def test_calibration_is_that_of_the_fixed_set_and_keeps_the_order():
    rng = np.random.default_rng(0)
    sets = {name: scored(rng.normal(4, 2, 400), rng.normal(-4, 2, 400)) for name in ("dev", "eval")}  # llr = 2 x score
    plain, fixed = evaluate(sets, fix(sets)), evaluate(sets, fix(sets, "dev"))
    assert fixed["calibration"].startswith("llr = ") and plain["calibration"] == "the scores are taken as they are"
    assert fixed["sets"]["eval"]["eer"] == plain["sets"]["eval"]["eer"]
    assert fixed["sets"]["eval"]["cllr"] < plain["sets"]["eval"]["cllr"]
    assert plain["fixed_on"].startswith("pooled")


def test_a_set_on_which_nothing_can_be_fitted_leaves_the_scores_as_they_are():
    turned = {"dev": scored([-3, -2], [2, 3])}
    result = evaluate(turned, fix(turned, "dev"))
    assert result["calibration"].startswith("the scores are taken as they are, since calibration would turn")


def test_what_could_not_be_read_is_left_out_and_counted():
    one = scored([1, np.nan, 3], [-1, -2])
    result = evaluate({"a": one}, fix({"a": one}))
    assert result["sets"]["a"]["n_bonafide"] == 2 and result["sets"]["a"]["n_skipped"] == 1
    assert "left out, as they cannot be read: a 1" in told("x", result)


def test_intervals_and_paired_differences():
    rng = np.random.default_rng(1)
    one = scored(rng.normal(1, 1, 300), rng.normal(-1, 1, 300))
    worse = Scored(one.keys, one.scores + rng.normal(0, 3, 600), one.is_bonafide)
    result = evaluate({"a": one}, fix({"a": one}), resamples=200)
    low, high = result["sets"]["a"]["eer_interval"]
    assert low < result["sets"]["a"]["eer"] < high
    found = difference(one, worse, DetectionCosts(), 200)
    assert found["difference"] > 0 and found["interval"][0] > 0 and found["p_value"] < 0.05
    assert difference(SETS["spoofs"], SETS["spoofs"], DetectionCosts(), 10) == {}


def test_what_cannot_be_evaluated_is_named():
    with pytest.raises(InputError, match="--fix_on devv: no such set, did you mean 'dev'"):
        fix(SETS, "devv")
    with pytest.raises(InputError, match="spoofs: a threshold needs bona fide recordings and spoofs"):
        fix(SETS, "spoofs")


def test_tables_and_page(tmp_path):
    fixed = fix(SETS, "dev")
    results = {"one": evaluate(SETS, fixed, resamples=20), "two, mp3@64": evaluate(SETS, fixed) | {
        "differences": {"dev": {"difference": 0.01, "interval": [-0.02, 0.03], "p_value": 0.5}}}}
    header, rows = summary(results)
    assert header == ["system", "dev", "eval", "spoofs", "mean", "pooled"]
    assert rows[0][:5] == ["one", "25.00", "0.00", "40.00*", "12.50"]
    assert rows_of(results["one"])[2] == ["spoofs", "0", "5", "", "", "", "", "", "", "", "40.00"]
    write(tmp_path, results, {"out": tmp_path, "sets": [("dev", "data/dev")]})
    assert "dev=data/dev" in (tmp_path / "benchmark.html").read_text()
    assert "| one         | 25.00 | 0.00 | 40.00* | 12.50 |" in (tmp_path / "benchmark.md").read_text()
    assert r"one & 25.00 & 0.00 & 40.00*" in (tmp_path / "benchmark.tex").read_text()
    dev = detection_metrics(SETS["dev"].scores[:4], SETS["dev"].scores[4:])
    assert rows_of(results["one"])[0][3:5] == [f"{dev.min_dcf:.4f}", "25.00"]
    assert rows_of(results["one"])[0][7] == f"{dev.min_cllr:.4f}"
    checker, page = parse(tmp_path / "benchmark.html")
    low, high = (100 * end for end in results["one"]["sets"]["dev"]["eer_interval"])
    text = (tmp_path / "benchmark.html").read_text()  # eleven columns are more than a sheet of paper holds
    assert f"<td>25.00<small>{low:.2f}-{high:.2f}</small></td>" in text and ">95 %</th>" not in text
    assert "EER in per cent of each set: one: dev 25.00, eval 0.00; two, mp3@64: dev 25.00, eval 0.00." in \
        checker.figures
    assert "dev: EER +1.00 points against the recordings as they are, 95 % [-2.00, +3.00]" in page
    assert heat_map(["system", "a"], [["x", "0.00"], ["y", "50.00"]]).count("<td style='--share:0.00'>") == 1
    assert ">in_<wbr>the_<wbr>wild<" in heat_map(["system", "in_the_wild"], [["x", "0.00"]])  # of many columns


def test_submissions_are_read_back_by_their_rules(tmp_path):
    made = write_submissions(tmp_path, ("arena", "asvspoof5", "asvspoof2021"), "My_system", {"dev": SETS["dev"]})
    assert {path.name for path in made} == {"scores.txt", "result.yaml", "score.tsv", "score.txt", "submission.zip"}
    arena = tmp_path / "arena/My_system/dev"
    lines = [line.split(" ") for line in (arena / "scores.txt").read_text().splitlines()]  # <utterance_id> <score>
    assert {key: float(score) for key, score in lines} == dict(zip(SETS["dev"].keys, SETS["dev"].scores))
    content = yaml.safe_load((arena / "result.yaml").read_text())
    assert content["schema_version"] == 4 and content["dataset"]["id"] is None  # no set of the Arena is called dev
    assert content["system"]["name"] == "My_system" and content["system"]["slug"] == "my-system"
    assert content["scores"] == {"eer_percent": 25.0, "n_trials": 8, "n_skipped": 0}
    header, *rows = (tmp_path / "asvspoof5/My_system/dev/score.tsv").read_text().splitlines()
    assert header.split("\t") == ["filename", "cm-score"] and all(len(row.split("\t")) == 2 for row in rows)
    with zipfile.ZipFile(tmp_path / "asvspoof2021/My_system/dev/submission.zip") as archive:
        assert archive.namelist() == ["score.txt"] and len(archive.read("score.txt").decode().splitlines()) == 8
    with pytest.raises(InputError, match="--export asvspoof5: a: 'u1' has no score"):
        write_submissions(tmp_path, ("asvspoof5",), "x", {"a": scored([1, np.nan], [0])})
