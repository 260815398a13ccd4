"""What mkdocs calls: generated pages, included sections, links between both."""

import posixpath
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools.docs import include  # noqa: E402  after the path
from tools.docs.generated import generated  # noqa: E402

_WHERE: dict[include.Target, include.Target] = {}  # place in the repository -> place in the site


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the recipes of each task."""
    listed = next(entry["Recipes"] for entry in config.nav or () if "Recipes" in entry)
    tasks: dict[str, list[dict[str, str]]] = {}
    for page in include.whole_files():
        if page.startswith("recipes/"):
            task, _, name = page.removeprefix("recipes/").removesuffix(".md").partition("/")
            tasks.setdefault(task, []).append({name: page})
    listed[1:] = [{task: pages} for task, pages in tasks.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds pages that are made, and learns where everything stands."""
    _WHERE.clear()
    for file in files.documentation_pages():
        _WHERE[include.Target(f"docs/{file.src_uri}")] = include.Target(file.src_uri)
        for source, place in include.INCLUDE.findall(file.content_string):
            path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(file.src_uri), source))
            _WHERE.setdefault(include.Target(path, place), include.Target(file.src_uri))
            _WHERE.setdefault(include.Target(path), include.Target(file.src_uri))
    for page, source in include.whole_files().items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
        for path in (source, posixpath.dirname(source)):
            _WHERE.setdefault(include.Target(path), include.Target(page))
    for page, content in generated().items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    source = include.whole_files().get(page.file.src_uri)
    if source:
        return include.relinked(markdown, source, page.file.src_uri, _address)
    return include.expand(markdown, page.file.src_uri, _address)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Which recipes set a key is not what one searches for."""
    return html.replace('<details class="set-by">', '<details class="set-by" data-search-exclude>')


def _address(target: include.Target, page: str) -> str | None:
    """The link from a page of the site to a place of the repository; None where the site does not have it."""
    if target.anchor and target in _WHERE:
        path, place = _WHERE[target]
    elif include.Target(target.path) in _WHERE:
        path, place = _WHERE[include.Target(target.path)].path, target.anchor
    else:
        return None
    link = posixpath.relpath(path, posixpath.dirname(page) or ".")
    return f"{link}#{place}" if place else link
