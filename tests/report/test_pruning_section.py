"""The report's section on pruning, from what cutting and scoring leave in the folder."""

import json

from wedefense.report.pruning_plot import kept_figure
from wedefense.report.pruning_section import pruning

UNITS = {"before": {"conv": [32, 32], "head": [4, 4, 4], "interm": [128, 128, 128]},
         "after": {"conv": [32, 1], "head": [4, 0, 2], "interm": [128, 3, 0]}}
REPORT = {"measure": "parameters", "target_sparsity": 0.5, "sparsity": 0.498, "unpruned": "../whole", "units": UNITS,
          "parameters": {"before": 200000, "after": 100400},
          "multiply-adds": {"before": 4000000000, "after": 1000000000}, "seconds": {"before": 0.02, "after": 0.01}}


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def results(eer: float, min_dcf: float) -> dict:
    return {"sets": {"dev": {"eer": eer, "min_dcf": min_dcf}}}


def test_costs_and_accuracy_before_and_after(tmp_path):
    exp = tmp_path / "exp"
    write(exp, "pruning.json", REPORT)
    write(exp, "results.json", results(0.12, 0.3))
    alone = pruning(exp)
    write(tmp_path / "whole", "results.json", results(0.10, 0.25))
    beside = pruning(exp)
    for text in ("50.0 % of the parameters were to go, 49.8 % went", "<td>0.200</td><td>0.100</td><td>−49.8 %</td>",
                 "33 of 64 convolution channels",
                 "<td>4.000</td><td>1.000</td><td>−75.0 %</td>", "<td>20.0</td><td>10.0</td><td>−50.0 %</td>"):
        assert text in alone and text in beside, text
    assert "<td>dev, EER %</td><td></td><td>12.000</td><td></td>" in alone
    assert "<td>dev, EER %</td><td>10.000</td><td>12.000</td><td>+2.000</td>" in beside
    assert "<td>dev, minDCF</td><td>0.2500</td><td>0.3000</td><td>+0.0500</td>" in beside


def test_an_experiment_that_was_not_pruned_has_no_section(tmp_path):
    assert pruning(tmp_path) == ""


def test_the_picture_has_a_bar_for_each_layer():
    figure = kept_figure(UNITS["before"], UNITS["after"])
    assert [len(axes.texts) for axes in figure.axes] == [2, 3, 3]
    assert [text.get_text() for text in figure.axes[1].texts] == ["4 of 4", "0 of 4", "2 of 4"]
    left = [bar.get_width() for bar in figure.axes[2].patches[3:]]
    assert left == [1.0, 3 / 128, 0.0]
