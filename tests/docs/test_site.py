"""The site of `docs/`: it builds, its links lead somewhere, nothing in it comes from elsewhere."""

import dataclasses
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tools.docs import config_pages, include
from wedefense.config.components import TABLES
from wedefense.config.schema import Config
from wedefense.config.train import KEYWORDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder], cwd=ROOT, text=True,
                          capture_output=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr
    return folder


def pages(site: Path) -> dict[Path, str]:
    found = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(found) > 25
    return found


def test_every_link_leads_to_a_page_and_a_place_of_it(site):
    texts = pages(site)
    anchors = {path: set(re.findall(r'\bid="?([^"\s>]+)', text)) for path, text in texts.items()}
    wrong, seen = [], 0
    for path, text in texts.items():
        for link in re.findall(r'<a [^>]*?href="([^"]+)"', text):
            address, anchor = urldefrag(unescape(link))
            if re.match(r"\w+:", address):
                continue
            seen += 1
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or anchor and target in anchors and unquote(anchor) not in anchors[target]:
                wrong.append(f"{path.relative_to(site)}: {link}")
    assert seen > 1000 and not wrong, "\n".join(sorted(set(wrong))[:20])


def test_nothing_is_loaded_from_elsewhere(site):
    for path, text in pages(site).items():
        loaded = re.findall(r'<(?:script|img|iframe|audio|video)\b[^>]*?\bsrc="([^"]+)', text)
        loaded += re.findall(r'<link\b[^>]*?rel="(?:stylesheet|preconnect|icon)"[^>]*?href="([^"]+)', text)
        loaded += re.findall(r'<link\b[^>]*?href="([^"]+)"[^>]*?rel="(?:stylesheet|preconnect|icon)"', text)
        assert loaded and not [address for address in loaded if re.match(r"(\w+:)?//", address)], path
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_search_works_from_the_disk(site):
    text = (site / "quickstart.html").read_text(encoding="utf-8")
    assert 'src="assets/iframe-worker.js"' in text
    index = (site / "search/search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ") and "dataset_args.num_frms" in index


def test_the_reference_has_every_key_and_the_recipes_that_set_it():
    made = "\n".join(config_pages.pages().values())
    classes = {row.options for table in TABLES.values() for row in table.rows().values()} - {KEYWORDS} | {Config}
    names = {field.name for cls in classes for field in dataclasses.fields(cls)}
    sections = {line.split(".")[-1] for line in re.findall(r"^##+ (.+)$", made, re.MULTILINE)}
    missing = [name for name in names - sections - config_pages.ELSEWHERE.keys() if f"#### `{name}`" not in made]
    assert len(names) > 150 and not missing
    entry = config_pages.pages()["config/data.md"].split("#### `num_frms`")[1].split("####")[0]
    assert "a whole number, default `150`" in entry and "frames of a training crop" in entry
    assert re.search(r"- `75`: \[detection/mini\]\(../recipes/detection/mini.md\) \(", entry)


PAGE = """# Title

Intro.

## One

```bash
# no heading
```

### Deeper

[link](other.md#x) and [home](../README.md), [gone](gone.md)

## Two
"""


def test_sections_are_taken_with_what_lies_below_them():
    assert include.section(PAGE, "title") == (1, "Intro.")
    level, one = include.section(PAGE, "one")
    assert level == 2 and one.startswith("```bash\n# no heading") and one.endswith("[gone](gone.md)")
    assert include.section(PAGE, None)[1].startswith("Intro.") and include.section(PAGE, None)[1].endswith("## Two")
    with pytest.raises(ValueError, match="f.md: has no section 'three'"):
        include.section(PAGE, "three", "f.md")
    assert "### Deeper" not in include.shifted(one, 2).splitlines()
    assert "##### Deeper" in include.shifted(one, 2) and "\n# no heading" in include.shifted(one, 2)


def test_links_of_what_is_included_lead_to_pages_or_become_text():
    known = {include.Target("egs/a/other.md", "x"): "b.md#x", include.Target("egs/README.md"): "c.md"}
    text = include.relinked(PAGE, "egs/a/b.md", "page.md", lambda target, page: known.get(target))
    assert "[link](b.md#x) and [home](c.md), gone" in text


def test_an_include_of_what_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"docs/x.md: includes READTHAT.md, which is not there"):
        include.expand("<!-- include --> [x](../READTHAT.md)\n", "x.md", lambda target, page: None)
    made = include.expand("# A\n\n## B\n\n<!-- include --> [x](../README.md#metrics)\n\nend\n", "x.md",
                          lambda target, page: None)
    assert made.startswith("# A\n\n## B\n\nThose of the ASVspoof 5") and made.endswith("\n\nend\n")
