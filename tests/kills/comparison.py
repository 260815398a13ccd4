"""What two runs left, bit by bit, but for what tells of times."""

import json
from pathlib import Path

import torch

from tests.kills.snapshots import without_owner

# Their content tells of times, or of paths of the run.
_NOT_READ = ("train.log", "report.html", "MODEL.md", ".owner")


def compared(root: Path) -> dict[str, object]:
    """Every file that is wanted, as it is or without what tells of times."""
    return {name: content for name, content in everything(root).items()
            if content is not None and not Path(name).name.startswith(".")}


def everything(root: Path) -> dict[str, object]:
    """Every file, half-written ones too; None for what is not read."""
    paths = {without_owner(path.relative_to(root).as_posix()): path for path in sorted(root.rglob("*"))
             if path.is_file() and "tensorboard" not in path.parts}
    return {name: _content(path, name) for name, path in paths.items()}


def _content(path: Path, name: str) -> object:
    last = Path(name).name
    if last.endswith(".OWNER.tmp"):
        last = last[1:].removesuffix(".OWNER.tmp")
    if last in _NOT_READ or last.endswith(".png"):
        return None
    if last == "last.ckpt":
        return _plain(torch.load(path, weights_only=True))
    if last.endswith(".json"):
        return _without_times(json.loads(path.read_text()))
    if last.endswith(".idx"):  # its first line is the time of the tar
        return path.read_text().splitlines()[1:]
    return path.read_bytes()


def _plain(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "seconds"}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in ("seconds", "pruning.json")}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def different(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def left_behind(root: Path) -> list[str]:
    """What nobody cleared."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob(".*") if path.is_file())
