"""CONTRIBUTING.md taken apart: its sections of parts, the changes that each makes to a tree, and its configs.

    python -m tests.contributing CONFIG...     one training step of each config; prints the loss
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
HEAD = re.compile(r"# (?:new: (?P<new>\S+)|in (?P<path>\S+), (?P<how>before|after|instead of): (?P<line>.+))")


class Change(NamedTuple):
    """A block of code and where it goes."""

    path: str
    how: str   # new, before, after, instead of
    line: str  # beside which it goes
    code: str

    def apply(self, root: Path) -> None:
        path = root / self.path
        if self.how == "new":
            assert not path.exists(), f"{self.path} is there already"
            path.write_text(self.code, encoding="utf-8")
            return
        text, line = path.read_text(encoding="utf-8"), self.line + "\n"
        found = re.findall(rf"^{re.escape(line)}", text, re.MULTILINE)
        assert len(found) == 1, f"{self.path} has {len(found)} lines '{self.line}'"
        placed = {"before": self.code + line, "after": line + self.code, "instead of": self.code}[self.how]
        path.write_text(text.replace(line, placed), encoding="utf-8")


class Part(NamedTuple):
    """What a section says of adding one kind of part."""

    title: str
    changes: list[Change]
    yaml: str  # what a config says to use it


def parts() -> dict[str, Part]:
    """By the word with which the heading of each begins, in small letters."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Adding a part\n")[1].split("\n## ")[0]
    found = {}
    for text in section.split("\n### ")[1:]:
        title, _, body = text.partition("\n")
        blocks = re.findall(r"^```(python|yaml)\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
        changes = [_change(code) for language, code in blocks if language == "python"]
        name = title.split(" (")[0].lower()
        found[name] = Part(title, changes, "".join(code for language, code in blocks if language == "yaml"))
    return found


def _change(code: str) -> Change:
    head, _, rest = code.partition("\n")
    match = HEAD.fullmatch(head)
    assert match, f"a block must begin with '# new: FILE' or '# in FILE, before: LINE', not {head!r}"
    if match["new"]:
        return Change(match["new"], "new", "", rest)
    return Change(match["path"], match["how"], match["line"], rest)


def main() -> None:
    from wedefense.config.loader import load_config
    from wedefense.train.run import build_trainer
    from wedefense.utils import distributed

    for path in sys.argv[1:]:
        config = load_config(path)
        world = distributed.start(config.gpus, "cpu")
        trainer = build_trainer(config, world)
        trainer.parallel.module.train()
        trainer.loader.set_epoch(0)
        for batch in trainer.loader:
            loss = trainer._train_batch(batch)[0]
        scalars = " ".join(f"{name} {value:.3g}" for name, value in trainer.mode.scalars().items())
        print(Path(path).stem, f"{loss.item():.7f}", type(trainer.detector.backend).__name__,
              type(trainer.detector.projection).__name__, type(trainer.module.criterion).__name__,
              type(trainer.mode).__name__, scalars)
        distributed.stop()


if __name__ == "__main__":
    main()
