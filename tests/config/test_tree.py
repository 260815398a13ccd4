import re

import pytest

from wedefense.config.tree import Leaf, base_files, merge, override, parse_scalar, read_composed, read_tree
from wedefense.utils.errors import InputError
from wedefense.utils.recipe_files import home

REPLACES = {"model": ("model_args",), "projection_args.project_type": ("*",)}


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("text, value", [("1e-4", 1e-4), ("5.0e-2", 0.05), ("1E5", 1e5), ("3", 3), ("3.5", 3.5),
                                         ("True", True), ("null", None), ("[0,1]", [0, 1]), ("a: b: c", "a: b: c")])
def test_scalars_are_read_as_people_write_them(text, value):
    assert parse_scalar(text) == value and type(parse_scalar(text)) is type(value)


def test_leaves_know_their_line(tmp_path):
    path = write(tmp_path, "a.yaml", "x: 1\n\ny:\n  z: 2\n")
    assert read_tree(path) == {"x": Leaf(1, f"{path}:1"), "y": {"z": Leaf(2, f"{path}:4")}}


@pytest.mark.parametrize("text, message", [
    ("x: 1\nx: 2\n", "a.yaml:2: key 'x' comes twice"),
    ("x: [1\n", "a.yaml:2: not valid YAML"),
    ("- 1\n", "a.yaml: expected `key: value` lines"),
])
def test_broken_files_are_named_with_their_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        read_tree(write(tmp_path, "a.yaml", text))


def test_base_files_compose_and_later_wins(tmp_path):
    write(tmp_path, "one.yaml", "a: 1\nsection: {x: 1, y: 1}\n")
    write(tmp_path, "sub/two.yaml", "base: ../one.yaml\na: 2\n")
    top = write(tmp_path, "top.yaml", "base: [one.yaml, sub/two.yaml]\nsection: {y: 3}\n")
    tree = read_composed(top, REPLACES)
    assert tree["a"].value == 2
    assert {k: v.value for k, v in tree["section"].items()} == {"x": 1, "y": 3}


def test_a_base_that_leads_back_or_is_missing_is_refused(tmp_path):
    write(tmp_path, "a.yaml", "base: b.yaml\n")
    write(tmp_path, "b.yaml", "base: a.yaml\n")
    with pytest.raises(InputError, match="leads back"):
        read_composed(tmp_path / "a.yaml", REPLACES)
    with pytest.raises(InputError, match=r"c.yaml:1: base: no such file .*missing.yaml"):
        read_composed(write(tmp_path, "c.yaml", "base: missing.yaml\n"), REPLACES)


def test_another_component_drops_the_options_of_the_one_it_replaces():
    below = {"model": Leaf("A", "f"), "model_args": {"a_only": Leaf(1, "f")},
             "projection_args": {"project_type": Leaf("softmax", "f"), "scale": Leaf(1, "f")}}
    same = merge(below, {"model": Leaf("A", "g")}, REPLACES)
    assert "a_only" in same["model_args"]
    other = merge(below, {"model": Leaf("B", "g"), "model_args": {"b_only": Leaf(2, "g")}}, REPLACES)
    assert set(other["model_args"]) == {"b_only"}
    head = merge(below, {"projection_args": {"project_type": Leaf("arc_margin", "g")}}, REPLACES)
    assert set(head["projection_args"]) == {"project_type"}


def test_an_override_reaches_a_nested_key():
    tree = override({"a": {"b": Leaf(1, "f"), "c": Leaf(2, "f")}}, "a.b", "1e-3", REPLACES)
    assert tree["a"]["b"] == Leaf(1e-3, "command line: --a.b") and tree["a"]["c"].value == 2


def test_a_base_of_the_checkout_is_found_from_anywhere_and_one_beside_the_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr("wedefense.utils.recipe_files.INSTALLED", tmp_path / "checkout")
    write(tmp_path, "checkout/conf/common.yaml", "a: 1\nb: 2\n")
    recipe = write(tmp_path, "elsewhere/recipe/conf/c.yaml", "base: conf/common.yaml\nb: 3\n")
    assert {key: leaf.value for key, leaf in read_composed(recipe, REPLACES).items()} == {"a": 1, "b": 3}
    write(tmp_path, "elsewhere/recipe/conf/conf/common.yaml", "a: 4\n")
    assert {key: leaf.value for key, leaf in read_composed(recipe, REPLACES).items()} == {"a": 4, "b": 3}
    with pytest.raises(InputError, match=r"d.yaml:1: base: no such file '.*/conf/x.yaml', nor '.*/conf/x.yaml'"):
        read_composed(write(tmp_path, "d/d.yaml", "base: conf/x.yaml\n"), REPLACES)


def test_a_base_is_taken_from_the_copy_of_the_recipes_that_the_config_stands_in(tmp_path):
    write(tmp_path, "copy/tools/recipe.sh", "")
    write(tmp_path, "copy/conf/spoofing.yaml", "seed: 5\n")  # a file of the package too
    recipe = write(tmp_path, "copy/egs/detection/x/conf/c.yaml", "base: conf/spoofing.yaml\n")
    assert read_composed(recipe, REPLACES)["seed"].value == 5
    assert base_files(recipe) == [tmp_path / "copy/conf/spoofing.yaml"]


def test_no_config_of_a_recipe_climbs_to_the_common_ones():
    paths = list(home().glob("egs/**/conf/*.yaml"))
    assert len(paths) > 60
    assert not [path for path in paths if re.search(r"(\.\./){3,}conf/", path.read_text(encoding="utf-8"))]
