"""wandb, MLflow and trackio as loggers: one run for a training and what goes on from it, by fakes and, where they are
installed, by the real ones."""

import importlib
import json
import sys

import numpy as np
import pytest

from tests.corpus import make_list, write_config
from wedefense.config.loader import load_config
from wedefense.train.loggers import Run
from wedefense.train.run import train
from wedefense.train.trackers import MLflow, Trackio, Wandb
from wedefense.utils.errors import InputError

TRACKERS = {"wandb": Wandb, "mlflow": MLflow, "trackio": Trackio}
FAKES = {"wandb": '''
class Image:
    def __init__(self, array):
        self.shape = array.shape

class _Run:
    def define_metric(self, name, step_metric):
        told("axis", name, step_metric)

    def log(self, values):
        told("log", {name: getattr(value, "shape", value) for name, value in values.items()})

    def finish(self, exit_code):
        told("end", exit_code)

def init(project, name, id, resume, dir, config, allow_val_change):
    told("begin", project, name, id, resume, dir, config["seed"])
    return _Run()
''', "trackio": '''
class Image:
    def __init__(self, array):
        self.shape = array.shape

class _Run:
    def log(self, values, step):
        told("log", {name: getattr(value, "shape", value) for name, value in values.items()}, step)

    def finish(self):
        told("end")

def init(project, name, config, resume):
    told("begin", project, name, resume, config["seed"])
    return _Run()
''', "mlflow": '''
import sys, types
from collections import namedtuple
entities = sys.modules["mlflow.entities"] = types.ModuleType("mlflow.entities")
entities.Metric = namedtuple("Metric", "key value timestamp step")
entities.Param = namedtuple("Param", "key value")
_made = []

class MlflowClient:
    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return name

    def create_run(self, experiment, run_name):
        _made.append(run_name)
        told("begin", experiment, run_name)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"r{len(_made)}"))

    def update_run(self, run, status):
        told("again", run, status)

    def log_batch(self, run, metrics=(), params=()):
        assert len(params) <= 100
        told("log", run, [(m.key, m.value, m.step) for m in metrics], [(p.key, p.value) for p in params])

    def log_image(self, run, image, key, step):
        told("image", run, image.shape, key, step)

    def set_terminated(self, run, status):
        told("end", status)
'''}
HEAD = "import json, os\ndef told(*what):\n    open(os.environ['TOLD'], 'a').write(json.dumps(what) + chr(10))\n"


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, train_data=str(make_list(tmp_path, utterances=8)), num_epochs=1, num_avg=1,
                        dataloader_args__num_workers=0, scheduler_args__final_lr=0.01)  # flat: epochs may be added


@pytest.fixture(params=FAKES)
def fake(request, tmp_path, monkeypatch):
    """Its name; what it is told goes to a file."""
    (tmp_path / "site").mkdir()
    (tmp_path / f"site/{request.param}.py").write_text(HEAD + FAKES[request.param])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    for variable in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    yield request.param
    for module in (request.param, "mlflow.entities"):
        sys.modules.pop(module, None)


def told(tmp_path, *kinds):
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    return [line[1:] for line in lines if line[0] in kinds]


def test_what_goes_on_is_one_run_and_what_begins_anew_another(fake, config, tmp_path):
    def run(*more):
        train(load_config(config, ["--loggers", f"[{fake}]", *more]), "cpu")

    run()
    run("--num_epochs", "2")
    run("--exp_dir", str(tmp_path / "other"))
    begun, kept = told(tmp_path, "begin", "again"), json.loads((tmp_path / "exp/tracked.json").read_text())[fake]
    assert len(begun) == 3
    assert told(tmp_path, "end") == 3 * [{"wandb": [0], "mlflow": ["FINISHED"], "trackio": []}[fake]]
    if fake == "wandb":
        assert [line[2] == kept for line in begun] == [True, True, False]
        assert begun[0] == ["wedefense", "exp", kept, "allow", str(tmp_path / "exp"), 7]
        assert told(tmp_path, "axis")[:2] == [["train/*", "train/step"], ["epoch/*", "epoch/epoch"]]
    elif fake == "trackio":
        assert [line[1] for line in begun[:2]] == [f"exp-{kept}"] * 2 and begun[2][1].startswith("other-")
    else:
        assert kept == "r1" and begun == [["wedefense", "exp"], ["r1", "RUNNING"], ["wedefense", "other"]]
    logged = json.dumps(told(tmp_path, "log"))
    assert all(name in logged for name in ("train/loss", "train/lr", "epoch/train_loss"))


def test_each_number_has_its_step(fake, config, tmp_path):
    (tmp_path / "exp").mkdir()
    logger = TRACKERS[fake](Run(tmp_path / "exp", {"seed": 7, "model_args": {"a": [1, 2], "b": 3}}, 0))
    logger.scalars({"train/loss": 0.5, "train/lr": 0.1}, 30)
    logger.scalars({"epoch/epoch": 2, "epoch/val_eer": 0.25}, 2)
    logger.image("gates", np.eye(4), 2)
    logger.close(failed=True)
    assert told(tmp_path, "end") == [{"wandb": [1], "mlflow": ["FAILED"], "trackio": []}[fake]]
    if fake == "wandb":
        assert told(tmp_path, "log") == [[{"train/loss": 0.5, "train/lr": 0.1, "train/step": 30}], [{
            "epoch/epoch": 2, "epoch/val_eer": 0.25}], [{"gates": [4, 4, 3], "epoch/epoch": 2}]]
    elif fake == "trackio":
        assert told(tmp_path, "log") == [[{"train/loss": 0.5, "train/lr": 0.1}, 30], [{
            "epoch/epoch": 2, "epoch/val_eer": 0.25}, 2], [{"gates": [4, 4, 3]}, 2]]
    else:
        params, batch, epoch = told(tmp_path, "log")
        assert params[2] == [["seed", "7"], ["model_args.a", "[1, 2]"], ["model_args.b", "3"]]
        assert batch[1] == [["train/loss", 0.5, 30], ["train/lr", 0.1, 30]]
        assert epoch[1] == [["epoch/epoch", 2, 2], ["epoch/val_eer", 0.25, 2]]
        assert told(tmp_path, "image") == [["r1", [4, 4, 3], "gates", 2]]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_not_there_is_named_before_anything_is_written(name, config, tmp_path, monkeypatch):
    monkeypatch.setattr("wedefense.train.loggers.find_spec", lambda package: None)
    with pytest.raises(InputError, match=f"'{name}' takes the package {name}.*pip install {name}"):
        train(load_config(config, ["--loggers", f"[{name}]"]), "cpu")
    assert not (tmp_path / "exp/config.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_the_real_ones_keep_what_they_are_given(name, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable, value in {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"),
                            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}.items():
        monkeypatch.setenv(variable, value)
    pytest.importorskip(name)
    for more in ((), ("--num_epochs", "2")):
        train(load_config(config, ["--loggers", f"[{name}]", *more]), "cpu")
    assert "left out" not in (tmp_path / "exp/train.log").read_text()
    kept = json.loads((tmp_path / "exp/tracked.json").read_text())[name]
    if name == "wandb":
        assert len(list(tmp_path.glob(f"exp/wandb/offline-run-*-{kept}/run-{kept}.wandb"))) == 2
    elif name == "mlflow":
        client = importlib.import_module("mlflow").MlflowClient()
        found, = client.search_runs([client.get_experiment_by_name("wedefense").experiment_id])
        steps = [point.step for point in client.get_metric_history(kept, "epoch/train_loss")]
        assert found.info.run_id == kept and found.info.status == "FINISHED" and sorted(steps) == [1, 2]
        assert found.data.params["seed"] == "7"
    else:
        run, = importlib.import_module("trackio").Api().runs("wedefense")
        assert run.name == f"exp-{kept}"
