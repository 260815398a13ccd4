"""The parts of a page, and the page itself."""

import re

from tests.report.pages import parse
from wedefense.report.html import Markup, Row, folded, page, paragraph, section, table


def test_sections_are_listed_each_under_an_address_of_its_own(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page("T", section("Set <eval>", paragraph("x")), section("Set eval"), section("Set eval")))
    checker, text = parse(path)
    assert checker.contents == [f"#{name}" for name in checker.names] and len(set(checker.contents)) == 3
    assert text.count("Set <eval>") == 2  # its heading, and in the list


def test_a_page_is_for_light_and_dark_and_paper():
    text = page("T", section("S"))
    assert "@media screen and (prefers-color-scheme: dark)" in text and "color-scheme: dark" in text
    assert "@media print" in text and "break-inside: avoid" in text
    used, known = (set(re.findall(pattern, text)) for pattern in (r"var\((--[\w-]+)", r"(--[\w-]+):"))
    assert used <= known | {"--share"}


def test_what_stands_below_a_rule_takes_no_part_in_sorting():
    rows = [Row([str(i), "1"]) for i in range(3)]
    text = table(["a", "b"], [*rows, Row(["mean", "1"], "rule"), Row(["worst", "1"])])
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert [body.count("<tr>") for body in bodies] == [3, 2] and "class='sorted'" in text
    assert "sorted" not in table(["a", "b"], rows[:2]) and "sorted" not in table(["", ""], rows)


def test_cells_are_escaped_unless_they_are_markup():
    assert "<td>a&lt;b<small>x&amp;y</small></td>" in table(["h"], [Row(["a<b\nx&y"])])
    assert "<td><b>x</b></td>" in table(["h"], [Row([Markup("<b>x</b>")])])
    assert folded("a<b", "<p>x</p>").startswith("<details><summary>a&lt;b</summary>")
