"""A model on a hub is data: its files are asked for by name, its config names what is known, tokens stay."""

import hashlib
import io
import logging

import pytest
import torch
import yaml

from tests.detect.experiments import SSL, make_experiment
from tests.hub import TOKEN, hub  # noqa: F401, a fixture
from tests.security.test_model_config import ATTACKS, REFUSED
from wedefense import load_detector
from wedefense.utils import hub as hub_files
from wedefense.utils.errors import InputError
from wedefense.utils.hub import Repository


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    exp = make_experiment(tmp_path_factory.mktemp("whole"), **SSL)
    return {path.relative_to(exp).as_posix(): path.read_bytes() for path in exp.rglob("*") if path.is_file()}


def changed(whole, attack: dict) -> dict[str, bytes]:
    """Its files with this in the config, and without the recorded shape, which would make it idle."""
    config = yaml.safe_load(whole["config.yaml"])
    data = {key: value for key, value in attack.items() if key == "frontend" or key in FRONTEND_ARGS}
    config |= {key: value for key, value in attack.items() if key not in data}
    config["dataset_args"] |= data
    return {name: content for name, content in whole.items() if name != "frontend.json"} | {
        "config.yaml": yaml.safe_dump(config).encode()}


FRONTEND_ARGS = ("ssl_args", "s3prl_args", "whisper_args")
CODE = {"a back-end of its own": {"model": "modeling:Backend"},
        "a head of its own": {"projection_args": {"project_type": "code.head:Head"}}}


@pytest.mark.parametrize("attack", [*ATTACKS, *CODE])
def test_a_model_of_a_hub_that_wants_to_run_something(hub, whole, attack):  # noqa: F811
    hub.add("some/model", changed(whole, (ATTACKS | CODE)[attack]))
    with pytest.raises(InputError, match=REFUSED):
        load_detector("some/model")


def test_trust_is_not_for_what_a_hub_hands_out(hub, whole, caplog):  # noqa: F811
    hub.add("some/model", changed(whole, CODE["a back-end of its own"]))
    with pytest.raises(InputError, match=REFUSED):
        load_detector("some/model", trust=True)
    assert "some/model: comes from a hub, and --trust is for folders of one's own; not trusted" in caplog.text


class Bomb:
    def __reduce__(self):
        return print, ("it ran",)


def test_only_what_a_detector_consists_of_is_asked_for(hub, whole, capsys):  # noqa: F811
    bomb = io.BytesIO()
    torch.save({"projection.weight": Bomb()}, bomb)
    others = {"modeling.py": b"print('it ran')", "setup.py": b"print('it ran')", "data.pkl": b"x",
              "sitecustomize.py": b"print('it ran')", "config.json": b'{"auto_map": {"AutoModel": "modeling.M"}}'}
    first = hub.add("some/model", whole | others)
    load_detector("some/model")
    asked = {path.split(f"/resolve/{first}/" if first in path else "/resolve/main/")[-1] for _, path in hub.asked}
    assert asked <= {"config.yaml", "label2id", "frontend.json", "calibration.json", "model.safetensors",
                     "models/avg_model.pt", "frame_thresholds.json"}
    hub.add("some/model", whole | {"models/avg_model.pt": bomb.getvalue()})
    with pytest.raises(InputError, match="avg_model.pt"):
        load_detector("some/model")
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize("large", [10**9, 1000], ids=["by the library", "by fetch"])
def test_a_token_is_shown_to_the_hub_alone(hub, whole, monkeypatch, caplog, large):  # noqa: F811
    """The storage of the test refuses whoever shows one."""
    caplog.set_level(logging.DEBUG, "wedefense")
    monkeypatch.setattr(hub_files, "LARGE", large)
    hub.add("some/model", whole, gated=True, granted=(TOKEN,))
    model = load_detector("some/model", token=TOKEN)
    assert hub.ranges and TOKEN not in caplog.text + repr(model)
    with pytest.raises(InputError) as error:
        load_detector("some/other", token=TOKEN)
    assert TOKEN not in str(error.value)


def test_a_file_of_another_content_is_thrown_away(hub, monkeypatch):  # noqa: F811
    monkeypatch.setattr(hub_files, "LARGE", 1000)
    weights = bytes(range(256)) * 8
    hub.add("a/b", {"weights.pt": weights})
    hub.blobs[hashlib.sha256(weights).hexdigest()] = weights[::-1]
    with pytest.raises(InputError, match="its SHA-256 is .*thrown away"):
        Repository("a/b").get("weights.pt")
