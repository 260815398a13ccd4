"""What the pages of `docs/` show runs as it stands there."""

import re
import shutil

import pytest

from tests.docs.blocks import FENCE, ROOT, command_lines, pages
from wedefense.cli import main
from wedefense.config.loader import load_config

PAGES = pages()


def test_there_are_blocks_to_run():
    assert sum(len(command_lines(block.code)) if block.language == "bash" else 1
               for blocks in PAGES.values() for block in blocks) > 35


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, walkthrough, monkeypatch, request):
    monkeypatch.chdir(walkthrough)
    names: dict = {"__name__": page}
    for number, block in enumerate(PAGES[page]):
        if block.slow and not request.config.getoption("--all"):
            continue
        if block.language == "bash":
            for words in command_lines(block.code):
                assert words[0] == "wedefense" and main(words[1:]) == 0, words
        elif block.language == "yaml":
            (walkthrough / "page.yaml").write_text(block.code)
            load_config("page.yaml")
        else:
            exec(compile(block.code, f"{page}, block {number}", "exec"), names)


@pytest.mark.slow
def test_the_benchmark_of_the_readme_runs(walkthrough, monkeypatch):
    section = (ROOT / "README.md").read_text("utf-8").split("\n## How good is it elsewhere?\n")[1].split("\n## ")[0]
    monkeypatch.chdir(walkthrough)
    for new, old in (("exp/a", "exp/mhfa"), ("exp/b", "exp/sls"), ("data/in_the_wild", "data/eval"),
                     ("data/decro_en", "data/dev")):
        shutil.copytree(old, new)
    lines = command_lines(FENCE.search(section)[3])
    assert len(lines) == 2 and "--fix_on" in lines[0] and "mp3@64" in lines[1]
    for words in lines:
        assert words[:2] == ["wedefense", "benchmark"] and main([*words[1:], "--bootstrap", "0"]) == 0


SOURCES = "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text("utf-8")) for folder in ("wedefense", "tools")
                    for path in (ROOT / folder).rglob("*.*") if path.suffix in (".py", ".sh"))
ERRORS = re.findall(r"^### `(.+)`$", (ROOT / "docs/faq.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_of_the_page_of_errors_is_one_of_the_code(text):
    assert len(ERRORS) >= 10
    for part in re.split(r" \.\.\. | '[^']*'", text):
        fragment = part.strip(" ,?")
        assert not fragment or fragment in SOURCES, fragment
