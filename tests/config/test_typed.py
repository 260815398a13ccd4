from dataclasses import dataclass, field
from typing import Literal

import pytest
import yaml

from wedefense.config.registry import Registry, Row
from wedefense.config.tree import Leaf, override, read_tree
from wedefense.config.typed import build, to_builtin
from wedefense.utils.checks import positive
from wedefense.utils.errors import InputError, OptionError


@dataclass(frozen=True)
class Small:
    size: int = 4

    def __post_init__(self):
        positive(self, "size")


@dataclass(frozen=True)
class Large:
    width: float = 1.0


PARTS = Registry("part", {"Small": Row("x:Small", Small), "Large": Row("x:Large", Large)}, "parts")


@dataclass(frozen=True)
class Options:
    count: int = 1
    rate: float = 0.5
    flag: bool = False
    name: str = "a"
    kind: Literal["left", "right"] = "left"
    gpus: tuple[int, ...] = (0,)
    pair: tuple[int, float] | None = None
    weights: tuple[float, ...] | dict[str, float] | None = None
    part: str = "Small"
    part_args: object = field(default=None, metadata={"component": ("part", PARTS)})
    inner: Small = Small()
    note: str | None = None


def leaves(values, origin="f.yaml:7"):
    return {k: leaves(v, origin) if isinstance(v, dict) else Leaf(v, origin) for k, v in values.items()}


def test_values_take_their_types():
    options = build(Options, leaves({"count": 3.0, "rate": 2, "gpus": "[0,1]", "weights": {"spoof": 1},
                                     "pair": [1, 2], "part": "Large", "part_args": {"width": 3}, "inner": None}))
    assert options == Options(count=3, rate=2.0, gpus=(0, 1), weights={"spoof": 1.0}, pair=(1, 2.0),
                              part="Large", part_args=Large(3.0))
    assert isinstance(options.rate, float) and isinstance(options.count, int)


def test_defaults_fill_in_and_the_plain_form_builds_back():
    options = build(Options, {})
    assert options.part_args == Small(4)
    assert build(Options, leaves(to_builtin(options))) == options


@pytest.mark.parametrize("values, message", [
    ({"cuont": 1}, "f.yaml:7: unknown key 'cuont', did you mean 'count'?"),
    ({"inner": {"sise": 1}}, "f.yaml:7: unknown key 'inner.sise', did you mean 'size'?"),
    ({"count": "many"}, "f.yaml:7: count: must be a whole number, got 'many'"),
    ({"count": True}, "count: must be a whole number, got True"),
    ({"count": 1.5}, "count: must be a whole number, got 1.5"),
    ({"flag": 1}, "flag: must be true or false, got 1"),
    ({"kind": "lefft"}, "kind: must be one of left, right, did you mean 'left'?, got 'lefft'"),
    ({"gpus": 3}, "gpus: must be a list like [3], got 3"),
    ({"pair": 3}, "pair: must be a list of 2, got 3"),
    ({"pair": [1]}, "pair: must be a list of 2"),
    ({"inner": {"size": 0}}, "f.yaml:7: inner.size: must be greater than 0, got 0"),
    ({"inner": 5}, "inner: expected a section with keys, got 5"),
    ({"part": "Smal"}, "f.yaml:7: part: unknown part 'Smal', did you mean 'Small'?"),
    ({"part_args": {"width": 1}}, "unknown key 'part_args.width'"),
])
def test_refusals_name_the_place_and_the_cure(values, message):
    with pytest.raises(InputError) as error:
        build(Options, leaves(values))
    assert message in str(error.value)


def test_an_option_error_is_an_input_error_with_its_key():
    with pytest.raises(OptionError) as error:
        Small(size=-1)
    assert error.value.key == "size"


@pytest.mark.parametrize("text", ["20261126_1", "010", "1e3", "2026-11-26", "2026-13-45", "true", "0x1F", "1:30",
                                  ""])
def test_text_stays_as_it_was_typed(tmp_path, text):
    """On the command line and in a file, and through the file that is written."""
    tree = override({}, "name", text, {})
    assert build(Options, tree).name == text
    if text:
        (tmp_path / "a.yaml").write_text(f"name: {text}\n")
        assert build(Options, read_tree(tmp_path / "a.yaml")).name == text
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(to_builtin(build(Options, tree))))
    assert build(Options, read_tree(tmp_path / "b.yaml")).name == text


@pytest.mark.parametrize("text", [
    "a #b", "#a", "&a", "|", ">", "!a", "*a", "a 'b\" $HOME ;é中 %s #", "- ", "@a", "%a", "a:"])
def test_nothing_of_a_typed_value_is_taken_for_a_comment_or_an_anchor(text):
    try:
        assert build(Options, override({}, "name", text, {})).name == text
    except InputError as error:  # a list or a mapping, which is told
        assert "name: must be text" in str(error) and text in ("- ", "a:")
    with pytest.raises(InputError, match="count: must be a whole number"):
        build(Options, override({}, "count", "3 #4", {}))


def test_text_may_be_quoted_and_cleared():
    assert build(Options, override({}, "name", '"010"', {})).name == "010"
    set_before = override({}, "note", "x", {})
    assert build(Options, set_before).note == "x"
    for nothing in ("", "null"):
        assert build(Options, override(set_before, "note", nothing, {})).note is None
