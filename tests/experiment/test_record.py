"""The mechanism: what is recorded, what differs, what a fingerprint sees."""

import json
import os
import sys

import pytest
import torch

from tests.corpus import write_config
from wedefense.config.loader import load_config
from wedefense.experiment import lineage
from wedefense.experiment.record import Step, changes, read, require
from wedefense.utils.errors import InputError
from wedefense.utils.fingerprint import of_file, of_weights


def step(folder, **inputs) -> Step:
    return Step("scores", 5, folder / "scores.json", inputs, {"told": 1})


def make(folder, made: Step) -> None:
    with made.making() as outputs:
        (folder / "scores.txt").write_text("1\n")
        outputs.append(folder / "scores.txt")


def test_a_step_is_up_to_date_while_inputs_and_outputs_are(tmp_path):
    made = step(tmp_path, seed=1, data={"audio": "a" * 24}, epochs=(1, 2))
    assert not made.is_up_to_date()
    make(tmp_path, made)
    assert made.is_up_to_date() and read(made.record)["told"] == 1
    os.utime(tmp_path / "scores.txt", (0, 0))  # times say nothing
    assert made.is_up_to_date()
    other = step(tmp_path, seed=2, data={"audio": "b" * 24}, epochs=(1, 2))
    assert [str(change) for change in other.differences()] == ["seed 1 -> 2", "data.audio changed"]
    with pytest.raises(InputError, match=r"the scores there are .*\(seed 1 -> 2, data.audio changed\).*--stage 5"):
        other.require()
    require(made.record, "scores", 5, {"epochs": [1, 2]})
    (tmp_path / "scores.txt").write_text("2\n")
    assert [change.key for change in made.differences()] == ["scores.txt"]
    (tmp_path / "scores.txt").unlink()
    assert [str(change) for change in made.differences()] == ["scores.txt (a file) -> missing"]


def test_what_was_begun_and_not_finished_is_not_made(tmp_path):
    made = step(tmp_path, seed=1)
    make(tmp_path, made)
    with pytest.raises(KeyboardInterrupt), made.making():
        raise KeyboardInterrupt
    assert made.differences() is None
    for broken in ("", "{", "[]", '{"inputs": 1, "outputs": {}}', "\0"):
        made.record.write_text(broken)
        assert not made.is_up_to_date()
        with pytest.raises(InputError, match="no whole scores; go back to --stage 5"):
            made.require()


def test_added_and_removed_keys_are_changes():
    assert [str(change) for change in changes({"a": 1, "b": {"c": None}}, {"b": {"c": [1]}, "d": "x"})] == [
        "b.c (none) -> [1]", "d (none) -> x", "a 1 -> (none)"]


def test_small_files_are_read_whole_and_large_ones_by_samples_and_time(tmp_path, monkeypatch):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(60000))
    large.write_bytes(bytes(1 << 20))
    before = of_file(small), of_file(large)
    for path in (small, large):
        os.utime(path, (1, 1))
    assert of_file(small) == before[0] and of_file(large) != before[1]
    monkeypatch.setenv("WEDEFENSE_FINGERPRINT", "full")
    full = of_file(large)
    os.utime(large, (2, 2))
    assert of_file(large) == full
    content = bytearray(large.read_bytes())
    content[300000] = 1
    large.write_bytes(content)
    assert of_file(large) != full and of_file(tmp_path / "none") == "missing"
    os.mkfifo(tmp_path / "pipe")
    assert of_file(tmp_path / "pipe") == of_weights(tmp_path / "pipe") == "missing"


def test_weights_are_told_by_content(tmp_path):
    prints = []
    for number, value in enumerate((1.0, 1.0, 2.0)):
        torch.save({"w": torch.full((1000,), value)}, tmp_path / f"{number}.pt")
        (tmp_path / f"{number}.pt").rename(tmp_path / "w.pt")
        prints.append(of_weights(tmp_path / "w.pt"))
    assert prints[0] == prints[1] != prints[2]


def test_a_pretrained_file_counts_by_content_and_not_by_place(tmp_path):
    found = []
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("b.pt", b"two")):
        (tmp_path / name).write_bytes(content)
        config = load_config(write_config(tmp_path, dataset_args__frontend="ssl", dataset_args__ssl_args={
            "upstream_args": {"name": "wavlm_tiny", "path_or_url": str(tmp_path / name)}}))
        found.append(json.dumps(lineage.settings(config)))
    assert found[0] == found[1] != found[2]


def test_folders_that_are_no_model_do_not_count(tmp_path, monkeypatch):
    """That of downloads, which fills as training begins, and one that happens to be called like a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fetched").mkdir()
    config = load_config(write_config(tmp_path, dataset_args__frontend="ssl", dataset_args__ssl_args={
        "upstream_args": {"name": "wavlm_base_plus", "path_or_url": "fetched"}}))
    before = lineage.settings(config)
    (tmp_path / "fetched/wavlm_base_plus.pt").write_bytes(b"weights")
    (tmp_path / "wavlm_base_plus").mkdir()
    assert lineage.settings(config) == before
    (tmp_path / "fetched/config.json").write_text("{}")  # now it is a model
    assert lineage.settings(config) != before


def test_code_from_outside_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = ("from wedefense.config.models import SimpleOptions\n"
              "from wedefense.models.simple import MeanPooling\n"
              "class Mine(MeanPooling):\n    Options = SimpleOptions\n")
    from wedefense.config.models import BACKENDS

    options = BACKENDS.options("SSL_BACKEND_MEAN").__name__
    target = BACKENDS.row("SSL_BACKEND_MEAN").target.split(":")
    source = source.replace("SimpleOptions", options).replace("wedefense.models.simple", target[0]).replace(
        "MeanPooling", target[1])
    (tmp_path / "of_this_test.py").write_text(source)
    config = load_config(write_config(tmp_path, model="of_this_test:Mine"))
    inside = load_config(write_config(tmp_path))
    first = lineage.of_code(config)
    (tmp_path / "of_this_test.py").write_text(f"{source}# other\n")
    assert lineage.of_code(config) != first != lineage.of_code(inside) == lineage.of_sources(*lineage.COMPUTING)
    sys.modules.pop("of_this_test")
