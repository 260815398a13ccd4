"""A generated campaign over every entry point: no traceback, no hang, no silent acceptance.

A small budget in every run; `--all` spends the large one, and `-s` shows the counts. What is drawn is the same every
time; a failure says what was drawn.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from tests.security.campaign import commands, recipe_lines
from tests.security.campaign.judge import Wrong, attempt, campaign, harmless
from tests.security.campaign.label_readers import CORPORA, corpus, whole_sets
from tests.security.campaign.model_readers import RECORDS, asked_and_judged, good_lock, good_stages, owner_of
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


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No try waits for the disk; that what is written survives a loss of power is another test's matter."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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


def with_odd_files(whole, folder, monkeypatch):
    """A copy with a pipe, an empty file, a folder and a link in it; also the working folder."""
    shutil.copytree(whole, folder)
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "link").symlink_to("scores.txt")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    monkeypatch.setenv("WEDEFENSE_CACHE", str(folder.parent / "cache"))
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return folder


@contextlib.contextmanager
def read_all_along(pipe):
    """Somebody reads what is written into it, as whoever gives a pipe for an output does."""
    descriptor, over = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), threading.Event()

    def read():
        while not over.wait(0.2):
            with contextlib.suppress(BlockingIOError):
                os.read(descriptor, 1 << 16)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield
    over.set()
    reader.join()
    os.close(descriptor)


@pytest.fixture
def odd(whole, tmp_path, monkeypatch):
    folder = with_odd_files(whole, tmp_path / "odd", monkeypatch)
    with read_all_along(folder / "fifo"):
        yield folder


@pytest.fixture
def odd_walk(walked_through, tmp_path, monkeypatch):
    folder = with_odd_files(walked_through, tmp_path / "odd", monkeypatch)
    with read_all_along(folder / "fifo"):
        yield folder


@BUDGET
@pytest.mark.parametrize("command", commands.ALL)
def test_commands(odd_walk, command, budget, monkeypatch):
    """Examples of the helps with something wrong: what is refused leaves experiments alone, and nothing half-written
    stays."""
    if budget < 100:  # pages take most of the time
        for name in ("write_report", "write_class_report"):
            monkeypatch.setattr(f"wedefense.report.write.{name}", lambda *arguments, **more: "")
    options, watched = commands.options_of(command), commands.Watched(odd_walk)

    def one(data):
        line = data.draw(commands.command_lines(command, options))
        outcome, result = attempt(lambda: commands.run(command, line))
        wrong = watched.wrong(outcome)
        watched.restore()
        if wrong:
            raise Wrong(f"{wrong}: {line}")
        return outcome, result

    counts = campaign(f"wedefense {command}", budget, one)
    assert counts["taken"] + counts["refused"] == counts["tried"] > 0


@BUDGET
@pytest.mark.parametrize("name", CORPORA)
def test_corpora(tmp_path, name, budget):
    """Protocols of corpora as they are released: what is written has a recording for every label."""
    protocols, read = corpus(tmp_path, name)
    outcome, result = attempt(lambda: read(tmp_path))
    assert outcome == "taken" and whole_sets(result), f"the good release: {result}"
    contents = {path: path.read_bytes() for path in protocols}

    def one(data):
        if not contents:
            return attempt(lambda: read(tmp_path))
        path = data.draw(st.sampled_from(protocols))
        path.write_bytes(data.draw(mutated(contents[path])))
        outcome, result = attempt(lambda: read(tmp_path))
        path.write_bytes(contents[path])
        if outcome == "taken" and not whole_sets(result):
            raise Wrong(f"accepted in silence: {result}")
        return outcome, result

    campaign(f"corpus {name}", budget if contents else 1, one)


@BUDGET
@pytest.mark.parametrize("name", RECORDS)
def test_records(stages, name, budget, monkeypatch):
    """What the stages leave for one another: a change is refused, or changes no result."""
    monkeypatch.setattr("wedefense.report.write.write_report", lambda *arguments: None)
    stages.restore()
    path, before = stages.exp / name, stages.found()
    content = path.read_bytes()
    assert asked_and_judged(stages, RECORDS[name]) == before

    def one(data):
        stages.restore()
        path.write_bytes(data.draw(mutated(content)))
        outcome, result = attempt(lambda: asked_and_judged(stages, RECORDS[name]))
        if outcome == "taken" and result != before:
            raise Wrong(f"accepted in silence: {result}")
        return outcome, result

    campaign(f"record {name}", budget, one)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wedefense.report.write.write_report", lambda *arguments: None)
        stages = good_stages(tmp_path_factory.mktemp("stages"))
    stages.keep()
    return stages


@BUDGET
def test_locks(tmp_path, budget, monkeypatch):
    """Somebody's lock in any state: the folder is had, or refused; nobody waits for ever."""
    monkeypatch.setattr("wedefense.utils.owner._SILENT", 0.1)
    content = good_lock(tmp_path / "owned")

    def one(data):
        (tmp_path / "owned").mkdir(exist_ok=True)
        (tmp_path / "owned/.owner").write_bytes(data.draw(mutated(content)))
        outcome, result = attempt(lambda: owner_of(tmp_path))
        shutil.rmtree(tmp_path / "owned", ignore_errors=True)
        return outcome, result

    counts = campaign("lock", budget, one)
    assert counts["taken"] and counts["taken"] + counts["refused"] == counts["tried"]


MODELS = ["exp", "shared", "pruned", "exp/models/avg_model.pt", "legacy.pt", "weights.safetensors", "conf/config.yaml",
          "exp/label2id", "train", "train/wav.scp", "eval.scores", "calibration.json", "a.wav", "exp/history.json",
          "hf", "whisper", "published.pt", "s3prl.pt", "x.nemo", "foreign.yaml", "quality", "own/x.csv"]
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
    names = st.one_of(st.sampled_from(MODELS), st.sampled_from(commands.JUNK),
                      st.sampled_from([None, 3, [], b"x"]))

    def one(data):
        load = data.draw(st.sampled_from([load_detector, load_experiment, load_frontend, load_torch, Labels.load,
                                          Calibration.load, read_scores, read_keys, load_config, read_tree]))
        return attempt(lambda: load(data.draw(names)), also=(TypeError,))

    counts = campaign("Python, loading", budget * 3, one)
    assert counts["refused"] and counts["taken"] + counts["refused"] == counts["tried"]


@BUDGET
def test_options_of_recipes(tmp_path, budget):
    """Every run.sh: nothing in a value is run or split, a stage begins or an error is told."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(recipe_lines.PYTHON)
    (tmp_path / "bin/python").chmod(0o755)

    def one(data):
        script, words = data.draw(recipe_lines.lines())
        outcome, wrong = recipe_lines.run(tmp_path, script, words)
        if wrong:
            raise Wrong(f"{script} {words}: {wrong}")
        return outcome, wrong

    counts = campaign("run.sh", budget * 4, one)
    assert counts["taken"] and counts["refused"] and counts["taken"] + counts["refused"] == counts["tried"]


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
    done = subprocess.run(["bash", "run.sh", *lines[number]], cwd=copy, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(root), "PATH": path}, stdin=subprocess.DEVNULL)
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout, done.stderr
    assert harmless(done.stderr)
