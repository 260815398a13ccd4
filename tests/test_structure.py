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

# The house, highest first: each package alone on its floor, and a file imports only from its own or lower ones.
FLOORS = ("bin", "cli", "api", "train", "detect", "report", "scoring", "experiment", "models", "pruning", "data",
          "frontend", "config", "metrics", "gpu", "utils")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int | None:
    """0 is the highest; `wedefense` itself lies below all, and None is what has no floor."""
    top, _, inner = module.partition(".")
    name = inner.split(".")[0]
    if top != "wedefense":
        return None
    return len(FLOORS) if not name else FLOORS.index(name) if name in FLOORS else None


def imports(path: Path):
    """(line, module) of every import, anywhere in the file; `from wedefense import train` is one of the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module
            if node.module == "wedefense":
                yield from ((node.lineno, f"wedefense.{alias.name}") for alias in node.names if alias.name in FLOORS)


def test_imports_go_down_the_floors():
    wrong = []
    for path in SOURCES:
        own = floor(module_name(path))
        for line, module in imports(path):
            target = floor(module)
            if own is not None and target is not None and target < own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_floor_of_its_package_alone():
    assert not [name for name in map(module_name, SOURCES) if floor(name) is None]
    assert len(set(FLOORS)) == len(FLOORS)


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
            assert all(alias.name != "*" for alias in node.names) and not node.level, "imports are by name, and absolute"
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
    code = ("import sys, wedefense, wedefense.cli\n"
            "assert not {'torch', 'torchaudio', 'matplotlib'} & set(sys.modules), 'heavy import'\n"
            "assert wedefense.__version__ and 'load_detector' in wedefense.__all__")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["config", "metrics"])
def test_no_module_of_these_packages_loads_torch(package):
    names = [module_name(path) for path in SOURCES if path.is_relative_to(PACKAGE / package)]
    code = (f"import sys, {', '.join(names)}\n"
            "sys.exit(', '.join({'torch', 'torchaudio', 'matplotlib'} & set(sys.modules)) or 0)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert len(names) > 5 and done.returncode == 0, f"loaded: {done.stderr}"
