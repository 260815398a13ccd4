"""Pages that stand elsewhere in the repository, in whole or by section, as pages of the site.

A paragraph `<!-- include --> [text](../FILE.md#section)` is a link where the repository is read; the site has that
section there, or without `#section` all of the file but its title.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
INCLUDE = re.compile(r"^<!-- include --> \[[^\]]*\]\(([^)#]+)(?:#([^)]+))?\)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:)([^)#\s]*)(#[^)\s]+)?\)")
FENCE = re.compile(r"^ {0,3}(```|~~~)")
HEADING = re.compile(r"^(#{1,6}) (.+?)(?: \{.*\})?$")

WHOLE = {"contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md", "changelog.md": "CHANGELOG.md"}


class Target(NamedTuple):
    """A place in the repository."""

    path: str
    anchor: str = ""


def whole_files() -> dict[str, str]:
    """Page of the site -> the file of the repository that it is."""
    recipes = {f"recipes/{path.parent.relative_to(ROOT / 'egs').as_posix()}.md": path.relative_to(ROOT).as_posix()
               for path in sorted(ROOT.glob("egs/**/README.md")) if path.parent != ROOT / "egs"}
    return WHOLE | recipes


def anchor(heading: str) -> str:
    """As the site and GitHub name a heading.

    >>> anchor("How good is it *elsewhere*?")
    'how-good-is-it-elsewhere'
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def section(text: str, name: str | None, source: str = "") -> tuple[int, str]:
    """(level, Markdown below the heading of that anchor); of the title what stands before the first section.

    Without a name level 1 and all but the title.
    """
    level, taken, fenced = 0, [], False
    for line in text.splitlines():
        fenced ^= bool(FENCE.match(line))
        heading = None if fenced else HEADING.match(line)
        if level and heading and (len(heading[1]) <= level or name and level == 1):
            break
        if level:
            taken.append(line)
        elif heading and (anchor(heading[2]) == name or name is None):
            level = len(heading[1])
    if not level:
        raise ValueError(f"{source}: has no section '{name}'")
    return level, "\n".join(taken).strip()


def shifted(text: str, by: int) -> str:
    """Headings `by` levels deeper."""
    fenced, lines = False, []
    for line in text.splitlines():
        fenced ^= bool(FENCE.match(line))
        lines.append("#" * by + line if not fenced and by > 0 and HEADING.match(line) else line)
    return "\n".join(lines)


def level_before(text: str) -> int:
    """Of the last heading of a text."""
    fenced, level = False, 1
    for line in text.splitlines():
        fenced ^= bool(FENCE.match(line))
        if not fenced and (heading := HEADING.match(line)):
            level = len(heading[1])
    return level


def expand(text: str, page: str, link: Callable[[Target, str], str | None]) -> str:
    """The Markdown of a page of `docs/` with what it includes; `link` is as `relinked` takes it."""
    made, end = "", 0
    for found in INCLUDE.finditer(text):
        made += text[end:found.start()]
        source = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), found[1]))
        if not (ROOT / source).is_file():
            raise ValueError(f"docs/{page}: includes {source}, which is not there")
        level, taken = section((ROOT / source).read_text(encoding="utf-8"), found[2], source)
        made += relinked(shifted(taken, level_before(made) - level), source, page, link)
        end = found.end()
    return made + text[end:]


def relinked(text: str, source: str, page: str, link: Callable[[Target, str], str | None]) -> str:
    """Links of a file of the repository as links of a page; those that lead to no page become their text."""
    def replace(found: re.Match) -> str:
        words, path, place = found[1], found[2], (found[3] or "")[1:]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source
        address = link(Target(target, place), page)
        return words if address is None else f"[{words}]({address})"

    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= bool(FENCE.match(line))
        lines.append(line if fenced else LINK.sub(replace, line))
    return "\n".join(lines)
