"""Label files of every kind, into one another and held to the audio, by the command."""

import sys

import numpy as np
import pytest

from wedefense.bin.segments import main
from wedefense.data.span_checks import SpanRules, check_spans
from wedefense.data.spans import FORMATS, RESOLUTIONS, Span, read_spans, segment_labels, write_spans
from wedefense.metrics.segments import read_seglab
from wedefense.utils.errors import InputError

SPANS = {"u1": [Span(0, 0.5, "bonafide"), Span(0.5, 0.81, "spoof"), Span(0.81, 1.2, "bonafide")],
         "u2": [Span(0, 0.64, "spoof")]}


def text(path, content):
    path.write_text(content)
    return path


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "seglab"])
def test_what_is_written_is_read_back(tmp_path, kind):
    spans = SPANS | {f"real/{key}.v2": found for key, found in SPANS.items()}  # stage 1 keeps folders in keys
    write_spans(tmp_path / "labels", spans, kind)
    assert read_spans(tmp_path / "labels", kind) == spans


@pytest.mark.parametrize("key", ["../u1", "/u1", "real/../../u1"])
def test_files_of_labels_stay_in_their_folder(tmp_path, key):
    with pytest.raises(InputError, match="named by their utterance, and .* would lie outside of this folder"):
        write_spans(tmp_path / "in/labels", SPANS | {key: SPANS["u1"]}, "audacity")
    assert list(tmp_path.iterdir()) == []


def test_spans_on_the_line_of_their_utterance(tmp_path, capsys):
    """As LlamaPartialSpoof and Half-truth have them."""
    llama = text(tmp_path / "label_R01TTS.0.a.txt", "dev-clean_1-2-3 0.5 bonafide 0.0000-0.5000-bonafide\n\n"
                 "dev01-x_2 2.0 spoof 0.0000-1.0000-bonafide 1.0000-2.0000-spoof\n")
    assert read_spans(llama) == {"dev-clean_1-2-3": [Span(0, 0.5, "bonafide")],
                                 "dev01-x_2": [Span(0, 1, "bonafide"), Span(1, 2, "spoof")]}
    had = text(tmp_path / "HAD_test_label.txt",
               "HAD_test_1 0.00-1.21-T/1.21-1.8-F/1.8-4.0-T 0\nHAD_test_2 0-3.5-T 1\n")
    assert main([str(had), "--labels", "T=bonafide", "F=spoof", "--out", str(tmp_path / "had.csv")]) == 0
    assert read_spans(tmp_path / "had.csv")["HAD_test_1"] == [
        Span(0, 1.21, "bonafide"), Span(1.21, 1.8, "spoof"), Span(1.8, 4, "bonafide")]
    assert "bonafide: 1, bonafide+spoof: 1" in capsys.readouterr().out
    with pytest.raises(InputError, match="0.a.txt:2: expected KEY ... START-END-LABEL ..., got 'u2 spoof'"):
        read_spans(text(llama, "u1 1 spoof 0-1-spoof\nu2 spoof\n"))
    with pytest.raises(InputError, match=":2: a second line of labels for 'u1'"):
        read_spans(text(llama, "u1 1 spoof 0-1-spoof\nu1 1 spoof 0-1-spoof\n"))


def test_edits_and_what_is_around_them(tmp_path):
    """As PartialEdit has them."""
    edits = text(tmp_path / "PartialEdit_E1E2.csv", "E1/p237/a_16k.wav,1.038,1.46,3.24\nE2/p1/b.wav,0,0.4,1,1.5,1.5\n")
    assert read_spans(edits) == {
        "E1/p237/a_16k": [Span(0, 1.038, "bonafide"), Span(1.038, 1.46, "spoof"), Span(1.46, 3.24, "bonafide")],
        "E2/p1/b": [Span(0, 0.4, "spoof"), Span(0.4, 1, "bonafide"), Span(1, 1.5, "spoof")]}
    with pytest.raises(InputError, match="E2.csv:2: the times of 'b' do not follow one another"):
        read_spans(text(edits, "a.wav,0,1,2\nb.wav,1,0.5,2\n"))
    with pytest.raises(InputError, match="E2.csv:2: expected NAME,START,END,...,DURATION, got 'b.wav,1,2'"):
        read_spans(text(edits, "a.wav,0,1,2\nb.wav,1,2\n"))


def test_a_segment_that_holds_anything_fake_is_fake():
    assert segment_labels(SPANS["u1"], 0.2).tolist() == ["1", "1", "0", "0", "0", "1"]  # 0.5 to 0.81: 2 to 4
    assert segment_labels([Span(0, 0.4, "bonafide"), Span(0.4, 0.8, "spoof")], 0.2).tolist() == ["1", "1", "0", "0"]
    assert segment_labels(SPANS["u2"], 0.64).tolist() == ["0"]  # its edges are those of the segment
    with pytest.raises(InputError, match="bonafide and spoof, not music; rename with --labels"):
        segment_labels([Span(0, 1, "music")], 0.2)


def test_partialspoofs_labels_at_every_resolution(tmp_path):
    """Those made from spans on the finest grid are, on coarser ones, what pooling the finest by its minimum gives."""
    rng = np.random.default_rng(0)
    spans = {}
    for key in ("a", "b", "c"):
        edges = np.sort(rng.choice(np.arange(1, 500), 6, replace=False)) / 100
        spans[key] = [Span(s, e, ("bonafide", "spoof")[i % 2]) for i, (s, e) in
                      enumerate(zip([0, *edges], [*edges, 5.0]))]
    paths = write_spans(tmp_path / "dev", spans, "seglab")
    assert [path.name for path in paths] == [f"dev_seglab_{r}.npy" for r in RESOLUTIONS]
    finest = read_seglab(paths[0])
    for path, resolution in zip(paths, RESOLUTIONS):
        for key, labels in read_seglab(path).items():
            step = round(float(resolution) / 0.01)
            pooled = np.minimum.reduceat(finest[key], np.arange(0, finest[key].size, step))
            assert labels.tolist() == pooled.tolist(), (key, resolution)
    back = read_spans(paths[0])
    assert back.keys() == spans.keys()
    for key, found in spans.items():
        assert [s.label for s in back[key]] == [s.label for s in found]
        np.testing.assert_allclose([s[:2] for s in back[key]], [s[:2] for s in found], atol=1e-9)


def test_kinds_are_told_by_name_and_first_line(tmp_path):
    rttm = text(tmp_path / "rttm_2cls_0sil", ";; made by hand\nSPEAKER u1 1 0.0 0.5 <NA> <NA> bonafide <NA> <NA>\n"
                "SPEAKER u1 1   0.500 0.310 <NA> <NA> spoof <NA> <NA>\n"
                "SPKR-INFO u1 1 <NA> <NA> <NA> x <NA> <NA> <NA>\n")
    with pytest.raises(InputError, match="rttm_2cls_0sil: its kind cannot be told; give it with --from"):
        read_spans(rttm)  # a comment comes first
    assert read_spans(rttm, "rttm") == {"u1": [Span(0, 0.5, "bonafide"), Span(0.5, 0.81, "spoof")]}
    rttm.write_text(rttm.read_text().split("\n", 1)[1])
    assert read_spans(rttm)["u1"][1] == Span(0.5, 0.81, "spoof")
    assert read_spans(text(tmp_path / "x.csv", 'file,onset,offset,class,who\n"a b",0,1.5,spoof,me\n')) == {
        "a b": [Span(0, 1.5, "spoof")]}
    marks = tmp_path / "marks"
    marks.mkdir()
    text(marks / "u1.txt", "0.500000\t0.700000\tvery fake\n\\\t100.0\t4000.0\n0.0\t0.5\treal\n")
    assert read_spans(marks, "audacity") == {"u1": [Span(0, 0.5, "real"), Span(0.5, 0.7, "very fake")]}


@pytest.mark.parametrize("name, content, message", [
    ("a.rttm", "SPEAKER u1 1 0 0.5 <NA> <NA>\n",
     r"a.rttm:1: expected SPEAKER KEY 1 START DURATION .*, got 'SPEAKER u1"),
    ("a.rttm", "\n", "a.rttm: holds no span"),
    ("a.rttm", "SPEAKER u1 1 x 0.5 <NA> <NA> spoof <NA> <NA>\n", "a.rttm:1: 'x 0.5' are not two times"),
    ("a.csv", "key,start,end\nu,0,1\n", "one column for the label, called label or class; found none"),
    ("a.csv", "key,start,end,label\nu,0,1,\n", "a.csv:2: a span without label"),
    ("a_seglab_0.02.npy", "x", "a_seglab_0.02.npy: not a seglab file"),
    ("segments", "u1 0 nan spoof\n", "its kind cannot be told"),
])
def test_a_broken_file_is_named_with_its_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_spans(text(tmp_path / name, content))


def kinds(checked):
    return [(p.kind, p.key) for p in checked.problems]


def test_problems_are_named_and_counted():
    spans = {"good": [Span(0, 0.5, "Real"), Span(0.5, 1.0, "fake")], "gap": [Span(0.2, 1, "spoof")],
             "lap": [Span(0, 0.6, "spoof"), Span(0.5, 1, "bonafide")], "long": [Span(0, 1.2, "spoof")],
             "odd": [Span(0, 1, "music")], "back": [Span(0, 1, "spoof"), Span(0.9, 0.8, "spoof")],
             "short": [Span(0, 0.5, "spoof")], "lost": [Span(0, 1, "spoof")]}
    durations = dict.fromkeys([*spans, "unlabelled"], 1.0)
    del durations["lost"]
    checked = check_spans("x", spans, durations, SpanRules())
    assert kinds(checked) == [("beyond the end", "long"), ("gap", "gap"), ("gap", "short"),
                              ("impossible times", "back"), ("overlap", "lap"), ("unknown label", "odd"),
                              ("without audio", "lost"), ("without spans", "unlabelled")]
    assert checked.spans == {"good": [Span(0, 0.5, "bonafide"), Span(0.5, 1.0, "spoof")]}
    assert "1 overlap (lap: 0.500 to 1.000 s bonafide, where a span ends at 0.600 s)" in checked.report()
    filled = check_spans("x", spans, durations, SpanRules({"music": "bonafide"}, "bonafide"))
    assert filled.spans["gap"] == [Span(0, 0.2, "bonafide"), Span(0.2, 1, "spoof")]
    assert filled.spans["short"] == [Span(0, 0.5, "spoof"), Span(0.5, 1, "bonafide")]
    assert filled.spans["odd"] == [Span(0, 1, "bonafide")]
    with pytest.raises(InputError, match="--fill silence: not a class"):
        SpanRules(fill="silence")


def test_rounded_times_are_mended_and_neighbours_of_a_class_are_one():
    spans = {"u": [Span(0, 0.3339, "spoof"), Span(0.333, 0.5, "spoof"), Span(0.501, 0.5010001, "bonafide"),
                   Span(0.501, 1.02, "bonafide")], "v": [Span(0, 0.98, "spoof")]}
    checked = check_spans("x", spans, {"u": 1.0, "v": 1.0}, SpanRules())
    assert checked.problems == [] and checked.spans == {
        "u": [Span(0, 0.5, "spoof"), Span(0.5, 1.0, "bonafide")], "v": [Span(0, 1.0, "spoof")]}


def test_the_command_holds_labels_to_a_data_folder(tmp_path, capsys):
    data = tmp_path / "dev"
    data.mkdir()
    text(data / "utt2dur", "u1 1.21\nu2 0.64\n")
    write_spans(tmp_path / "dev_seglab_0.64.npy", SPANS)  # u1: 1.28 s of labels
    assert main([str(tmp_path / "dev_seglab_0.64.npy"), "--data_dir", str(data)]) == 0
    assert read_spans(data / "segments", "segments") == {"u1": [Span(0, 1.21, "spoof")], "u2": [Span(0, 0.64, "spoof")]}
    assert "spoof: 2 spans, 0.0005139 h (100.0%), 0.640 to 1.210 s" in capsys.readouterr().out
    write_spans(tmp_path / "labels.rttm", SPANS)
    assert main([str(tmp_path / "labels.rttm"), "--data_dir", str(data), "--to", "audacity", "--out",
                 str(tmp_path / "marks")]) == 0
    assert (tmp_path / "marks/u1.txt").read_text() == ("0.000000\t0.500000\tbonafide\n0.500000\t0.810000\tspoof\n"
                                                       "0.810000\t1.210000\tbonafide\n")
    printed = capsys.readouterr().out
    assert "2 utterances (bonafide+spoof: 1, spoof: 1)" in printed and "wrote 2 files of" in printed
    text(data / "utt2dur", "u1 1.0\nu2 0.64\n")
    with pytest.raises(InputError, match=r"1 utterance with problems, listed in .*dev/segments.problems.txt; mend"):
        main([str(tmp_path / "labels.rttm"), "--data_dir", str(data)])
    assert (data / "segments.problems.txt").read_text() == ("beyond the end\tu1\t0.810 to 1.200 s bonafide, "
                                                            "of 1.000 s\n")
    assert main([str(tmp_path / "labels.rttm"), "--data_dir", str(data), "--allow_problems"]) == 0
    assert read_spans(data / "segments").keys() == {"u2"}
    text(data / "utt2dur", "u1 long\n")
    with pytest.raises(InputError, match="utt2dur: 'long' of 'u1' is no number of seconds"):
        main([str(tmp_path / "labels.rttm"), "--data_dir", str(data)])


def test_writing_a_file_of_each_utterance_is_seen_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    write_spans(tmp_path / "tracks", {key: [Span(0, 1, "spoof")] for key in "ab"}, "vad")
    assert "\rwriting tracks:   0%" in capsys.readouterr().err
