"""The recipes that came with the package: their names, and copies of them to run and to change."""

import os
import re
from pathlib import Path

from wedefense.config.tree import base_files
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.recipe_files import home, recipe_files
from wedefense.utils.tables import first_few

ALL = "all"
_OTHER_SCRIPT = re.compile(r"(?:\.\./)+[\w./-]+\.sh")  # from the folder of the script that names it


def titles() -> dict[str, str]:
    """Name of each recipe, such as detection/mini, and the first line of its README."""
    root = home()
    found = {}
    for file in recipe_files(root):
        if file.endswith("/run.sh"):
            folder = root / os.path.dirname(file)
            with open(folder / "README.md", encoding="utf-8") as readme:
                found[folder.relative_to(root / "egs").as_posix()] = readme.readline().lstrip("#").strip()
    return found


def copy(names: list[str], out: str | os.PathLike) -> list[str]:
    """Lay `conf/`, `tools/` and the `egs/` of these recipes down in `out`: the names copied.

    Nothing that is there is changed: files that differ end it before anything is written.
    """
    known = titles()
    for name in names:
        if name not in (ALL, *known):
            raise InputError(f"unknown recipe '{name}'{did_you_mean(name, (ALL, *known))}")
    chosen = list(known) if ALL in names else names
    root, out = home(), Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is not a folder; name another, to be made")
    contents = {file: (root / file).read_bytes() for file in _of(chosen, root)}
    differing = [file for file, content in contents.items()
                 if (out / file).exists() and ((out / file).is_dir() or (out / file).read_bytes() != content)]
    if differing:
        raise InputError(f"{out}: holds other versions of {first_few(differing)}; they are left as they are: give "
                         "another folder, or move them away")
    for file, content in contents.items():
        path = out / file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if content.startswith(b"#!"):
                path.chmod(path.stat().st_mode | 0o111)
    return chosen


def _of(names: list[str], root: Path) -> list[str]:
    """The files of these recipes, what all share, and the configs and scripts of other recipes that theirs name."""
    folders = [f"egs/{name}/" for name in names]
    chosen = {file for file in recipe_files(root) if not file.startswith("egs/") or file.count("/") == 1 or
              file.startswith(tuple(folders))}
    ahead = [file for file in chosen if file.startswith("egs/") and file.endswith(".yaml")]
    while ahead:
        below = {path.relative_to(root).as_posix() for path in base_files(root / ahead.pop())} - chosen
        chosen |= below
        ahead += below
    scripts = {script for file in chosen if file.startswith("egs/") and file.endswith(".sh")
               for script in _OTHER_SCRIPT.findall((root / file).read_text(encoding="utf-8"))
               for script in [os.path.normpath(f"{os.path.dirname(file)}/{script}")]}
    others = tuple(f"{os.path.dirname(script)}/" for script in scripts - chosen if script.startswith("egs/"))
    return sorted(chosen | {file for file in recipe_files(root) if others and file.startswith(others)})
