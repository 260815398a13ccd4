"""What CONTRIBUTING.md says can be done as it says: its code, applied to a copy of the tree, trains."""

import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.contributing import PAGE, parts
from tests.corpus import make_list, write_config
from tests.recipes.layouts import lines, sound
from tools.structure import long_functions, read_sources, upward
from wedefense.utils.tables import read_table

ROOT = PAGE.parent
PARTS = parts()
STEPS = ("back-end", "projection", "loss", "augmentation step", "training mode")  # which a training step shows


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree with every change of the page."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("wedefense", "tools", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("CONTRIBUTING.md", "pytest.ini"):
        shutil.copy(ROOT / name, root)
    for part in PARTS.values():
        for change in part.changes:
            change.apply(root)
    return root


def run(tree, *arguments) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=tree, env=environment, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def module(path: Path):
    spec = importlib.util.spec_from_file_location(f"new_{path.stem}", path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # where dataclasses look their types up
    spec.loader.exec_module(found)
    return found


def test_the_table_counts_the_files_that_the_blocks_touch():
    table = PAGE.read_text(encoding="utf-8").split("| part | files |")[1].split("\n\n")[0]
    documented = re.findall(r"^\| ([\w -]+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    counted = [(name, str(len({change.path for change in part.changes})),
                str(sum(change.how == "new" for change in part.changes))) for name, part in PARTS.items()]
    assert documented == [row for row in counted if row[0] not in ("front-end", "metric")]
    assert PARTS.keys() >= {*STEPS, "corpus reader", "front-end", "metric"}


def test_a_training_step_with_each_new_part(tree, tmp_path):
    plain = yaml.safe_load(write_config(tmp_path, train_data=str(make_list(tmp_path, utterances=12)),
                                        dataloader_args__num_workers=0, dataset_args__cmvn=False).read_text())
    paths = []
    for name in ("plain", *STEPS):
        ours = yaml.safe_load(PARTS[name].yaml) if name in PARTS else {}
        dataset = {**plain["dataset_args"], **ours.pop("dataset_args", {})}
        paths.append(tmp_path / f"{name.replace(' ', '_')}.yaml")
        paths[-1].write_text(yaml.safe_dump({**plain, **ours, "dataset_args": dataset}))
    rows = [row.split() for row in run(tree, "-m", "tests.contributing", *paths).splitlines()]
    losses = {row[0]: row[1] for row in rows}
    assert len(rows) == len(set(losses.values())) == 1 + len(STEPS)  # each part makes a difference
    names = {row[0]: row[2:6] for row in rows}
    assert names["plain"] == ["MeanPooling", "Linear", "CrossEntropyLoss", "Mode"]
    assert names["back-end"][0] == "Loudest" and names["projection"][1] == "Distance" and names["loss"][2] == "Focal"
    assert names["training_mode"][3] == "Tethered"
    gone, = (float(row[-1]) for row in rows if row[0] == "training_mode")
    assert gone > 0


def test_the_new_back_end_keeps_the_promises_of_all(tree):
    assert "4 passed" in run(tree, "-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/models/test_backends.py",
                             "-k", "LOUDEST")


def test_the_tree_with_every_part_keeps_its_rules(tree):
    sources = read_sources(tree)
    assert not upward(sources) and not long_functions(sources)
    assert {"wedefense/models/loudest.py", "wedefense/train/tethered.py"} < {str(source.path) for source in sources}


def test_the_corpus_reader(tree, tmp_path):
    keys = ["a1", "a2", "b1", "b2"]
    lines(tmp_path / "corpus/labels.txt", *(f"{key[0]} {key} {'fake' if key[1] == '2' else 'real'}" for key in keys))
    for key in keys:
        sound(tmp_path / f"corpus/audio/{key}.wav", buzz=key[1] == "2")
    run(tree, "tools/prepare/my_corpus.py", "--corpus", tmp_path / "corpus", "--out", tmp_path / "data",
        "--num_workers", "1")
    assert read_table(tmp_path / "data/eval/utt2lab") == {"a1": "bonafide", "a2": "spoof", "b1": "bonafide",
                                                          "b2": "spoof"}
    assert read_table(tmp_path / "data/eval/utt2spk")["b2"] == "b"


def test_the_front_end_hears_an_utterance_alone_as_in_a_batch(tree):
    new = module(tree / "wedefense/frontend/envelope.py")
    frontend, lengths = new.Envelope(new.EnvelopeOptions(), 16000), [1700, 480]
    wav = torch.randn(2, 1700)
    wav[1, 480:] = 0
    together, alone = frontend(wav, lengths), frontend(wav[1:, :480], lengths[1:])
    assert together.counts == [10, 3] and together.lengths.tolist() == [10, 3]
    assert together.shape == (2, 10, 8) and (together.layers[0][1:, :3] - alone.layers[0]).abs().max() < 1e-6
    assert together.layers[0][0, 0, 0].item() == pytest.approx(wav[0, :20].square().mean().log().item(), abs=1e-4)


def test_the_metric_as_its_example_says(tree):
    new = module(tree / "wedefense/metrics/overlap.py")
    assert doctest.testmod(new) == (0, 1)
    assert new.overlap([1, 2], [2, 3]) == 0.875 and new.overlap([1.0], [0.0]) == 0


QUESTIONS = re.findall(r"^\| (.+\?) \| `(.+?)` \| `(.+?)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("question, path, name", QUESTIONS, ids=[path for _, path, _ in QUESTIONS])
def test_what_one_asks_for_is_where_the_page_says(question, path, name):
    assert len(QUESTIONS) >= 10
    text = (ROOT / path).read_text(encoding="utf-8")
    defined = rf"^(def {name}\b|class {name}\b|{name} = )" if path.endswith(".py") else re.escape(name)
    assert re.search(defined, text, re.MULTILINE), question
