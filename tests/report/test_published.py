import json
import re

import pytest

from wedefense.bin.table import main
from wedefense.metrics.catalogue import METRICS
from wedefense.report import published
from wedefense.report.typeset import latex, markdown
from wedefense.utils.errors import InputError

RESULTS = {"sets": {
    "dev": {"eer": 0.02, "min_dcf": 0.05, "cllr": 0.1, "act_dcf": 0.06},
    "eval": {"eer": 0.03, "min_dcf": 0.05, "cllr": 0.5, "act_dcf": 0.2,
             "confidence": {"level": 0.95, "eer": [0.025, 0.035], "min_dcf": [0.04, 0.07]},
             "calibrated": {"eer": 0.03, "min_dcf": 0.05, "cllr": 0.2, "act_dcf": 0.08}}}}


@pytest.mark.parametrize("name", published.names())
def test_every_table_is_well_formed(name):
    table = published.load(name)
    assert table.title and table.source
    for row in table.rows:  # strict: as many numbers as columns
        for _, metric, value in row.values:
            assert METRICS[metric].heading
            assert value == published.NONE or (re.fullmatch(r"\d+\.\d+", value) and float(value) < 100), (name, row)


@pytest.mark.parametrize("table, row, expected", [  # the figures the papers are known for
    ("partialspoof_frozen", "wavlm-large", {"dev eer": "0.46", "eval eer": "1.38", "eval act_dcf": "0.04"}),
    ("partialspoof_finetuned", "WavLM-large FT 1 stage", {"eval eer": "1.03", "eval min_dcf": "0.02"}),
    ("asvspoof5_leaderboard", "HP single system", {"dev eer": "1.547", "eval min_dcf": "0.1028", "eval eer": "3.758"}),
    ("voxceleb_hybrid_pruning", "HP", {"vox1_o eer": "0.7", "vox1_h eer": "1.6"}),
    ("ca_mhfa_parameters", "CA-MHFA G=64 L=9", {"vox1_o eer": "0.70", "vox1_h eer": "1.45"}),
    ("voxceleb_systems", "WavLM-large + CA-MHFA + LMF/QMF",
     {"vox1_o eer": "0.42", "vox1_e eer": "0.48", "vox1_h eer": "0.96"}),
    ("superb_speaker", "WavLM-base+ + CA-MHFA", {"vox1_o eer": "1.79"}),
    ("superb_emotion", "WavLM-large + CA-MHFA", {"iemocap accuracy": "71.52"}),
    ("superb_deepfake", "WavLM-base+ + MHFA", {"eval eer": "0.20"}),
    ("partialspoof_localization", "BAM WavLM-large", {"eval segment_eer_160": "3.58", "eval segment_eer_20": "5.20"}),
    ("partialspoof_localization", "BAM XLS-R", {"eval segment_eer_160": "4.12"}),
    ("xlsr_sls", "paper", {"asvspoof2021_df eer": "1.92", "in_the_wild eer": "7.46"}),
])
def test_known_figures(table, row, expected):
    found = {f"{name} {metric}": value for name, metric, value in published.load(table).row(row).values}
    assert {key: found[key] for key in expected} == expected


def test_beside_gives_the_difference_in_the_unit_of_the_table():
    found = {(c.set, c.metric): c
             for c in published.compare(published.load("partialspoof_frozen").row("WavLM-base+"), RESULTS)}
    assert len(found) == 8
    eer = found["eval", "eer"]
    assert (eer.published, eer.ours) == ("2.68", pytest.approx(3.0))
    assert eer.difference == pytest.approx(0.32)
    assert eer.interval == pytest.approx((2.5 - 2.68, 3.5 - 2.68))
    assert found["eval", "cllr"].interval is None and found["dev", "min_dcf"].difference == pytest.approx(0.01)


def test_segments_stand_beside_those_of_their_length():
    """A length of its own head is that head's, a coarser one the finest head's."""
    rows = {"0.02": {"eer": 0.07}, "0.16": {"eer": 0.06}, "0.64": {"eer": 0.03}, "time": {"eer": 0.08}}
    heads = {"20": {"rows": rows,
                    "confidence": {"level": 0.95, "0.64": {"eer": [0.02, 0.05]}, "time": {"eer": [0.0, 1.0]}}},
             "160": {"rows": {"0.16": {"eer": 0.04}, "utterance": {"eer": 0.01}}}}
    row = published.load("partialspoof_localization").row("BAM WavLM-large")
    results = {"sets": {"eval": {"eer": 0.02, "localization": heads}}}
    found = {item.metric: item for item in published.compare(row, results)}
    assert {name: round(item.ours, 6) for name, item in found.items()} == {
        "segment_eer_20": 7.0, "segment_eer_160": 4.0, "segment_eer_640": 3.0}
    assert found["segment_eer_160"].difference == pytest.approx(0.42) and found["segment_eer_160"].interval is None
    assert found["segment_eer_640"].interval == pytest.approx((2.0 - 2.28, 5.0 - 2.28))
    row = published.load("partialspoof_localization").row("multi-resolution gMLP")
    assert [item.metric for item in published.compare(row, {"sets": {"eval": {"eer": 0.02}}})] == ["eer"]


def test_sets_by_other_names_and_calibrated_scores():
    row = published.load("asvspoof5_leaderboard").row("Rank 3 T27 fusion")
    found = published.compare(row, RESULTS, {"eval": "dev"})  # nothing published for dev: left out
    assert [(c.set, c.metric, c.ours) for c in found] == [("eval", "min_dcf", 0.05), ("eval", "eer", 2.0)]
    row = published.load("partialspoof_frozen").row("WavLM-base+")
    costs = {c.set: c.ours for c in published.compare(row, RESULTS, calibrated=True) if c.metric == "act_dcf"}
    assert costs == {"eval": 0.08, "dev": 0.06}


@pytest.mark.parametrize("sets, message", [
    ({"evil": "eval"}, "has no set 'evil', did you mean 'eval'"),
    ({"eval": "evall"}, "the experiment has no set 'evall', did you mean 'eval'"),
])
def test_unknown_sets_are_refused(sets, message):
    with pytest.raises(InputError, match=message):
        published.compare(published.load("partialspoof_frozen").row("XLSR-53"), RESULTS, sets)


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match="nothing to compare: .*vox1_e.*--rename SET=OURS"):
        published.compare(published.load("voxceleb_hybrid_pruning").row("HP"), RESULTS)


@pytest.mark.parametrize("arguments, message", [
    (["--table", "partialspof_frozen"], "did you mean 'partialspoof_frozen'"),
    (["--table", "xlsr_sls", "--row", "papr", "--exp_dir", "x"], "no row 'papr', did you mean 'paper'"),
    (["--table", "xlsr_sls", "--row", "paper", "--exp_dir", "x"], "results.json: no such file; run stage 7"),
])
def test_wrong_names_get_the_nearest(arguments, message):
    with pytest.raises(InputError, match=message):
        main(arguments)


def test_command_prints_both_forms(tmp_path, capsys):
    (tmp_path / "my_exp").mkdir()
    (tmp_path / "my_exp/results.json").write_text(json.dumps(RESULTS))
    assert main(["--table", "partialspoof_frozen", "--row", "WavLM-base+", "--exp_dir", str(tmp_path / "my_exp"),
                 "--format", "markdown", "latex"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| eval EER % +\| +2\.68 \| +3\.000 \| +\+0\.320 \| \+?-0\.180 to \+0\.820 \|", printed)
    assert r"eval EER \% & 2.68 & 3.000 & $+0.320$ & $-0.180$ to $+0.820$ \\" in printed
    assert r"my\_exp" in printed and r"95 \% interval" in printed
    assert main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(published.names())


def test_typeset_by_hand():
    header, rows = ["a", "b"], [["x|y", "-1.5"], ["50 %_#", "2"]]
    assert markdown(header, rows) == ("| a      |    b |\n| :----- | ---: |\n| x\\|y   | -1.5 |\n| 50 %_# |    2 |")
    assert latex(header, rows, "A & B").splitlines()[2:9] == [
        r"  \caption{A \& B}", r"  \begin{tabular}{lr}", r"    \toprule", r"    a & b \\", r"    \midrule",
        r"    x|y & $-1.5$ \\", r"    50 \%\_\# & 2 \\"]
