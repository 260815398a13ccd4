"""A generated campaign over every entry point: no traceback, no hang, no silent acceptance.

A small budget in every run; `--all` spends the large one, and `-s` shows the counts. What is drawn is the same every
time; a failure says what was drawn.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from tests.security.campaign import commands
from tests.security.campaign.judge import Wrong, attempt, campaign, harmless
from tests.security.campaign.mutation import mutated
from tests.security.campaign.readers import READERS, good
from wedefense.api import load_detector, load_experiment
from wedefense.config.loader import load_config
from wedefense.config.tree import read_tree
from wedefense.data.labels import Labels
from wedefense.frontend import load_frontend
from wedefense.metrics.keys import read_keys, read_scores
from wedefense.scoring.calibration import Calibration
from wedefense.utils.safe_load import load_torch

BUDGET = pytest.mark.parametrize("budget", [pytest.param(6, id="few"), pytest.param(150, id="many",
                                                                                  marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return good(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def folder(whole, tmp_path_factory):
    """A copy that tries may change; the one file that a try changes is put back after it."""
    return shutil.copytree(whole, tmp_path_factory.mktemp("tries") / "t")


@BUDGET
@pytest.mark.parametrize("name", READERS)
def test_readers(folder, whole, name, budget, monkeypatch):
    reader = READERS[name]
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    content = (whole / reader.file).read_bytes()
    (folder / reader.file).write_bytes(content)
    outcome, result = attempt(lambda: reader.read(folder))
    assert outcome == "taken" and reader.holds(result), f"the good file: {result}"

    def one(data):
        (folder / reader.file).write_bytes(data.draw(mutated(content, reader.text)))
        outcome, result = attempt(lambda: reader.read(folder), reader.also)
        if outcome == "taken" and not reader.holds(result):
            raise Wrong(f"accepted in silence: {result}")
        return outcome, result

    try:
        campaign(name, max(round(budget * reader.share), 5), one)
    finally:
        shutil.copytree(whole, folder, dirs_exist_ok=True)


@pytest.fixture
def odd(whole, tmp_path, monkeypatch):
    """The good folder with a pipe, an empty file, a folder and a link in it; also the working folder."""
    folder = shutil.copytree(whole, tmp_path / "odd")
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "link").symlink_to("eval.scores")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    monkeypatch.setenv("WEDEFENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return folder


@BUDGET
@pytest.mark.parametrize("command", commands.ALL)
def test_commands(odd, command, budget):
    counts = campaign(f"wedefense {command}", budget, lambda data: attempt(
        lambda: commands.run(command, data.draw(commands.command_lines(command)))))
    assert counts["taken"] + counts["refused"] == counts["tried"] > 0


SAMPLES = st.one_of(
    st.sampled_from([None, "", "a.wav", "fifo", "nowhere.wav", b"", b"RIFF", [], [[]], "a\0b", os.fsdecode(b"\xff"), {},
                     3]),
    st.builds(lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
              st.sampled_from([(), (0,), (1,), (5,), (4000,), (2, 4000), (4000, 2), (2, 0), (1, 1, 40), (300, 300)]),
              st.sampled_from(["f4", "f8", "f2", "i2", "i4", "u1", "?", "c8", "O", "U3"]),
              st.sampled_from([0, 1, -1, 0.5, 1e30])),
    st.sampled_from([np.array([np.nan] * 4000), np.array([np.inf] * 4000), torch.zeros(4000), torch.full((9,), 1e38)]))
RATES = st.sampled_from([None, 0, -1, 1, 16000, 44100, 16000.0, 16000.5, 10**9, float("nan"), float("inf"), "16000",
                         True])
NUMBERS = st.sampled_from([None, 0, -1, 0.05, 1, 2, float("nan"), float("inf"), 1e-320, 0.5, 10, "x"])


@BUDGET
def test_python(odd, budget):
    """Wrong types may be a TypeError of Python; whatever else is wrong is an InputError."""
    model = load_detector(odd / "exp")

    def one(data):
        method = data.draw(st.sampled_from(["score", "embed", "similarity", "frame_scores"]))
        audio, rate = data.draw(SAMPLES), data.draw(RATES)
        more = {}
        if method == "score":
            more = {"prior": data.draw(NUMBERS) or 0.05, "window": data.draw(NUMBERS)}
        if method == "similarity":
            audio = (audio, data.draw(SAMPLES))
        else:
            audio = (audio,)
        outcome, result = attempt(lambda: getattr(model, method)(*audio, rate, **more), also=(TypeError,))
        if outcome == "taken":
            values = {"score": lambda: [one.llr for one in result] if isinstance(result, list) else [result.llr],
                      "embed": lambda: result, "similarity": lambda: [result], "frame_scores": lambda: result.llr}
            if not np.isfinite(np.asarray(values[method](), dtype=float)).all():
                raise Wrong(f"{method} gave {result}")
        return outcome, result

    counts = campaign("Python, audio", budget * 3, one)
    assert counts["refused"] and counts["taken"] + counts["refused"] == counts["tried"]


@BUDGET
def test_python_loading(odd, budget):
    names = st.one_of(st.sampled_from(commands.FILES), st.sampled_from(commands.JUNK),
                      st.sampled_from([None, 3, [], b"x"]))

    def one(data):
        load = data.draw(st.sampled_from([load_detector, load_experiment, load_frontend, load_torch, Labels.load,
                                          Calibration.load, read_scores, read_keys, load_config, read_tree]))
        return attempt(lambda: load(data.draw(names)), also=(TypeError,))

    counts = campaign("Python, loading", budget * 3, one)
    assert counts["refused"] and counts["taken"] + counts["refused"] == counts["tried"]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_run_sh(whole, tmp_path, number):
    """Options of a recipe, in a process of its own: an error and no traceback, or a stage that has nothing to do."""
    lines = [["--stage", "x"], ["--stage", "99"], ["--stage", "3", "--stop_stage", "2"], ["--stage", ""],
             ["--nothing", "1"], ["--stage"], ["--data_type", "x", "--stage", "2", "--stop_stage", "2"],
             ["--config", "nowhere.yaml"],
             ["--stage", "3", "--stop_stage", "3", "--config", str(whole / "eval.scores")],
             ["--stage", "3", "--stop_stage", "3", "--exp_dir", "/dev/null/x"], ["--stage", "-1"],
             ["--stage", "4", "--stop_stage", "4", "--exp_dir", str(tmp_path / "none")]]
    root = Path(__file__).parents[2]
    copy = shutil.copytree(root / "egs/detection/mini", tmp_path / "egs/detection/mini")
    for name in ("conf", "tools", "wedefense"):
        (tmp_path / name).symlink_to(root / name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "run.sh", *lines[number]], cwd=copy, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(root), "PATH": path}, stdin=subprocess.DEVNULL)
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout, done.stderr
    assert harmless(done.stderr)
