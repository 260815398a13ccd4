"""Where `egs/`, `conf/` and `tools/` are, and which of their files go into a wheel.

setup.py runs this file before anything is installed: the standard library alone.
"""

from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "recipes"  # setup.py puts them there; in a clone they are around the package

_FOLDERS, _SUFFIXES = ("conf", "egs", "tools"), {".md", ".py", ".sh", ".txt", ".yaml"}
_MADE = {"corpus", "data", "exp", "__pycache__"}  # by recipes and by Python
_OF_A_CLONE = {"tools/bench", "tools/docs", "tools/docs.sh", "tools/gpu", "tools/gpu_check.py", "tools/gpu_check.sh",
               "tools/install.sh", "tools/quickstart.sh", "tools/run_tests.sh",
               "tools/structure.py"}  # they install, test, time or describe its code


def home() -> Path:
    """The folder of `egs/`, `conf/` and `tools/`."""
    return INSTALLED if INSTALLED.is_dir() else PACKAGE.parent


def around(path: Path) -> Path | None:
    """The clone or copy of recipes that a file stands in."""
    return next((folder for folder in path.resolve().parents if (folder / "tools/recipe.sh").is_file()), None)


def recipe_files(root: Path) -> list[str]:
    """What users of recipes need, as paths from `root`; nothing that a recipe made."""
    return sorted(path.relative_to(root).as_posix() for name in _FOLDERS for path in _files(root / name, root))


def _files(folder: Path, root: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.relative_to(root).as_posix() in _OF_A_CLONE:
            continue
        if path.is_dir():
            if path.name not in _MADE:
                yield from _files(path, root)
        elif path.suffix in _SUFFIXES:
            yield path
