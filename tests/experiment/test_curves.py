import json

import pytest

from wedefense.bin.history import main
from wedefense.experiment.curves import Panel, panels, text_plot
from wedefense.utils.errors import InputError

ROWS = [{"epoch": epoch, "train_loss": 1.0 / epoch, "train_accuracy": 0.5 + 0.04 * epoch, "val_loss": None} |
        ({"val_eer": 0.3 / epoch, "val_min_dcf": 0.9, "val_loss": 2.0 / epoch} if epoch % 2 == 0 else {})
        for epoch in range(1, 11)]


def test_panels_are_those_of_what_is_there():
    found = {panel.name: panel for panel in panels(ROWS)}
    assert list(found) == ["loss", "accuracy", "eer", "costs"]
    assert found["loss"].curves["validation"] == [(epoch, 2.0 / epoch) for epoch in (2, 4, 6, 8, 10)]
    assert found["eer"].curves["EER"][0] == (2, pytest.approx(15.0)) and list(found["costs"].curves) == ["minDCF"]


def test_marks_stand_where_the_values_are():
    text = text_plot(Panel("x", "X", {"a": [(1, 0.0), (5, 4.0)], "b": [(1, 0.0), (3, 2.0)]}), width=16, height=5)
    assert text.splitlines() == ["X", "     4 |    *", "       |", "       |  o", "       |", "     0 |*",
                                 "        1 ... 5 epoch   * a  o b"]
    flat = text_plot(Panel("x", "X", {"a": [(3, 0.5)]}), width=16, height=3)
    assert flat.splitlines()[1] == "   0.5 |*"


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "history.json").write_text(json.dumps(
        {"rows": ROWS, "best": {"epoch": 10, "metric": "val_eer", "value": 0.03}}))
    assert main([str(tmp_path), "--height", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and lines[-1] == "best of 10 epochs: 10, EER 3.00 %"
    (tmp_path / "history.json").write_text(json.dumps(
        {"rows": ROWS[:1], "best": {"epoch": 1, "metric": "val_eer", "value": 0.03}}))
    assert main([str(tmp_path)]) == 0 and "best of 1 epoch: 1," in capsys.readouterr().out
    assert lines[0] == "Loss" and lines[1].startswith("     1 |") and sum(line.count("|") for line in lines) == 24
    (tmp_path / "history.json").unlink()
    with pytest.raises(InputError, match="history.json: no epoch is finished yet"):
        main([str(tmp_path)])
