"""`wedefense experiments`: seeds of one setting as one row, and the settings by which rows differ."""

import json

import pytest

from wedefense.bin.experiments import main
from wedefense.utils.errors import InputError


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Writes the results of an experiment as stage 7 does, with what made them."""
    monkeypatch.chdir(tmp_path)

    def make(name, eer, seed=42, weights=None, trials=8, more=None, averaged=(1, 2), cut="a" * 24, chosen=None,
             trained=2, **settings):
        training = {"seed": seed, "num_epochs": 2, "optimizer": "AdamW", "scheduler_args": {"initial_lr": 0.1},
                    "train_data": {"utterances": "0" * 24, "audio": "1" * 24}} | settings
        of = {"n_bonafide": trials, "n_spoof": 4, "costs": {"p_spoof": 0.05, "c_miss": 1, "c_fa": 10}, "doubts": []}
        results = {"dev_set": "dev", "sets": {
            "dev": of | {"n_bonafide": 8, "eer": 0.5, "min_dcf": 1.0},
            "eval": of | {"eer": eer, "min_dcf": 2 * eer} | (more or {})},
            "made_by": {"training": training, "epochs_averaged": list(averaged), "epochs_chosen": chosen,
                        "epochs_trained": trained, "weights": weights or name,
                        "embeddings": {"eval": {"utterances": cut, "eval_frms": 0, "weights": name}}}}
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "results.json").write_text(json.dumps(results))
        return name

    return make


def table(capsys, *arguments):
    """Its rows by cells."""
    assert main(list(arguments)) == 0
    printed = capsys.readouterr().out
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()
            if line.startswith("|") and "---" not in line]


def test_seeds_are_one_row_with_mean_and_deviation(made, capsys):
    names = [made(f"exp/s{seed}", eer, seed) for seed, eer in ((42, 0.10), (43, 0.12), (44, 0.17))]
    assert table(capsys, *names, "--metrics", "eer", "min_dcf") == [
        ["", "trainings", "eval minDCF", "eval EER %"], ["s42, s43, s44", "3", "0.2600 ± 0.0721", "13.000 ± 3.606"]]


def test_rows_say_by_which_settings_they_differ(made, capsys):
    names = [made("exp/a1", 0.1, 1), made("exp/b1", 0.2, 1, scheduler_args={"initial_lr": 0.01}),
             made("exp/a2", 0.3, 2),
             made("exp/c", 0.4, averaged=(2,), train_data={"utterances": "2" * 24, "audio": "1" * 24})]
    assert table(capsys, *names, "--metrics", "eer") == [
        ["", "initial_lr", "train_data", "averaged", "trainings", "eval EER %"],
        ["a1, a2", "0.1", "a", "1, 2", "2", "20.000 ± 14.142"], ["b1", "0.01", "a", "1, 2", "1", "20.000"],
        ["c", "0.1", "b", "2", "1", "40.000"]]


def test_options_of_parts_that_others_lack_are_no_columns(made, capsys):
    """Three front-ends took a column for each option of each: 41."""
    ssl = {"layer": -1, "frozen": True}
    names = [made("a", 0.1, dataset_args={"frontend": "ssl", "ssl_args": ssl}),
             made("b", 0.2, dataset_args={"frontend": "ssl", "ssl_args": ssl | {"frozen": False}}),
             made("c", 0.3, dataset_args={"frontend": "fbank", "fbank_args": {"num_mel_bins": 80}})]
    assert table(capsys, *names, "--metrics", "eer") == [
        ["", "frontend", "frozen", "eval EER %"], ["a", "ssl", "true", "10.000"], ["b", "ssl", "false", "20.000"],
        ["c", "fbank", "-", "30.000"]]
    ssl = ssl | {"adapters": {"r": 8}}
    adapted = made("d", 0.4, dataset_args={"frontend": "ssl", "ssl_args": ssl}, optimizer="SGD")
    assert table(capsys, names[0], adapted, names[2], "--metrics", "eer")[:3] == [  # of one part, it is told
        ["", "optimizer", "frontend", "r", "eval EER %"], ["a", "AdamW", "ssl", "-", "10.000"],
        ["d", "SGD", "ssl", "8", "40.000"]]


def test_epochs_that_validation_chose_are_no_setting(made, capsys):
    """Those of `average: best`, and the last ones of trainings that stopped early, differ from seed to seed."""
    best = [made("a1", 0.1, 1, averaged=(1,), chosen="best 1"), made("a2", 0.3, 2, averaged=(2,), chosen="best 1")]
    early = {"chosen": "last 1", "early_stop_patience": 3}
    last = [made(f"b{seed}", eer, seed, averaged=(end,), trained=end, **early)
            for seed, eer, end in ((1, 0.1, 7), (2, 0.3, 9))]
    for names in (best, last):
        assert table(capsys, *names, "--metrics", "eer")[1] == [", ".join(names), "2", "20.000 ± 14.142"]
    half = made("c", 0.2, 3, averaged=(1,), chosen="best 1", trained=1)  # not yet trained as the others
    assert [row[:2] for row in table(capsys, *best, half)] == [
        ["", "averaged"], ["a1, a2", "best 1 of 2"], ["c", "best 1 of 1"]]


def test_results_of_other_trials_or_costs_are_not_averaged(made, capsys):
    names = [made("a", 0.1, 1), made("b", 0.2, 2, trials=9), made("c", 0.3, 3, cut="b" * 24)]
    rows = table(capsys, *names, "--metrics", "eer")
    assert [row[0] for row in rows] == ["", "a", "b", "c"] and rows[0][1] == "trials of eval"
    assert [row[1] for row in rows[1:]] == ["a", "b", "c"]


def test_one_training_named_twice_is_no_second_seed(made):
    with pytest.raises(InputError, match="a and b: the same weights; one training counts once, leave one out"):
        main([made("a", 0.1, weights="w"), made("b", 0.1, weights="w")])


def test_more_keys_may_be_averaged_over(made, capsys):
    names = [made("a", 0.1, 1, model_init="2" * 24), made("b", 0.3, 2, model_init="3" * 24)]
    assert [row[1] for row in table(capsys, *names)] == ["model_init", "a", "b"]
    assert table(capsys, *names, "--over", "seed", "model_init", "--metrics", "eer")[1] == [
        "a, b", "2", "20.000 ± 14.142"]
    with pytest.raises(InputError, match="--over sead: .*did you mean 'seed'"):
        main([*names, "--over", "sead"])


def test_without_results_or_a_record(made, capsys, tmp_path, caplog):
    (tmp_path / "unfinished").mkdir()
    assert [row[0] for row in table(capsys, made("a", 0.1), "unfinished")] == ["", "a"]
    assert "unfinished: no results yet (stage 7), left out" in caplog.text
    with pytest.raises(InputError, match="unfinished: no results yet"):
        main(["unfinished"])
    for name in ("old", "older"):
        (tmp_path / made(name, 0.2) / "results.json").write_text(json.dumps({"sets": {"eval": {"eer": 0.2}}}))
    assert [row[0] for row in table(capsys, "old", "older")] == ["", "old", "older"]  # who knows whether they are alike


def test_doubts_are_not_lost(made, capsys):
    a, b = made("a", 0.1, more={"doubts": ["14 of 128 left out"]}), made("b", 0.2, 43)
    assert main([a, b]) == 0
    assert capsys.readouterr().err == "doubts about eval of a: detection_result.txt there tells them\n"


def test_sets_metrics_calibrated_and_latex(made, capsys):
    a = made("a", 0.1, more={"calibrated": {"eer": 0.1, "cllr": 0.4}})
    assert table(capsys, a, "--sets", "dev", "eval", "--metrics", "eer")[0] == ["", "dev EER %", "eval EER %"]
    assert table(capsys, a, "--calibrated")[0] == ["", "eval EER %", "eval Cllr"]
    assert main([a, made("b", 0.2, 43), "--format", "latex"]) == 0
    assert r"15.000 $\pm$ 7.071" in capsys.readouterr().out
    for wrong, match in ((["--sets", "evl"], "no results of 'evl', did you mean 'eval'"),
                         (["--metrics", "err"], "--metrics err, did you mean 'eer'"),
                         (["--calibrated", "--sets", "dev"], "no calibrated results of 'dev'")):
        with pytest.raises(InputError, match=match):
            main([a, *wrong])
