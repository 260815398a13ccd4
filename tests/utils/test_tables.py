import errno
import os

import pytest

from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.files import atomic_write
from wedefense.utils.random import generator
from wedefense.utils.tables import each_row, first_few, plural, read_table, values_for, write_table


def test_a_table_comes_back_as_written(tmp_path):
    table = {"b": "1 2", "a": "x"}
    write_table(tmp_path / "t", table)
    assert read_table(tmp_path / "t") == table and list(read_table(tmp_path / "t")) == ["b", "a"]


@pytest.mark.parametrize("text, message", [
    ("", "the table is empty"), ("a 1\nb\n", r"t:2: 'b' has no value"), ("a 1\na 2\n", r"t:2: duplicate key 'a'")])
def test_bad_tables_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "t").write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t")


def test_missing_and_binary_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_table(tmp_path / "b")


def test_a_failed_write_leaves_the_previous_file_whole(tmp_path):
    path = tmp_path / "f"
    path.write_text("before")
    with pytest.raises(InputError, match="f: cannot be written .No space left on device"):
        with atomic_write(path, "w") as stream:
            stream.write("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["f"]


def test_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path, why in ((tmp_path, "it is a folder"), (tmp_path / "file" / "f", "its folder cannot be made")):
        with pytest.raises(InputError, match=why):
            with atomic_write(path):
                pass


def test_random_numbers_depend_on_what_they_are_for():
    draws = {generator(*case).random() for case in [(1, 2, "a"), (1, 3, "a"), (2, 2, "a"), (1, 2, "b"), (1, 2, "a", 1)]}
    assert len(draws) == 5
    assert generator(1, 2, "a").random() == generator(1, 2, "a").random()


def test_hints():
    assert did_you_mean("SSL_BACKEND_MFHA",
                        ["SSL_BACKEND_MHFA", "XVEC"]).startswith(", did you mean 'SSL_BACKEND_MHFA'?")
    assert did_you_mean("mhfa", ["SSL_BACKEND_CA_MHFA", "SSL_BACKEND_MHFA", "XVEC"]).startswith(
        ", did you mean 'SSL_BACKEND_MHFA'?")
    assert did_you_mean("aa", ["SSL_BACKEND_AASIST"]) == " (known: SSL_BACKEND_AASIST)"
    many = [f"other_{number}" for number in range(100)] + ["distilhubert"]
    assert did_you_mean("distilhuber", many).startswith(", did you mean 'distilhubert'? (known: distilhubert, other_")
    assert did_you_mean("distilhuber", many).endswith(" and 89 more)")
    assert first_few(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert [plural(n, "trial") for n in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]


def test_values_for_keys_in_any_order(tmp_path):
    path = tmp_path / "t"
    path.write_text("\ufeffa 1\n\nb two words \nc 1\nd 3\n")
    assert values_for(path, ["a", "b", "c", "d"]) == ["1", "two words", "1", "3"]
    assert values_for(path, ["d", "a", "x", "c"]) == ["3", "1", None, "1"]
    assert values_for(path, ["b"]) == ["two words"]
    one, _, other, _ = values_for(path, ["a", "b", "c", "d"])
    assert one is other  # equal values are one string
    path.write_text("a 1\nb 1\nb 2\nc 3\n")
    with pytest.raises(InputError, match="t: duplicate key 'b'"):
        values_for(path, ["c"])


@pytest.mark.parametrize("content, match", [
    (b"a 1\nb\n", r"t:2: 'b' has no value"), (b"a 1\nb \xff\n", "not a UTF-8 text file"),
    (b"a 1\nb \x01\n", "t:2: a control character")])
def test_lines_that_come_one_by_one_are_refused_as_whole_files_are(tmp_path, content, match):
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(InputError, match=match):
        list(each_row(path))
    with pytest.raises(InputError, match=match):
        read_table(path)
    with pytest.raises(InputError, match="no such file"):
        list(each_row(tmp_path / "u"))
