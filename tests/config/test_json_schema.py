"""The schema for editors: every config of the recipes keeps it, and what a config may not say it refuses."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.corpus import write_config
from wedefense.bin.config import main
from wedefense.config.components import TABLES
from wedefense.config.json_schema import json_schema
from wedefense.config.loader import load_config, save_config
from wedefense.utils.bounded_yaml import Loader

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]
CONFIGS = sorted([*ROOT.glob("egs/**/conf/*.yaml"), *ROOT.glob("conf/*.yaml")])
SCHEMA = json_schema()
CHECK = jsonschema.Draft7Validator(SCHEMA)


def complaints(content) -> list[str]:
    return [error.message for error in CHECK.iter_errors(content)]


def test_the_command_prints_a_sound_schema(capsys):
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for more in (["--config", "c.yaml"], ["--seed", "3"]):
        with pytest.raises(SystemExit):
            main(["--schema", *more])
    assert "--schema alone" in capsys.readouterr().err


def test_every_config_of_the_recipes_keeps_it():
    assert len(CONFIGS) > 90
    wrong = {path.name: found for path in CONFIGS
             if (found := complaints(yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)))}
    assert not wrong


def test_a_resolved_config_keeps_it(tmp_path):
    save_config(load_config(write_config(tmp_path)), tmp_path / "resolved.yaml")
    assert not complaints(yaml.safe_load((tmp_path / "resolved.yaml").read_text()))


@pytest.mark.parametrize("content, message", [
    ({"num_epoch": 3}, "'num_epoch' was unexpected"), ({"num_epochs": "three"}, "not of type 'integer'"),
    ({"model": "SSL_BACKEND_MFHA"}, "not valid under any"), ({"precision": "half"}, "not one of \\['auto'"),
    ({"model": "SSL_BACKEND_MHFA", "model_args": {"head": 3}}, "'head' was unexpected"),
    ({"dataset_args": {"frontend": "ssll"}}, "not valid under any"), ({"optimizer": "SDG"}, "not valid under any"),
    ({"optimizer": "AdamW", "optimizer_args": {"beta": 1}}, "'beta' is not one of"),
    ({"projection_args": {"project_type": "arc_margin", "scal": 2}}, "'scal' was unexpected"),
    ({"dataset_args": {"ssl_args": {"upstream_args": {"nam": "x"}}}}, "'nam' was unexpected"),
    ({"localization_args": {"resolutions": [30]}}, "not valid under any")])
def test_what_is_wrong_is_refused(content, message):
    assert [found for found in complaints(content) if re.search(message, found)]


def test_all_components_have_their_options_and_classes_of_ones_own_may_be_named():
    text = json.dumps(SCHEMA)
    for key, table in TABLES.items():
        if key != "dataset_args.augment, type":  # steps of a list
            assert all(f'"{name}"' in text for name in table.names()), table.kind
    assert not complaints({"model": "my_package.mine:Mine", "model_args": {"whatever": 3}})
    assert SCHEMA["properties"]["num_avg"]["description"] == "checkpoints to average, the last ones by epoch"
    assert SCHEMA["properties"]["num_avg"]["default"] == 1
