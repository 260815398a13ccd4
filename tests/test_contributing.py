"""What CONTRIBUTING.md says can be done as it says: its code trains outside the tree, as a plug-in, and inside."""

import doctest
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from tests.contributing import PAGE, moved_inside, parts, places
from tests.corpus import make_list, write_config
from tests.recipes.layouts import lines, sound
from tools.structure import long_functions, read_sources, upward
from wedefense import load_detector
from wedefense.cli import main as command
from wedefense.config import registry
from wedefense.config.loader import load_config
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table

ROOT = PAGE.parent
PARTS, PLACES = parts(), places()
STEPS = [name for name in PLACES if name not in ("corpus reader", "metric")]  # which a training step shows
CLASSES = {"back-end": "Loudest", "front-end": "Envelope", "projection": "Distance", "loss": "Focal",
           "training mode": "Tethered", "optimizer": "Signs", "scheduler": "Cosine"}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The package of the page, not installed."""
    root = tmp_path_factory.mktemp("outside")
    for name, part in PARTS.items():
        for change in part.changes if name != "metric" else ():
            change.apply(root)
    return root


@pytest.fixture(scope="module")
def installed(outside, tmp_path_factory):
    """The same as a distribution that pip installed."""
    root, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("build") / "my_plugin"
    shutil.copytree(outside, source)  # building writes beside the sources what would count as installed
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet",
                           "--disable-pip-version-check", "--no-index", "--target", root, source],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree with every part of the page inside."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("wedefense", "tools", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("CONTRIBUTING.md", "pytest.ini"):
        shutil.copy(ROOT / name, root)
    for name, place in PLACES.items():
        for change in PARTS[name].changes if name == "metric" else moved_inside(PARTS[name], place):
            change.apply(root)
    return root


def run(*arguments, path: Path, cwd: Path, code: int = 0) -> str:
    """`python arguments` with `path` before the tree, or alone if it is one; -> what it printed."""
    paths = [path] if (path / "wedefense").is_dir() else [path, ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True,
                          text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr * (code != 0)


def merged(below: dict, above: dict) -> dict:
    return {**below, **{key: merged(below.get(key) or {}, value) if isinstance(value, dict) else value
                        for key, value in above.items()}}


def steps_of_each(folder: Path, path: Path, texts: dict[str, str]) -> dict[str, list[str]]:
    """One training step of a plain config and of one with each text over it; -> what they printed, by name."""
    plain = yaml.safe_load(write_config(folder, train_data=str(make_list(folder, utterances=12)),
                                        dataloader_args__num_workers=0, dataset_args__cmvn=False).read_text())
    configs = {name.replace(" ", "_"): merged(plain, yaml.safe_load(text)) for name, text in texts.items()}
    for name, config in {"plain": plain, **configs}.items():
        if "projection_args" in config:
            config["projection_args"] |= (configs.get(name) or plain)["projection_args"]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    files = [folder / f"{name}.yaml" for name in ("plain", *configs)]
    printed = run("-m", "tests.contributing", *files, path=path, cwd=path)
    rows = {row[0].replace("_", " "): row[1:] for row in map(str.split, printed.splitlines())}
    assert len(rows) == len({row[0] for row in rows.values()}) == 1 + len(texts)  # each part makes a difference
    return rows


def check_steps(rows: dict[str, list[str]]) -> None:
    plain = rows["plain"][1:8]
    assert plain == ["MeanPooling", "Fbank", "Linear", "CrossEntropyLoss", "Mode", "AdamW", "ExponentialDecrease"]
    for name in STEPS:
        new = [found for found, before in zip(rows[name][1:8], plain) if found != before]
        assert new == [CLASSES[name]] if name in CLASSES else not new
    gone, = (float(word) for word in rows["training mode"][9:])
    assert rows["training mode"][8] == "gone" and gone > 0


def test_a_part_outside_is_one_file_and_inside_as_many_as_the_table_says(tree):
    assert PARTS.keys() - {"plug-in"} == PLACES.keys()
    for name, place in PLACES.items():
        changes = PARTS[name].changes
        if place.outside:
            assert len({change.path for change in changes}) == int(place.outside) == 1
            changes = moved_inside(PARTS[name], place)
        assert len({change.path for change in changes}) == int(place.inside) <= 2


def test_each_part_trains_from_outside_the_tree(outside, tmp_path):
    check_steps(steps_of_each(tmp_path, outside, {name: PARTS[name].yaml for name in STEPS}))


def test_each_part_trains_inside_the_tree(tree, tmp_path):
    check_steps(steps_of_each(tmp_path, tree, {name: PARTS[name].named("envelope_args") for name in STEPS}))


@pytest.fixture(scope="module")
def experiment(installed, tmp_path_factory):
    """The mini recipe from stage 2 on, with every part of the plug-in by its name."""
    folder = tmp_path_factory.mktemp("recipe")
    config = {"base": str(ROOT / "egs/detection/mini/conf/xvector.yaml")}
    for name in STEPS:
        config = merged(config, yaml.safe_load(PARTS[name].named("frontend_args")))
    (folder / "plugin.yaml").write_text(yaml.safe_dump(config))
    for number, name in enumerate(("train", "dev", "eval")):
        make_list(folder / "data", name, 8, seed=number)
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": sys.prefix,
                   "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", ROOT / "egs/detection/mini/run.sh", "--config", folder / "plugin.yaml", "--stage",
                           "2", "--data", folder / "data", "--exp_dir", folder / "exp", "--num_epochs", "1",
                           "--num_avg", "1", "--dataloader_args.batch_size", "4", "--dataset_args.num_frms", "40"],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "exp"


@pytest.fixture
def by_path(monkeypatch):
    """Makes a folder one that modules and plug-ins are found in, for one test."""
    def use(folder: Path) -> None:
        monkeypatch.syspath_prepend(str(folder))
    yield use
    for name in [name for name in sys.modules if name.split(".")[0] == "my_plugin"]:
        del sys.modules[name]
    registry.found.cache_clear()


def test_a_plug_in_goes_through_the_mini_recipe_is_scored_exported_and_listed(experiment, installed, by_path, tmp_path,
                                                                              capsys):
    assert 0 <= json.loads((experiment / "results.json").read_text())["sets"]["eval"]["eer"] <= 1
    written = yaml.safe_load((experiment / "config.yaml").read_text())
    assert written["model"] == "loudest" and written["dataset_args"]["frontend_args"]["parts"] == 10

    by_path(installed)
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(9000), 16000)
    assert command(["score", "--model", str(experiment), "--format", "json", str(tmp_path / "a.wav")]) == 0
    score, = json.loads(capsys.readouterr().out)["scores"]
    assert np.isfinite(score["llr"])
    assert command(["export", str(experiment), "--out", str(tmp_path / "out")]) == 0  # compared before it is kept
    assert (tmp_path / "out/model.ts").is_file()
    capsys.readouterr()
    assert command(["list"]) == 0
    printed = capsys.readouterr().out
    for part in (PARTS[name] for name in PLACES if name != "metric"):
        assert re.search(rf"^  {part.module} .*\[my-plugin 0.1 \(my_plugin.{part.module}:\w+\)\]$", printed, re.M)


def test_a_shared_model_brings_no_code_along_but_that_of_installed_plug_ins(experiment, outside, installed, by_path,
                                                                            tmp_path):
    """The same experiment by its classes: refused to whoever only loads it, taken where the plug-in is installed."""
    shutil.copytree(experiment, tmp_path / "exp")
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    for name in STEPS:
        config = merged(config, yaml.safe_load(PARTS[name].yaml))
    (tmp_path / "exp/config.yaml").write_text(yaml.safe_dump(config))
    by_path(outside)
    with pytest.raises(InputError, match=r"config.yaml:\d+: .*names code; no installed plug-in declares it .*--trust"):
        load_detector(tmp_path / "exp")
    wav = 0.1 * np.random.default_rng(0).standard_normal(9000)
    trusted = load_detector(tmp_path / "exp", trust=True).score(wav, 16000).llr
    by_path(installed)
    assert load_detector(tmp_path / "exp").score(wav, 16000).llr == trusted
    assert load_detector(experiment).score(wav, 16000).llr == trusted


BACKEND, FRONTEND = "my_plugin.loudest:Loudest", "my_plugin.envelope:Envelope"
WRONG = [
    ({"model": BACKEND, "model_args": {"mots": 2}}, r"model_args.mots', did you mean 'most'"),
    ({"model": BACKEND, "model_args": {"most": 0}}, r":\d: model_args.most: must be greater than 0"),
    ({"model": BACKEND[:-2] + "ts"}, r":1: model: back-end .*: no 'Loudets' in .*loudest.py, did you mean 'Loudest'"),
    ({"model": "my_plugins.loudest:Loudest"}, "there is no module 'my_plugins'; install its package, or name the"),
    ({"model": "my_plugin.loudest.Loudest"}, "a class of your own is named as package.module:Loudest"),
    ({"model": "my_plugin.focal:Focal"}, "needs the class attribute Options, .* from wedefense.*.BackendOptions"),
    ({"dataset_args": {"frontend": FRONTEND, "frontend_args": {"part": 4}}}, "frontend_args.part', did you mean 'pa"),
    ({"dataset_args": {"frontend_args": {"num_mel_bins": 4}}}, "unknown key 'dataset_args.frontend_args.num_mel_bins'"),
    ({"dataset_args": {"augment": [{"type": "my_plugin.gain:Gain", "probb": 1}]}}, "step 1: unknown key 'probb', did")]


def test_what_is_wrong_with_parts_from_outside_is_told_like_all_else(outside, tmp_path, by_path):
    by_path(outside)
    for number, (content, message) in enumerate(WRONG):
        (tmp_path / f"c{number}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        with pytest.raises(InputError, match=message) as told:
            load_config(tmp_path / f"c{number}.yaml")
        assert str(told.value).startswith(f"{tmp_path}/c{number}.yaml:")


def test_the_new_back_end_keeps_the_promises_of_all(tree):
    assert "6 passed" in run("-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/models/test_backends.py",
                             "-k", "loudest", path=tree, cwd=tree)


def test_the_tree_with_every_part_keeps_its_rules(tree):
    sources = read_sources(tree)
    assert not upward(sources) and not long_functions(sources)
    assert {"wedefense/models/loudest.py", "wedefense/train/tethered.py"} < {str(source.path) for source in sources}


@pytest.mark.parametrize("how", ["tree", "installed"])
def test_the_corpus_reader(how, request, tmp_path):
    path = request.getfixturevalue(how)
    keys = ["a1", "a2", "b1", "b2"]
    lines(tmp_path / "corpus/labels.txt", *(f"{key[0]} {key} {'fake' if key[1] == '2' else 'real'}" for key in keys))
    for key in keys:
        sound(tmp_path / f"corpus/audio/{key}.wav", buzz=key[1] == "2")
    reader = [path / "tools/prepare/my_corpus.py"] if how == "tree" else [ROOT / "tools/prepare/corpus.py", "my_corpus"]
    run(*reader, "--corpus", tmp_path / "corpus", "--out", tmp_path / "data",
        "--num_workers", "1", path=path, cwd=tmp_path)
    assert read_table(tmp_path / "data/eval/utt2lab") == {"a1": "bonafide", "a2": "spoof", "b1": "bonafide",
                                                          "b2": "spoof"}
    assert read_table(tmp_path / "data/eval/utt2spk")["b2"] == "b"


def module(path: Path):
    spec = importlib.util.spec_from_file_location(f"new_{path.stem}", path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # where dataclasses look their types up
    spec.loader.exec_module(found)
    return found


def test_the_front_end_hears_an_utterance_alone_as_in_a_batch(outside):
    new = module(outside / "my_plugin/envelope.py")
    frontend, lengths = new.Envelope(new.EnvelopeOptions(), 16000), [1700, 480]
    wav = torch.randn(2, 1700)
    wav[1, 480:] = 0
    together, alone = frontend(wav, lengths), frontend(wav[1:, :480], lengths[1:])
    assert together.counts == [10, 3] and together.lengths.tolist() == [10, 3]
    assert together.shape == (2, 10, 8) and (together.layers[0][1:, :3] - alone.layers[0]).abs().max() < 1e-6
    assert together.layers[0][0, 0, 0].item() == pytest.approx(wav[0, :20].square().mean().log().item(), abs=1e-4)


def test_the_metric_is_in_every_result_and_as_its_example_says(tree, tmp_path):
    (tmp_path / "scores").write_text("a 1\nb 3\nc 0\nd 2\n")
    (tmp_path / "keys").write_text("a bonafide\nb bonafide\nc spoof\nd spoof\n")
    printed = run("-m", "wedefense.cli", "evaluate", "--scores", "scores", "--keys", "keys", "--json", "r.json",
                  path=tree, cwd=tmp_path)
    assert "overlap" in printed and '"overlap": 0.25' in (tmp_path / "r.json").read_text()
    new = module(tree / "wedefense/metrics/detection.py")
    assert new.overlap([1, 2], [2, 3]) == 0.875 and new.overlap([1.0], [0.0]) == 0
    finder = doctest.DocTestFinder().find(new.overlap, globs={"overlap": new.overlap})
    assert sum(doctest.DocTestRunner().run(example).attempted for example in finder) == 1


QUESTIONS = re.findall(r"^\| (.+\?) \| `(.+?)` \| `(.+?)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("question, path, name", QUESTIONS, ids=[path for _, path, _ in QUESTIONS])
def test_what_one_asks_for_is_where_the_page_says(question, path, name):
    assert len(QUESTIONS) >= 10
    text = (ROOT / path).read_text(encoding="utf-8")
    defined = rf"^(def {name}\b|class {name}\b|{name}(: [^=]+)? = )" if path.endswith(".py") else re.escape(name)
    assert re.search(defined, text, re.MULTILINE), question
