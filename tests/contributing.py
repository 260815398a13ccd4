"""CONTRIBUTING.md taken apart: its parts, the files that each is outside the tree, and what it becomes inside.

    python -m tests.contributing CONFIG...     one training step of each config; prints the loss
"""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
HEAD = re.compile(r"# (?:new: (?P<new>\S+)|in (?P<path>\S+), (?P<how>before|after|instead of): (?P<line>.+))")
ROW = re.compile(r"^\| ([\w -]+?) \|(?: (\d))? \| (\d) \| `(\S+)` \|(?: `(\S+): (\w+)`)? \|$", re.MULTILINE)


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
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.code, encoding="utf-8")
            return
        text, line = path.read_text(encoding="utf-8"), self.line + "\n"
        found = re.findall(rf"^{re.escape(line)}", text, re.MULTILINE)
        assert len(found) == 1, f"{self.path} has {len(found)} lines '{self.line}'"
        placed = {"before": self.code + line, "after": line + self.code, "instead of": self.code}[self.how]
        path.write_text(text.replace(line, placed), encoding="utf-8")


class Place(NamedTuple):
    """What the table says of a kind of part."""

    outside: str  # how many files it takes
    inside: str
    folder: str   # where its class goes
    page: str     # where its options and its row go
    table: str


class Part(NamedTuple):
    """What a section says of adding one kind of part."""

    changes: list[Change]
    yaml: str  # what a config says to use it from outside

    @property
    def module(self) -> str:
        return Path(self.changes[0].path).stem

    def named(self, frontend_section: str) -> str:
        """The config where the part has a name, that of its file."""
        return re.sub(r'"?my_plugin\.(\w+):\w+"?', r"\1", self.yaml).replace("frontend_args", frontend_section)


def parts() -> dict[str, Part]:
    """By the word with which the heading of each begins, in small letters."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Adding a part\n")[1].split("\n## ")[0]
    found = {}
    for text in section.split("\n### ")[1:]:
        title, _, body = text.partition("\n")
        blocks = re.findall(r"^```(python|toml|yaml)\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
        changes = [_change(code) for language, code in blocks if language != "yaml"]
        name = title.split(" (")[0].lower()
        found[name] = Part(changes, "".join(code for language, code in blocks if language == "yaml"))
    return found


def places() -> dict[str, Place]:
    return {name: Place(*rest) for name, *rest in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def moved_inside(part: Part, place: Place) -> list[Change]:
    """The changes to a tree that make a part from outside one of its own, as the page says it."""
    own = part.changes[0]
    if not place.page:
        return [Change(f"{place.folder}{part.module}.py", "new", "", own.code)]
    lines, tree = own.code.splitlines(keepends=True), ast.parse(own.code)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    options = next(node for node in classes if node.name.endswith("Options"))
    made = next(node for node in classes if any(_is("Options", line) for line in node.body))
    attributes = {name: line for line in made.body for name in ("Options", "traits") if _is(name, line)}
    first = options.decorator_list[0].lineno - 1
    moved = "".join(lines[first:options.end_lineno])
    traits = attributes.get("traits")
    more = "" if traits is None else f", **{ast.unparse(traits.value)}".replace("{__name__}", _dotted(place, part))
    gone = {number for node in attributes.values() for number in range(node.lineno - 1, node.end_lineno)}
    gone |= set(range(first, options.end_lineno))
    kept = "".join(line for number, line in enumerate(lines) if number not in gone)
    page = f"wedefense/{place.page}"
    link = f"from wedefense.{place.page.removesuffix('.py').replace('/', '.')} import {options.name}\n"
    kept = re.sub(r"^(?=from wedefense\.)", link, kept, count=1, flags=re.MULTILINE)
    text = (PAGE.parent / page).read_text(encoding="utf-8")
    begins = re.search(rf"^(.*\b{place.table} = Registry\(.*\{{)$", text, re.MULTILINE)[1]
    kind = "FrontendRow" if place.table == "FRONTENDS" else "Row"
    row = f'    "{part.module}": {kind}("{_dotted(place, part)}:{made.name}", {options.name}{more}),\n'
    return [Change(f"wedefense/{place.folder}{part.module}.py", "new", "", kept),
            Change(page, "instead of", begins, f"{moved}\n\n{begins}\n{row}")]


def _is(name: str, node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name


def _dotted(place: Place, part: Part) -> str:
    return f"wedefense.{place.folder.replace('/', '.')}{part.module}"


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
        detector = trainer.detector
        made = (detector.backend, detector.frontend, detector.projection, trainer.module.criterion, trainer.mode,
                trainer.optimizer, trainer.schedule)
        scalars = " ".join(f"{name} {value:.3g}" for name, value in trainer.mode.scalars().items())
        print(Path(path).stem, f"{loss.item():.7f}", *(type(part).__name__ for part in made), scalars)
        distributed.stop()


if __name__ == "__main__":
    main()
