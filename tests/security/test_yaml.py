"""YAML within bounds: bombs, depth and nonsense end at once, in one line that names the file."""

import time

import pytest
import yaml

from wedefense.bin import config as config_command
from wedefense.config.loader import load_config
from wedefense.config.tree import as_list, parse_scalar, read_tree
from wedefense.utils.bounded_yaml import load_yaml
from wedefense.utils.errors import InputError

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MAPS = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(9))}}}\n" for n in range(1, 12))
DOCUMENTS = {
    "laughs": LAUGHS, "laughs in mappings": MAPS, "itself": "a: &a [*a]\n", "itself in a mapping": "a: &a {b: *a}\n",
    "flow depth": "a: " + "[" * 100_000, "flow depth of maps": "a: " + "{b: " * 50_000,
    "block depth": "".join(f"{' ' * n}a:\n" for n in range(900)), "sequence depth": "a: " + "- " * 50_000,
    "keys of keys": "? " * 20_000, "length": "a: " + "x" * 2_000_000, "many": "a: [" + "1," * 50_000 + "]",
    "NUL": "a: \0\n", "escape": "a: \x1b\n", "a NUL by name": 'exp_dir: "a\\0b"\n', "bell by name": 'exp_dir: "\\a"\n',
    "no int": "num_epochs: !!int abc\n", "no float": "grad_clip: !!float abc\n", "no bool": "a: !!bool maybe\n",
    "no date": "a: !!timestamp abc\n", "no binary": "a: !!binary \xe9\n", "no pairs": "a: !!pairs [1]\n",
    "python": "a: !!python/object/apply:os.system ['true']\n", "a list": "- a\n", "a word": "abc\n",
    "a number of many digits": "num_epochs: " + "9" * 5000 + "\n", "no number": "grad_clip: .nan\n",
    "infinite": "scheduler_args: {initial_lr: .inf}\n", "too large": "grad_clip: " + "9" * 400 + "\n",
    "a key that is a list": "[a]: 1\n", "a key that is a map": "{a: 1}: 1\n", "a tab": "a:\n\t- b\n",
    "two": "a: 1\n---\nb: 2\n", "half": "a: 'b\n", "no anchor": "a: *b\n", "a tag": "a: !x y\n",
    "a rate of none": "dataset_args: {resample_rate: 0}\n", "negative": "gpus: [-1]\n", "merge": "<<: {a: 1}\n",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_config_that_is_none(tmp_path, name):
    path = tmp_path / "conf.yaml"
    path.write_text(DOCUMENTS[name])
    started = time.process_time()
    for read in (load_config, lambda path: config_command.main(["--config", str(path)])):
        with pytest.raises(InputError, match="conf.yaml") as error:
            read(path)
        assert len(str(error.value)) < 20_000
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", [
    "[" * 100_000, "{a: " * 10_000, "!!int abc", "&a [*a]", LAUGHS, "'", "\0", "9" * 5000])
def test_a_value_of_the_command_line_that_is_none_is_text(text):
    started = time.process_time()
    assert parse_scalar(text) == text
    assert as_list(text) == text or not text.startswith("[")
    assert time.process_time() - started < 5


def test_within_bounds_aliases_serve(tmp_path):
    (tmp_path / "c.yaml").write_text("a: &x {b: [1, 2.5, 1e-3]}\nc: *x\nd: 2026-01-02\n")
    tree = read_tree(tmp_path / "c.yaml")
    assert tree["c"]["b"].value == [1, 2.5, 0.001] and tree["d"].value == "2026-01-02"
    text = yaml.safe_dump({"a": list(range(2000))})
    assert load_yaml(text, "x") == yaml.safe_load(text)
