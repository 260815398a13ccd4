"""Pages for readers name files that are there; the citation is of this version."""

import re
from pathlib import Path

import pytest
import yaml

import wedefense
from tests.contributing import parts
from tools.docs import include
from tools.docs.generated import generated
from tools.structure import FLOORS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("egs/*.md"), *ROOT.glob("egs/*/*/README.md"),
                *ROOT.glob("egs/*/*/*/README.md")])
ROOM = r"(?:wedefense|tools|tests|egs|docs)/"
NEW = {change.path for part in parts().values() for change in part.changes if change.how == "new"}
OF_THE_SITE = {ROOT / "docs" / name for name in (*include.whole_files(), *generated())}
MADE = re.compile(r"/(exp|data|corpus)(/|$)")  # by recipes


def named(text: str) -> set[str]:
    """Links that lead to no site, paths of the tree in code marks, and scripts in commands.

    >>> sorted(named("[x](docs/a.md#top), `tools/b.sh --c`, `wedefense/*.py`; python tests/d.py [y](https://z)"))
    ['docs/a.md', 'tests/d.py', 'tools/b.sh']
    """
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    marked = re.findall(rf"`({ROOM}[\w./-]*\w)(?=[`\s])", text)
    scripts = re.findall(rf"(?<![\w./-])({ROOM}[\w./-]+\.(?:py|sh|yaml|md))\b", text)
    return {*links, *marked, *scripts}


def test_what_counts_as_naming_a_file():
    assert named("[x](docs/a.md#top), `tools/b.sh --c`, `wedefense/*.py`; python tests/d.py [y](https://z)") == {
        "docs/a.md", "tools/b.sh", "tests/d.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_that_are_there(page):
    missing = [path for path in named(page.read_text(encoding="utf-8")) - NEW
               if (page.parent / path).resolve() not in OF_THE_SITE and not MADE.search(path)
               and not any((folder / path).exists() for folder in (page.parent, ROOT))]
    assert not missing


def test_the_pages_are_found():
    found = {str(page.relative_to(ROOT)) for page in PAGES}
    assert found >= {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/contracts.md", "egs/README.md"}
    assert sum(len(named(page.read_text(encoding="utf-8"))) for page in PAGES) > 60


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == wedefense.__version__ and citation["cff-version"] == "1.2.0"
    assert citation["license"] == "Apache-2.0" and citation["authors"] and citation["title"].startswith("WeDefense")


def test_the_contracts_list_every_package():
    rows = re.findall(r"^\| (`.+`) \| ", (ROOT / "docs/contracts.md").read_text(encoding="utf-8"), re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert documented == list(FLOORS)
