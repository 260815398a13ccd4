"""Every recipe stops at the stage that fails, with its code, and says how to go on: Python is replaced by a script that
succeeds at everything but that stage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.tiny import EGS, SCRIPTS, corpora, title

PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
case "$*" in
  *num_gpus*) echo 1 ;;
  *use_pruning_loss*) echo false ;;
esac
if [[ "$*" = *"$FAILING"* ]]; then exit 7; fi
"""
CALLS = {  # what the Python of a stage is called with
    0: "download.py", 1: "/prepare/", 2: "cli make_list", 3: "wedefense.bin.train", 4: "cli average", 5: "cli logits",
    6: "cli llr", 7: "--exp_dir", 8: "--model_init", 9: "cli table"}
TASKS = {"speaker": {7: "cli score_trials"}, "classes": {7: "cli classify"}, "detection": {7: "cli results"}}


@pytest.fixture
def python(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(PYTHON)
    (tmp_path / "bin/python").chmod(0o755)
    return tmp_path


def run(folder: Path, script: Path, failing: str, *arguments: str) -> tuple[subprocess.CompletedProcess, str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": "none",
                   "CALLS": str(folder / "calls"), "FAILING": failing}
    (folder / "calls").write_text("")
    done = subprocess.run(["bash", script, "--data", folder / "data", "--exp_dir", folder / "exp", "--corpus", folder,
                           *arguments], env=environment, capture_output=True, text=True, cwd=folder)
    return done, (folder / "calls").read_text()


def stages_of(script: Path) -> dict[int, str]:
    text = script.read_text() + (script.parent / "run.sh").read_text()
    task = next((name for name in TASKS if f"task={name}" in text), "detection")
    calls = {**CALLS, **TASKS[task]}
    skipped = {"speaker": (5, 6), "classes": (6,), "detection": ()}[task]
    if not corpora(script.parent):
        skipped += (0, 1)
    return {stage: call for stage, call in calls.items() if stage not in skipped}


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.name != "run_ft.sh"], ids=title)
def test_a_failure_in_any_stage_ends_the_run(python, script):
    stages = stages_of(script)
    every = ["--stop_stage", "9", "--ft_config", "conf/of_this_test.yaml", "--table", "a", "--row", "b"]
    done, calls = run(python, script, "nothing", "--stage", str(min(stages)), *every)
    assert done.returncode == 0, done.stderr
    for stage, call in stages.items():
        assert f"== stage {stage}: " in done.stdout and call in calls, (stage, calls)
        failed, _ = run(python, script, call, "--stage", str(stage), *every)
        assert failed.returncode == 7, (stage, failed.stdout, failed.stderr)
        assert f"== stage {stage}: " in failed.stderr and "FAILED with exit code 7" in failed.stderr
        assert f"go on with --stage {stage}" in failed.stderr
        assert not any(f"== stage {later}: " in failed.stdout for later in stages if later > stage), failed.stdout


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.name == "run_ft.sh"], ids=title)
def test_a_failure_in_fine_tuning_ends_it(python, script):
    for failing in ("wedefense.bin.train", "cli average", "wedefense.bin.embed"):
        done, calls = run(python, script, failing)
        assert done.returncode == 7 and "go on with --stage 8" in done.stderr, (failing, done.stderr)
        assert failing in calls.splitlines()[-1]
    done, calls = run(python, script, "nothing")
    assert done.returncode == 0 and f"--model_init {python}/exp/models/avg_model.pt" in calls


def test_folders_lie_where_the_user_stands(python):
    script = EGS / "detection/mini/run.sh"
    done, calls = run(python, script, "nothing", "--exp_dir", "mine", "--fork", "mine2", "--stage", "3")
    assert done.returncode == 0, done.stderr
    assert f"newest_weights --exp_dir {python}/mine " in calls and f"--exp_dir {python}/mine2 " in calls


def test_a_recipe_without_a_corpus_says_what_it_needs(python):
    script = next(script for script in SCRIPTS if "spoofceleb" in str(script))
    environment = {**os.environ, "PATH": f"{python / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": "none",
                   "CALLS": str(python / "calls"), "FAILING": "nothing"}
    done = subprocess.run(["bash", script, "--data", python / "data"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "--corpus DIR (spoofceleb musan rirs_noises;" in done.stderr
    assert "go on with --stage 1" in done.stderr and "== stage 2" not in done.stdout


@pytest.mark.parametrize("stages", [("x",), ("99",), ("3", "2"), ("", "7"), ("-1",), ("3.5",), ("5", "6", "speaker")],
                         ids=" ".join)
def test_a_run_without_a_stage_is_an_error(python, stages):
    task = stages[2] if len(stages) > 2 else "detection"
    script = next(script for script in SCRIPTS if script.name == "run.sh" and f"task={task}" in script.read_text()
                  or task == "detection" and script.parent.name == "ssl_sls")
    done, calls = run(python, script, "nothing", "--stage", stages[0],
                      *(["--stop_stage", stages[1]] if len(stages) > 1 else []))
    assert done.returncode == 2 and "to run" in done.stderr and "== stage" not in done.stdout, done.stderr
    assert "bin.train" not in calls


def test_a_python_without_the_toolkit_is_named_with_the_cure(python):
    (python / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without its site-packages
    done, _ = run(python, SCRIPTS[0], "nothing")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {python / 'bin/python'}: WeDefense is not installed there. Activate")
    assert "Traceback" not in done.stderr
