"""Rules of the house, kept by machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wedefense"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Higher floors first; a file imports only from its own floor or lower ones.
FLOORS = [
    ("cli", "api", "bin", "detect"),
    ("config.schema", "config.loader"),
    ("train", "scoring"),
    ("data", "frontend", "models", "pruning", "metrics"),
    ("gpu",),
    ("utils", "config.registry", "config.tree", "config.typed"),
]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int | None:
    inner = module.removeprefix("wedefense").removeprefix(".")
    for number, names in enumerate(FLOORS):
        if any(inner == name or inner.startswith(f"{name}.") for name in names):
            return number
    return None


def imports(path: Path):
    """(line, module) of every import of the package, anywhere in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module


def test_imports_go_down_the_floors():
    wrong = []
    for path in SOURCES:
        own = floor(module_name(path))
        for line, module in imports(path):
            target = floor(module) if module.split(".")[0] == "wedefense" else None
            if own is not None and target is not None and target < own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_floor():
    assert not [name for name in map(module_name, SOURCES)
                if floor(name) is None and name not in ("wedefense", "wedefense.config")]


def test_every_imported_project_module_exists():
    missing = []
    for path in SOURCES:
        for line, module in imports(path):
            target = ROOT / Path(*module.split("."))
            if module.startswith("wedefense") and not (target.with_suffix(".py").exists() or target.is_dir()):
                missing.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_habits(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400, "a file says one thing in at most 400 lines"
    printing = path.parent.name == "bin" or path.name == "cli.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 70, f"{node.name} does not fit a screen"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
            assert printing, f"line {node.lineno}: log, do not print, outside mains"
    if path.parent.name == "bin":
        assert len(text.splitlines()) <= 62, "a main is thin"


@pytest.mark.parametrize("path", SOURCES + sorted([*ROOT.glob("tools/**/*.py"), *ROOT.glob("egs/**/*.py")]),
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_what_a_file_says(path):
    text = path.read_text(encoding="utf-8")
    text = text.replace("pickle_module=_PickleModule, weights_only=False", "")  # the restricted unpickler itself
    for danger in ("shell=True", "os.system(", "weights_only=False", "trust_remote_code=True", "yaml.unsafe_load"):
        assert danger not in text, danger
    calls = [node.func.id for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not {"eval", "exec"} & set(calls)


@pytest.mark.parametrize("script", sorted([*ROOT.glob("tools/**/*.sh"), *ROOT.glob("egs/**/*.sh"), ROOT / ".ci/run"]),
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_scripts_stop_at_the_first_error_and_hold_no_machine_path(script):
    text = script.read_text(encoding="utf-8")
    assert re.search(r"^set -euo pipefail$", text, re.M)
    assert not re.search(r"(?<![\w.$}])/(home|root|work|tmp|mnt|export|data)/\w", text)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_import_is_light():
    code = ("import sys, wedefense, wedefense.cli, wedefense.config.loader, wedefense.metrics.detection\n"
            "assert not {'torch', 'torchaudio', 'matplotlib'} & set(sys.modules), 'heavy import'\n"
            "assert wedefense.__version__ and 'load_detector' in wedefense.__all__")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
