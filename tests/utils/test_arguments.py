"""One name for one thing; the old names still do, and say so."""

import argparse

import pytest

from wedefense.utils.arguments import Renamed, Switch, add_sets, command_parser
from wedefense.utils.log import get_logger


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """What is logged reaches pytest, whatever a test before has set up."""
    monkeypatch.setattr(get_logger(), "propagate", True)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_sets(parser, "names", required=False)
    parser.add_argument("--skip_bad", action=Switch)
    parser.add_argument("--rename", "--set_names", nargs="+", default=[], action=Renamed)
    return parser.parse_args(arguments)


def test_new_names_are_silent(caplog):
    options = parsed("--sets", "dev", "eval", "--skip_bad", "--rename", "a=b")
    assert (options.sets, options.skip_bad, options.rename) == (["dev", "eval"], True, ["a=b"])
    options = parsed()
    assert (options.sets, options.skip_bad, options.rename) == ([], False, [])
    assert not caplog.records


@pytest.mark.parametrize("arguments, name, value, told", [
    (["--set", "dev", "eval"], "sets", ["dev", "eval"], "--set is called --sets now"),
    (["--set_names", "a=b"], "rename", ["a=b"], "--set_names is called --rename now"),
    (["--skip_bad", "true"], "skip_bad", True, "say --skip_bad alone"),
    (["--skip_bad", "false"], "skip_bad", False, "say --skip_bad alone")])
def test_old_names_do_the_same_and_say_so(caplog, arguments, name, value, told):
    assert getattr(parsed(*arguments), name) == value
    record, = caplog.records
    assert told in record.getMessage()


def test_sets_in_one_piece_are_taken_apart():
    assert parsed("--sets", "dev eval", "other").sets == ["dev", "eval", "other"]


def test_a_value_that_is_neither_is_refused(capsys):
    with pytest.raises(SystemExit):
        parsed("--skip_bad", "maybe")
    assert "maybe" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, told", [
    (["--hight", "3", "exp"], "unknown option --hight, did you mean --height?"),
    (["--hight=3"], "unknown option --hight, did you mean --height?"),  # before what is missing
    (["exp", "--xyz"], "unknown option --xyz; see -h"),
    (["exp", "--skip"], "unknown option --skip; see -h"),  # two dashes are no likeness
    ([], "required: exp_dir")])
def test_an_unknown_option_is_named_with_the_nearest(arguments, told, capsys):
    parser = command_parser("history", "")
    parser.add_argument("exp_dir")
    parser.add_argument("--height", type=int)
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert told in capsys.readouterr().err
    assert parser.parse_args(["--hei", "3", "--", "--exp"]).exp_dir == "--exp"
