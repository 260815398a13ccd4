"""The code blocks of the pages in `docs/`, and what they are run as.

`bash` and `python` run, in the order of the page; `yaml` is a config; `sh` needs a network, a GPU or a cluster and is
not run; `text` and `bibtex` are no code. `<!-- slow -->` above a block: with --all.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(<!-- slow -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN, OTHERS = {"bash", "python", "yaml"}, {"sh", "text", "toml", "bibtex"}


class Block(NamedTuple):
    """A block of a page."""

    language: str
    code: str
    slow: bool


def pages() -> dict[str, list[Block]]:
    """Page -> its blocks that run, those that it includes left to the files that they stand in."""
    found = {}
    for path in sorted(ROOT.glob("docs/**/*.md")):
        blocks = [Block(language, code, bool(slow)) for slow, language, code in FENCE.findall(path.read_text("utf-8"))]
        assert {block.language for block in blocks} <= RUN | OTHERS, path
        if runs := [block for block in blocks if block.language in RUN]:
            found[path.relative_to(ROOT / "docs").as_posix()] = runs
    return found


def command_lines(code: str) -> list[list[str]]:
    """The words of each line of a shell block, comments left out."""
    lines = [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines()]
    return [words for words in lines if words]
