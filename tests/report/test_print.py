"""What keeps tables and figures whole on paper: the rules of the style sheet that are in force there."""

import re

import pytest

from wedefense.report.html import Row, page, section, side_by_side, table

KEPT = {  # selector -> what must hold of it on paper
    "tr": {"break-inside": "avoid"}, "figure": {"break-inside": "avoid"}, ".doubt": {"break-inside": "avoid"},
    "thead": {"display": "table-header-group"},                            # repeated on each sheet
    ".wide": {"overflow": "visible"},                                      # what scrolls on a screen is cut on paper
    "pre": {"overflow": "visible", "max-height": "none", "white-space": "pre-wrap"},
    # Grids do not break where figures end; lines of figures do, if a sheet may begin or end with one.
    **{grid: {"display": "block", "orphans": "1", "widows": "1"} for grid in (".figures", ".side-by-side")},
    ".figures figure": {"display": "inline-block"},
    **{head: {"break-after": "avoid"} for head in ("h2", "h3", "summary", "h2 + p", "h3 + p")},
    **{idle: {"display": "none"} for idle in ("nav", "audio", ".screen")},
    "table.heat td": {"print-color-adjust": "exact", "-webkit-print-color-adjust": "exact"},
    "body": {"max-width": "none"}}


def rules(css, media=""):
    """(media, selector, property, value) of each declaration, in their order."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    while found := re.match(r"\s*([^{}]+)\{", css):
        depth, end = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(css[end], 0)
            end += 1
        head, inside, css = " ".join(found[1].split()), css[found.end():end - 1], css[end:]
        if head.startswith("@media"):
            yield from rules(inside, head.removeprefix("@media").strip())
            continue
        for selector in head.split(", "):
            for name, value in re.findall(r"([\w-]+):\s*([^;]+)", inside):
                yield media, selector, name, value.strip()
    assert not css.strip(), f"not a rule: {css[:80]}"


@pytest.fixture(scope="module")
def style():
    text = page("T", section("S", side_by_side(table(["a", "b"], [Row(["1", "2"])]))))
    sheet, = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    return list(rules(sheet))


@pytest.fixture(scope="module")
def paper(style):
    """selector -> property -> the last value for paper, whatever its width."""
    found = {}
    for media, selector, name, value in style:
        if not media.startswith("screen"):
            found.setdefault(selector, {})[name] = value
    return found


@pytest.mark.parametrize("selector", KEPT)
def test_what_holds_on_paper(paper, selector):
    assert paper[selector].items() >= KEPT[selector].items()


def test_nothing_that_scrolls_on_a_screen_is_cut_on_paper(style, paper):
    scrolling = {(selector, name) for media, selector, name, value in style if media != "print" and (
        name.startswith("overflow") and name != "overflow-wrap" and value != "visible" or name == "max-height")}
    assert scrolling
    for selector, name in scrolling:
        assert paper[selector]["max-height" if name == "max-height" else "overflow"] in ("visible", "none")


def test_the_colours_of_a_dark_screen_are_not_printed(style):
    dark = [media for media, *_ in style if "dark" in media]
    assert dark and all(media.startswith("screen") for media in dark)


def test_tables_have_what_the_rules_are_for():
    text = " ".join(table(["a", "b"], [Row(["1", "2"])]).split())
    assert re.fullmatch("<div class='wide'><table><thead><tr>.*</tr></thead> <tbody>.*</table></div>", text)
