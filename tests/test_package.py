"""What pip installs is whole: a wheel in an empty folder lists, copies and runs the recipes without the clone."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import wedefense
from wedefense.config.recipes import copy, titles
from wedefense.detect.export import _onnx
from wedefense.frontend.names import upstream_names
from wedefense.utils.errors import InputError
from wedefense.utils.recipe_files import recipe_files

ROOT = Path(__file__).parents[1]
TREE = ("conf", "egs", "tools")
OF_A_CLONE = ("tools/bench/", "tools/docs", "tools/gpu", "tools/install.sh", "tools/quickstart.sh",
              "tools/run_tests.sh", "tools/structure.py")


def run(*command, cwd, **environment) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a source distribution of a tree in which recipes have run."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    made = shutil.ignore_patterns("exp", "data", "corpus", "__pycache__", "gpu_check", "*.egg-info")
    for name in TREE:
        shutil.copytree(ROOT / name, source / name, ignore=made)
    shutil.copytree(ROOT / "wedefense", source / "wedefense", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    for name in ("exp/mhfa/README.md", "exp/mhfa/config.yaml", "data/train/notes.txt", "corpus/make.py"):
        path = source / "egs/detection/mini" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made by a run\n")
    run(sys.executable, "setup.py", "-q", "sdist", "-d", folder, cwd=source)
    run(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder,
        next(folder.glob("*.tar.gz")), cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


@pytest.fixture
def installed(site, tmp_path):
    """A command with this installation alone, in a folder that is far from the clone."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def call(*command, cwd=tmp_path) -> str:
        return run(*command, cwd=cwd, PYTHONPATH=str(site), PATH=path, VIRTUAL_ENV=sys.prefix)

    where = call(sys.executable, "-c", "import wedefense; print(wedefense.__file__)").strip()
    assert Path(where) == site / "wedefense/__init__.py"
    return call


def test_the_wheel_holds_what_the_repository_holds_and_nothing_that_was_made(wheel):
    git = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *TREE], cwd=ROOT, capture_output=True,
                         text=True)
    if git.returncode:
        pytest.skip("not a clone")
    wanted = {name for name in git.stdout.split() if not name.startswith(OF_A_CLONE)}
    names, inside = zipfile.ZipFile(wheel).namelist(), "wedefense/recipes/"
    assert {name.removeprefix(inside) for name in names if name.startswith(inside)} == wanted
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "wedefense").rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}
    others = {name for name in names if not name.startswith(inside) and ".dist-info/" not in name}
    assert others == package and "wedefense/py.typed" in package and len(wanted) > 100


def test_its_metadata_say_version_pythons_and_extras_that_the_code_names(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = email.message_from_bytes(archive.read(f"wedefense-{wedefense.__version__}.dist-info/METADATA"))
    assert metadata["Version"] == wedefense.__version__ and metadata["License-File"] == "LICENSE"
    assert {*metadata["Requires-Python"].split(",")} == {">=3.10", "<3.14"}
    pythons = [c.split()[-1] for c in metadata.get_all("Classifier") if ":: Python :: 3." in c]
    assert pythons == ["3.10", "3.11", "3.12", "3.13"]
    extras = set(metadata.get_all("Provides-Extra"))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "wedefense").rglob("*.py"))
    assert extras - {"all", "docs", "test", "tested"} == set(re.findall(r"'wedefense\[(\w+)\]'", code))  # by errors
    needed = [line.split(";")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert "torch<2.16,>=2.11" in needed
    assert not [name for name in needed
                if name.startswith(("torchaudio", "s3prl", "transformers", "onnx", "pyarrow", "lmdb"))]
    entries = archive.read(f"wedefense-{wedefense.__version__}.dist-info/entry_points.txt").decode()
    assert "wedefense = wedefense.cli:run" in entries


def test_a_package_that_only_some_need_is_asked_for_by_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"ONNX needs the package onnx: pip install 'wedefense\[export\]'"):
        _onnx(None, tmp_path / "model.onnx", int8=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'s3prl' needs the package s3prl: pip install 'wedefense\[s3prl\]'"):
        upstream_names()


def test_recipes_are_listed_with_the_first_lines_of_their_readmes(installed):
    listed = installed(sys.executable, "-m", "wedefense.cli", "recipes")
    recipes = {path.parent.relative_to(ROOT / "egs").as_posix() for path in ROOT.glob("egs/**/run.sh")}
    assert {line.split()[0] for line in listed.split("\n\n")[0].splitlines()} == recipes == titles().keys()
    assert "detection/mini " in listed and "  The mini recipe\n" in listed


def test_the_mini_recipe_checks_its_config_in_a_copy_and_takes_the_bases_of_the_copy(installed, tmp_path):
    command = (sys.executable, "-m", "wedefense.cli")
    assert "copy/egs/detection/mini/run.sh" in installed(*command, "recipes", "copy", "detection/mini", "copy")
    recipe = tmp_path / "copy/egs/detection/mini"
    assert os.access(recipe / "run.sh", os.X_OK) and (tmp_path / "copy/conf/spoofing.yaml").is_file()
    assert not (tmp_path / "copy/egs/sv").exists()
    assert "usage: ./run.sh" in installed("./run.sh", "--help", cwd=recipe)
    show = (*command, "config", "--config")
    assert "seed: 42\n" in installed(*show, "conf/mhfa_full.yaml", cwd=recipe)
    for config in (tmp_path / "copy/conf").glob("*.yaml"):  # the user's own from now on
        config.write_text("seed: 4711\n")
    (recipe / "conf/mine.yaml").write_text("base: conf/spoofing.yaml\n")
    assert "seed: 4711\n" in installed(*show, "conf/mine.yaml", cwd=recipe)


def test_a_recipe_runs_in_a_copy_with_the_configs_that_it_takes_from_another(installed, tmp_path):
    installed(sys.executable, "-m", "wedefense.cli", "recipes", "copy", "detection/own", "copy")
    recipe, rows = tmp_path / "copy/egs/detection/own", ["path,label,split"]
    for number in range(12):
        split = ("train", "dev", "eval")[number % 3]
        noise = 0.1 * np.random.default_rng(number).standard_normal(8000)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16000)
        rows.append(f"{number}.wav,{'real' if number % 2 else 'fake'},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    installed(sys.executable, "../../../tools/prepare/table.py", "--table", tmp_path / "labels.csv", "--out", "data",
              cwd=recipe)
    done = installed("./run.sh", "--stage", "2", "--stop_stage", "2", cwd=recipe)
    assert "stage 2" in done and len((recipe / "data/train/raw.list").read_text().splitlines()) == 4
    shown = installed(sys.executable, "-m", "wedefense.cli", "config", "--config", "conf/resnet.yaml", cwd=recipe)
    assert "ResNet" in shown


def test_a_copy_is_the_same_from_a_clone_and_leaves_what_is_there(tmp_path):
    copy(["all"], tmp_path)
    assert sorted(recipe_files(ROOT)) == sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")
                                                if p.is_file())
    changed = tmp_path / "egs/detection/mini/run.sh"
    changed.write_text("mine\n")
    (tmp_path / "egs/README.md").unlink()
    with pytest.raises(InputError, match="holds other versions of egs/detection/mini/run.sh; .*another folder"):
        copy(["detection/mini"], tmp_path)
    assert changed.read_text() == "mine\n" and not (tmp_path / "egs/README.md").exists()
    copy(["detection/own"], tmp_path)
    assert (tmp_path / "egs/README.md").exists()


def test_a_copy_has_the_scripts_of_other_recipes_that_it_runs(tmp_path):
    copy(["localization/mini"], tmp_path)
    assert (tmp_path / "egs/localization/mini/run.sh").is_file()
    assert (tmp_path / "egs/detection/mini/local/minicorpus/make.py").is_file()
    assert (tmp_path / "egs/detection/mini/conf/mhfa_full.yaml").is_file()
    assert not (tmp_path / "egs/detection/mini/run.sh").exists()


def test_an_unknown_recipe_gets_the_nearest(tmp_path):
    with pytest.raises(InputError, match="unknown recipe 'detection/mimi', did you mean 'detection/mini'"):
        copy(["detection/mimi"], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder; name another"):
        copy(["all"], tmp_path / "file")
