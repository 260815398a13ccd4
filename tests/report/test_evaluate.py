"""`wedefense evaluate` on every form of scores, and the page it writes."""

import json

import numpy as np
import pytest

from tests.report.pages import parse
from wedefense.bin.evaluate import main
from wedefense.data.spans import Span, write_spans
from wedefense.metrics.detection import detection_metrics
from wedefense.utils.errors import InputError


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


@pytest.fixture
def detection(tmp_path):
    rng = np.random.default_rng(0)
    is_bonafide = np.arange(90) < 30
    scores = rng.normal(2.0 * is_bonafide, 1).round(4)
    return ["--scores", write(tmp_path / "a<b.txt", (f"u{i} {s}" for i, s in enumerate(scores))),
            "--keys", write(tmp_path / "utt2lab", (f"u{i} {'bonafide' if b else 'spoof'}"
                                                   for i, b in enumerate(is_bonafide))),
            "--meta", write(tmp_path / "utt2attack", (f"u{i} {'-' if b else f'A{i % 3}'}"
                                                      for i, b in enumerate(is_bonafide)))]


def test_a_page_about_detection(detection, tmp_path, capsys):
    page, out = tmp_path / "deep/report.html", tmp_path / "r.json"
    assert main([*detection, "--html", str(page), "--json", str(out), "--bootstrap", "20"]) == 0
    result = json.loads(out.read_text())
    checker, text = parse(page)
    assert len(checker.figures) == 6 and [path.name for path in page.parent.iterdir()] == ["report.html"]
    for key, factor, digits in (("eer", 100, 3), ("min_dcf", 1, 4), ("act_dcf", 1, 4), ("cllr", 1, 4)):
        assert f"{factor * result[key]:.{digits}f}" in text
    low, high = result["confidence"]["eer"]
    assert f"{100 * low:.3f}–{100 * high:.3f}" in text and "20 bootstrap resamples by trial (seed 0)" in text
    for expected in ("a<b.txt: evaluation", "30 bona fide, 60 spoof", "a<b.txt by attack (3)", "worst: A",
                     "scores are taken as", "costs 0.05 1 10", "git commit", "numpy"):
        assert expected in text, expected


def test_durations_are_taken_in_parts(tmp_path, capsys):
    rng, real = np.random.default_rng(0), np.arange(100) % 2 == 0
    scores = rng.normal(2.0 * real, 1).round(4)
    arguments = ["--scores", write(tmp_path / "s.txt", (f"u{i} {s}" for i, s in enumerate(scores))), "--keys",
                 write(tmp_path / "utt2lab", (f"u{i} {'bonafide' if b else 'spoof'}" for i, b in enumerate(real))),
                 "--meta", write(tmp_path / "utt2dur", (f"u{i} {1 + i / 50}" for i in range(100)))]
    assert main([*arguments, "--html", str(tmp_path / "r.html")]) == 0
    printed, (checker, text) = capsys.readouterr().out, parse(tmp_path / "r.html")
    short = detection_metrics(scores[:50][real[:50]], scores[:50][~real[:50]]).eer
    assert "by duration" in printed and f"1 to 1.98 s {100 * short:.1f} (" in " ".join(checker.figures)
    assert "hours" in text and "1.99 1.00–2.98" in text
    write(tmp_path / "utt2dur", (f"u{i} long" for i in range(100)))
    with pytest.raises(InputError, match="utt2dur: no number of seconds"):
        main(arguments)


def test_frame_scores_against_segment_labels(tmp_path, capsys):
    np.save(tmp_path / "dev_seglab_0.04.npy", {"u1": np.array(["1", "1", "0"]), "u2": np.array(["0", "1"])})
    frames = tmp_path / "frames"
    write(frames, ["u1 [ 3 2 1 4 -1 5 ]", "", "u2 -2 0 2.5 3"])
    arguments = ["--segments", "0.02", "--scores", str(frames), "--keys", str(tmp_path / "dev_seglab_0.04.npy"),
                 "--json", str(tmp_path / "r.json")]
    assert main([*arguments, "--html", str(tmp_path / "r.html"), "--bootstrap", "5",
                 "--meta", write(tmp_path / "utt2attack", ["u1 A1", "u2 A2"])]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    expected = detection_metrics([2, 1, 2.5], [-1, -2])  # the lower of each two frames
    assert (result["eer"], result["cllr"]) == (expected.eer, expected.cllr)
    # In time: 0.12 s bona fide scored 3 2 1 4 2.5 3, 0.08 s spoof scored -1 5 -2 0.
    # At 0: frr 0, far 1/4; at 1: 1/6, 1/4.
    assert result["range_eer"] == pytest.approx((1 / 6 + 1 / 4) / 2, abs=1e-12) and result["range_eer_threshold"] == 1
    assert result["confidence"]["by"] == "utterance" and set(result["breakdown"]["attack"]["values"]) == {"A1", "A2"}
    assert "range EER is 20.833 %" in parse(tmp_path / "r.html")[1]
    assert "range EER %" in capsys.readouterr().out
    for line, message in (("u2", "frames:4: 'u2' has no frame scores"),
                          ("u1 1 2", "frames:4: duplicate utterance 'u1'"),
                          ("u2 1 x", "frames:4: could not convert string to float: 'x'"),
                          ("u2 1 nan", "frames:4: a frame score of 'u2' is NaN"),
                          ("u2 1 2 3 4 5 6 7 8 9 9 9 9 9 9 9",
                           "u2: its frame scores last 0.30 s and its labels 0.08 s"),
                          ("u3 1 2 3 4", "1 utterance without labels: u3")):
        write(frames, ["u1 [ 3 2 1 4 -1 5 ]", "", "", line])
        with pytest.raises(InputError, match=message):
            main(arguments)
    assert main([*arguments, "--common"]) == 0  # u3 has no labels, u2 no scores
    (tmp_path / "dev_seglab_0.04.npy").rename(tmp_path / "labels.npy")
    arguments[5] = str(tmp_path / "labels.npy")
    with pytest.raises(InputError, match="does not say how long a segment is"):
        main([*arguments, "--common"])
    assert main([*arguments, "--common", "--label_shift", "0.04"]) == 0


def test_frame_scores_against_spans_with_thresholds_of_dev(tmp_path, capsys):
    spans = write(tmp_path / "segments", ["u1 0 0.08 bonafide", "u1 0.08 0.12 fake", "u2 0 0.04 spoof",
                                          "u2 0.04 0.08 real", "u3 0 0.08 real"])
    frames = write(tmp_path / "frames", ["u1 3 2 1 4 -1 -2", "u2 -2 0 2.5 -1.5", "u3 3 4 5 6"])
    arguments = ["--segments", "0.02", "--scores", frames, "--keys", spans, "--json", str(tmp_path / "r.json")]
    assert main([*arguments, "--dev", frames, spans, "--bootstrap", "30", "--html", str(tmp_path / "r.html")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    expected = detection_metrics([3, 2, 1, 4, 2.5, -1.5, 3, 4, 5, 6], [-1, -2, -2, 0])
    assert result["eer"] == expected.eer == result["localization"]["rows"]["0.02"]["eer"]
    assert list(result["localization"]["rows"]) == ["0.02", "0.04", "0.08", "0.16", "0.32", "0.64", "time", "utterance"]
    # at 0 the four fakes and the frame at -1.5 are called fake
    assert result["localization"]["rows"]["0.02"]["precision"] == pytest.approx(4 / 5)
    printed, page = capsys.readouterr().out, parse(tmp_path / "r.html")[1]
    assert "segments of 0.02 s" in printed and "time (range EER)" in printed and "boundary error" in printed
    assert "Where it is fake" in page and "time (range EER)" in page and "at the EER threshold of dev" in page
    lines = (tmp_path / "frames").read_text().splitlines()
    write(tmp_path / "frames", [f"in/{line.replace(' ', '.wav ', 1)}" for line in lines])
    assert main(arguments) == 0  # as `wedefense frames` names the files of a folder
    assert json.loads((tmp_path / "r.json").read_text())["eer"] == expected.eer
    assert main(arguments) == 0
    assert "need a threshold of another set: --dev SCORES KEYS" in capsys.readouterr().out
    write(tmp_path / "segments", ["u1 0.02 0.12 fake", "u2 0 0.08 bonafide", "u3 0 0.08 real"])
    with pytest.raises(InputError, match="segments: 1 utterance with problems, such as gap in u1: no span from 0.000"):
        main(arguments)
    np.save(tmp_path / "dev_seglab_0.02.npy", {"u1": np.array([]), "u2": np.array([1, 0])})
    arguments[5] = str(tmp_path / "dev_seglab_0.02.npy")
    with pytest.raises(InputError, match="dev_seglab_0.02.npy: no row of labels for 1 utterance: u1; take the file"):
        main(arguments)


def test_emotions(tmp_path, capsys):
    keys = write(tmp_path / "utt2lab", ["u1 ang", "u2 ang", "u3 hap", "u4 sad"])
    guesses = write(tmp_path / "guesses", ["u4 hap", "u3 hap", "u2 hap", "u1 ang"])
    arguments = ["--classes", "--keys", keys, "--json", str(tmp_path / "r.json")]
    assert main([*arguments, "--scores", guesses, "--html", str(tmp_path / "r.html")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["accuracy"] == 0.5 and result["unweighted_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert result["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 1, 0]] and result["classes"] == ["ang", "hap", "sad"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].split() == ["all", "4", "50.00", "50.00", "38.89"]
    checker, text = parse(tmp_path / "r.html")
    assert "4 utterances" in text and "50.00" in text and len(checker.figures) == 1
    scores = write(tmp_path / "scores",
                   ["utt ang neu_tral hap sad", "u1 1 0 0 0", "u2 0 0 3 1", "u3 -9 -8 -1 -2", "u4 0 0 1 0"])
    assert main([*arguments, "--scores", scores]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["confusion"] == [[1, 0, 1, 0], [0] * 4,
                                                                          [0, 0, 1, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("guesses, keys, message", [
    (["u1 ang", "u2 hapy"], ["u1 ang", "u2 hap"], "guesses:2: unknown class 'hapy', did you mean 'hap'"),
    (["utt ang hap", "u1 1 0", "u2 0 1"], ["u1 ang", "u2 hapy"], "utt2lab:2: unknown class 'hapy', did you mean 'hap'"),
    (["utt ang hap", "u1 1 0", "u2 0 inf"], ["u1 ang", "u2 hap"], r"the score of 'hap' NaN or infinite: .*guesses:3"),
    (["u1 ang"], ["u1 ang", "u2 hap"], r"1 utterance of .*utt2lab without a score in .*guesses: u2 \(line 2\)"),
    (["utt ang ang", "u1 1 0"], ["u1 ang"], "guesses:1: the header names a class twice"),
])
def test_bad_predictions_are_named(tmp_path, guesses, keys, message):
    with pytest.raises(InputError, match=message):
        main(["--classes", "--scores", write(tmp_path / "guesses", guesses), "--keys",
              write(tmp_path / "utt2lab", keys)])


@pytest.mark.parametrize("wrong",
                         [["--sasv", "--classes"], ["--classes", "--bootstrap", "9"], ["--sasv", "--groups", "x"],
                                   ["--segments", "0.02", "--groups", "x"], ["--dev", "s", "k"],
                                   ["--classes", "--meta", "x"]])
def test_options_that_do_not_go_together(wrong, capsys):
    with pytest.raises(SystemExit):
        main(["--scores", "s", "--keys", "k", *wrong])
    assert "not" in capsys.readouterr().err


def test_a_page_about_sasv(tmp_path):
    rng = np.random.default_rng(1)
    kinds = ["target"] * 20 + ["nontarget"] * 30 + ["spoof"] * 40
    values = rng.normal(0, 1, (90, 3)) + [[2 * (k != "spoof"), 2 * (k != "nontarget"), 2 * (k == "target")]
                                          for k in kinds]
    keys = write(tmp_path / "k", (f"s E{i} {'spoof' if k == 'spoof' else 'bonafide'} {k}" for i, k in enumerate(kinds)))
    meta = write(tmp_path / "utt2codec", (f"E{i} C{i % 2}" for i in range(90)))
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    for given in ("cm asv sasv", "sasv"):
        rows = (" ".join([f"s E{i}", *(f"{x:.4f}" if name in given.split() else "-"
                                       for name, x in zip(("cm", "asv", "sasv"), row))])
                for i, row in enumerate(values))
        scores = write(tmp_path / "s", rows)
        assert main(["--sasv", "--scores", scores, "--keys", keys, "--meta", meta, "--html", str(page), "--json",
                     str(out)]) == 0
        result, (checker, text) = json.loads(out.read_text()), parse(page)
        assert f"{result['a_dcf']:.4f}" in text and "by codec (2)" in text
        assert "20 target, 30 nontarget, 40 spoof" in text
        assert len(checker.figures) == 1 + len(given.split()) and ("t-EER %" in text) == ("cm" in given)


HALVES = [Span(0, 0.5, "bonafide"), Span(0.5, 1, "spoof")]
BAD_LABELS = {
    "one": ({"a": [Span(0, 1, "bonafide")], "b": [Span(0, 1, "bonafide")], "c": [Span(0, 1, "bonafide")]},
            r"frames against .*one: the ranges are all of one class \(bona fide\)"),
    "lacking": ({"a": HALVES, "b": HALVES, "x": HALVES}, "frames against .*lacking: 1 utterance without labels: c"),
    "gap": ({"a": HALVES, "b": HALVES, "c": [Span(0, 0.4, "bonafide"), Span(0.6, 1, "spoof")]},
            "gap: 1 utterance with problems, such as gap in c: no span from 0.400 to 0.600 s; mend"),
    "long": ({"a": HALVES, "b": HALVES, "c": [Span(0, 0.5, "bonafide"), Span(0.5, 3, "spoof")]},
             "1 utterance of 3 with frame scores and labels of other lengths; c: its frame scores last 1.00 s and its "
             "labels 3.00 s"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("of_dev", [False, True])
def test_labels_of_frames_that_do_not_fit_stop_or_are_left_out(kind, of_dev, tmp_path, caplog):
    spans, message = BAD_LABELS[kind]
    write(tmp_path / "frames", (f"{name} {' '.join(str((n * 7 + ord(name)) % 5 - n // 25) for n in range(50))}"
                                for name in "abc"))
    write_spans(tmp_path / kind, spans, "segments")
    write_spans(tmp_path / "good", {"a": HALVES, "b": HALVES, "c": HALVES}, "segments")
    keys = ["good", "--dev", str(tmp_path / "frames"), str(tmp_path / kind)] if of_dev else [kind]
    command = ["--segments", "0.02", "--scores", str(tmp_path / "frames"), "--json", str(tmp_path / "r.json"), "--keys",
               str(tmp_path / keys[0]), *keys[1:]]
    with pytest.raises(InputError, match=message):
        main(command)
    if kind != "one":
        with caplog.at_level("WARNING", "wedefense"):
            assert main([*command, "--common"]) == 0
        assert "left out" in caplog.text or "evaluating the 2 in common" in caplog.text
        assert json.loads((tmp_path / "r.json").read_text())["n_utterances"] == (3 if of_dev else 2)
