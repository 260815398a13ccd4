"""TextGrids as Praat saves them, and as it opens ours."""

import pytest

from wedefense.bin.segments import main
from wedefense.data.spans import Span, read_spans, write_spans
from wedefense.data.textgrid import textgrid
from wedefense.utils.errors import InputError

SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"TextTier"
"clicks [3]"
0
1.5
1
0.25
"a click"
"IntervalTier"
"where"
0
1.5
3
0
0.5
"so called ""fake"""
0.5
1.25
""
1.25
1.5
"real"
'''


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_short_form_in_the_encodings_of_praat(tmp_path, encoding):
    (tmp_path / "clip.TextGrid").write_text(SHORT, encoding=encoding)
    assert read_spans(tmp_path / "clip.TextGrid") == {"clip": [Span(0, 0.5, 'so called "fake"'),
                                                               Span(1.25, 1.5, "real")]}


def test_what_we_write_by_hand():
    assert textgrid([Span(0.5, 0.75, 'a "b"')]) == '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.750000
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "spans"
        xmin = 0
        xmax = 0.750000
        intervals: size = 2
        intervals [1]:
            xmin = 0.000000
            xmax = 0.500000
            text = ""
        intervals [2]:
            xmin = 0.500000
            xmax = 0.750000
            text = "a ""b"""
'''


def test_one_utterance_is_one_file_several_are_a_folder_that_is_known_by_its_files(tmp_path, capsys):
    spans = {"u": [Span(0, 0.5, "bonafide"), Span(0.5, 0.75, "spoof")]}
    assert write_spans(tmp_path / "u.TextGrid", spans) == [tmp_path / "u.TextGrid"]
    assert read_spans(tmp_path / "u.TextGrid") == spans
    write_spans(tmp_path / "grids", {**spans, "v": spans["u"]}, "textgrid")
    assert main([str(tmp_path / "grids"), "--to", "rttm", "--out", str(tmp_path / "all.rttm")]) == 0
    assert "2 utterances" in capsys.readouterr().out
    assert read_spans(tmp_path / "all.rttm") == {**spans, "v": spans["u"]}


@pytest.mark.parametrize("content, message", [
    (SHORT.replace('"TextGrid"', '"PitchTier"'), "it does not begin as one"),
    (SHORT[:-30], "it ends early"),
    (SHORT.replace("IntervalTier", "TextTier"), "one tier of intervals.*found none"),
    (SHORT.replace("TextTier", "Sound"), "a tier of the class 'Sound'"),
    (SHORT.replace('"a click"', "7").replace("<exists>\n2", "<exists>\n1"), "found none"),
    (SHORT.replace('"where"', "where"), "0 where a text was expected"),
    (SHORT.replace("1.25\n1.5", "1.25\n1e999"), "1e999 is no time"),
    ("ooBinaryFile\x08TextGrid\xff".encode("latin-1"), "save it in Praat as a text file"),
])
def test_others_are_told(tmp_path, content, message):
    path = tmp_path / "clip.TextGrid"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=f"clip.TextGrid: .*{message}"):
        read_spans(path)


def test_of_several_tiers_ours_is_read_and_spans_that_overlap_are_refused(tmp_path):
    two = SHORT.replace('"TextTier"', '"IntervalTier"').replace("0.25\n\"a click\"", "0\n1.5\n\"spoof\"")
    (tmp_path / "a.TextGrid").write_text(two)
    with pytest.raises(InputError, match=r"one of the name 'spans'; found 'clicks \[3\]', 'where'"):
        read_spans(tmp_path / "a.TextGrid")
    (tmp_path / "a.TextGrid").write_text(two.replace("clicks [3]", "spans"))
    assert read_spans(tmp_path / "a.TextGrid") == {"a": [Span(0, 1.5, "spoof")]}
    with pytest.raises(InputError, match="no spans that overlap: 0.5 to 1 s spoof"):
        write_spans(tmp_path / "b.TextGrid", {"b": [Span(0, 0.7, "spoof"), Span(0.5, 1, "spoof")]})
