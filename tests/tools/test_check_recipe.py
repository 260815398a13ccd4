"""`tools/check_recipe.py` on the recipes: each config trains, validates, saves and goes on, on one rank and on two."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.recipes.tiny import EGS, ROOT
from tests.train.test_ranks import ENVIRONMENT

CONFIG = ROOT / "egs/detection/partialspoof/ssl_mhfa/conf/MHFA_wavlmplus.yaml"


def check(folder, *arguments, folders=ROOT) -> tuple[int, list[dict], str]:
    command = [sys.executable, ROOT / "tools/check_recipe.py", "--width", "small", "--device", "cpu", "--work", folder,
               "--json", folder / "found.json", *arguments]
    done = subprocess.run([str(word) for word in command], env=ENVIRONMENT | {"PYTHONPATH": str(folders)},
                          capture_output=True, text=True)
    return done.returncode, json.loads((folder / "found.json").read_text()), done.stdout + done.stderr


def test_a_config_that_runs_and_one_that_does_not(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"base: {CONFIG}\nmodel_args: {{head_nb: 0}}\n")
    code, (good, bad), printed = check(tmp_path, CONFIG, broken)
    assert code == 1 and "1 of 2 configs pass on 1 rank at small width" in printed
    assert not good["error"] and good["memory"] > 2**27 and good["weights"] < good["last"]
    assert "head_nb" in bad["error"]


ENDS = """
import atexit
import os

from wedefense.config.modes import ModeOptions
from wedefense.train.modes import Mode


class Ends(Mode):
    Options = ModeOptions

    def __init__(self, options, detector):
        super().__init__()
        atexit.register(os._exit, 9)
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_process_that_fails_once_all_is_told_fails_its_last_config(tmp_path, ranks):
    (tmp_path / "ends.py").write_text(ENDS)
    config = tmp_path / "ends.yaml"
    config.write_text(f"base: {CONFIG}\nmode: ends:Ends\n")
    code, (found,), printed = check(tmp_path, "--ranks", ranks, config, folders=f"{tmp_path}{os.pathsep}{ROOT}")
    assert code == 1 and found["error"].startswith("ended with 9: " + "error: rank" * (ranks > 1)), printed


WAITS = """
import os, time
from pathlib import Path

from wedefense.config.modes import ModeOptions
from wedefense.train.modes import Mode


class Waits(Mode):
    Options = ModeOptions

    def __init__(self, options, detector):
        super().__init__()
        Path(__file__).with_name("pid").write_text(str(os.getpid()))
        time.sleep(600)
"""


def test_a_config_is_told_when_it_is_through_and_stays_told_when_the_check_is_stopped(tmp_path):
    (tmp_path / "waits.py").write_text(WAITS)
    waits = tmp_path / "waits.yaml"
    waits.write_text(f"base: {CONFIG}\nmode: waits:Waits\n")
    command = [sys.executable, ROOT / "tools/check_recipe.py", "--width", "small", "--device", "cpu", "--work",
               tmp_path, "--json", tmp_path / "found.json", CONFIG, waits]
    environment = ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    (tmp_path / "found.json").write_text('["of an earlier check"]')
    check = subprocess.Popen([str(word) for word in command], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert check.stdout.readline().split()[:2] == ["config", "r"]
        assert "earlier" not in (tmp_path / "found.json").read_text()
        assert check.stdout.readline().startswith(f"1/2 {CONFIG}")  # while the second waits
        assert [found["config"] for found in json.loads((tmp_path / "found.json").read_text())] == [str(CONFIG)]
        while not (tmp_path / "pid").exists():
            time.sleep(0.05)
    finally:
        check.terminate()
        rest = check.communicate()[0]
    assert check.returncode == 130 and rest == "stopped after 1 of 2 configs\n"
    with pytest.raises(ProcessLookupError):  # nothing goes on behind
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_every_config_of_the_recipes_passes(tmp_path, ranks):
    configs = sorted(EGS.rglob("conf/*.yaml"))
    code, found, printed = check(tmp_path, "--ranks", ranks, *configs)
    assert code == 0 and len(found) == len(configs), printed
