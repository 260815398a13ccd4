import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from wedefense import __version__
from wedefense.cli import COMMANDS, main
from wedefense.utils.errors import InputError

ROOT = Path(__file__).parents[1]


def wedefense(*arguments, cwd=None):
    return subprocess.run([sys.executable, "-m", "wedefense.cli", *map(str, arguments)], cwd=cwd or ROOT,
                          capture_output=True, text=True)


def test_every_command_of_the_table_has_a_main():
    for name in COMMANDS:
        assert importlib.util.find_spec(f"wedefense.bin.{name}"), name


def test_version_and_usage(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out.strip() == f"wedefense {__version__}"
    assert main([]) == 0
    usage = capsys.readouterr().out
    assert all(name in usage for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "-h"])
    assert stopped.value.code == 0 and "usage: wedefense" in capsys.readouterr().out


@pytest.mark.parametrize("words, code", [(["-h"], 0), (["--help"], 0), ([], 2), (["--devices", "0"], 2)])
def test_reproduce_explains_itself(words, code):
    done = subprocess.run(["bash", "tools/reproduce.sh", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code and "tools/reproduce.sh superb_deepfake --corpus" in (done.stderr if code else
                                                                                          done.stdout)


def test_the_package_lists_what_it_imports_on_first_use():
    code = ("import sys, wedefense\nassert {'load_detector', 'load_frontend', '__version__'} <= set(dir(wedefense))\n"
            "assert 'torch' not in sys.modules")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_an_unknown_command_gets_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'train'"):
        main(["trian"])


def test_a_user_error_is_one_line_and_a_code():
    done = wedefense("train", "--config", "missing.yaml")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: missing.yaml: no such file"


def test_a_wrong_key_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "c.yaml").write_text("num_epoch: 3\n")
    code = ("import sys\nfrom wedefense.bin.train import main\nfrom wedefense.utils.errors import InputError\n"
            "try:\n    main(['--config', 'c.yaml'])\nexcept InputError as error:\n    print(error)\n"
            "assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("c.yaml:1: unknown key 'num_epoch', did you mean 'num_epochs'?")
