"""Data and experiments in folders whose names have blanks, quotes, dollars and other letters."""

import shlex

import numpy as np
import pytest

from tests.recipes.stages_here import Stages
from tests.recipes.test_stops import python, run  # noqa: F401, a fixture
from tests.recipes.tiny import EGS
from wedefense import load_detector
from wedefense.utils.errors import InputError

ODD = "a 'b\" $HOME ;é中 %s #"


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_stages(tmp_path, data_type, monkeypatch):
    monkeypatch.setattr("wedefense.report.write.write_report", lambda *arguments: None)
    stages = Stages(tmp_path / ODD, data_type, num_epochs=1, num_avg=1)
    stages.run(2)
    assert stages.found()["sets"]["eval"]["n_spoof"] == 4
    before = {path: path.stat().st_mtime_ns for path in stages.exp.rglob("embedding*")}
    stages.run(2, stop=6)  # all is found again
    assert before == {path: path.stat().st_mtime_ns for path in stages.exp.rglob("embedding*")}
    with pytest.raises(InputError) as error:
        stages.run(4, "--seed", "8")
    words = shlex.split(str(error.value)[str(error.value).index("--fork"):])
    assert words[:2] == ["--fork", f"{stages.exp}-2"]  # as it can be typed
    assert np.isfinite(load_detector(stages.exp).score(stages.data / "eval/eval_0000.wav").llr)


def test_run_sh(python):  # noqa: F811
    script = EGS / "detection/mini/run.sh"
    odd = python / ODD
    odd.mkdir()
    done, calls = run(python, script, "nothing", "--data", str(odd / "data"), "--exp_dir", str(odd / "exp"), "--stage",
                      "2")
    assert done.returncode == 0, done.stderr
    assert f"--data_dir {odd}/data/train " in calls and f"--exp_dir {odd}/exp " in calls
    assert sorted(path.name for path in python.iterdir()) == sorted(["bin", "calls", ODD])
