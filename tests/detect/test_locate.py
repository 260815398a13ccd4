"""Where recordings are fake, in Python and by the command: spans, files, pictures, and what is told of bad input."""

import doctest
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment, wave
from wedefense import load_detector
from wedefense.bin.evaluate import main as evaluate
from wedefense.bin.frames import main as frames
from wedefense.bin.locate import main
from wedefense.data.spans import Span, read_spans, write_spans
from wedefense.detect.frames import FrameScores
from wedefense.detect.framewise import Framewise
from wedefense.detect.located import Located, LocatedSpan
from wedefense.detect.recordings import Recording
from wedefense.detect.share import write_folder
from wedefense.utils.errors import InputError

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locate")
    make_experiment(folder, **SSL)
    for key, seconds in (("a", 0.9), ("b", 1.31)):
        soundfile.write(folder / f"{key}.wav", wave(seconds, seed=len(key)), 16000, subtype="FLOAT")
    return folder / "exp"


@pytest.fixture(scope="module")
def middle(exp):
    """A score that about half of the frames lie below: weights that were never trained have no better threshold."""
    return float(np.median(load_detector(exp).frame_scores(exp.parent / "b.wav").llr))


def located(scores, threshold=0.0, smooth=0.0, seconds=1.0, shift=0.1):
    recording = Recording("x", round(100 * seconds), 100, lambda start, length: np.zeros(length))
    found = FrameScores(np.arange(len(scores)) * shift, np.array(scores, dtype=float), shift)
    return Located.of(recording, found, 100, threshold, smooth, True)


def test_spans_by_hand():
    found = located([3, 1, -1, -3, 0, 2, 4, 4, 4], seconds=0.95)
    assert found.spans == (LocatedSpan(0, 0.2, "bonafide", 2), LocatedSpan(0.2, 0.5, "spoof", -4 / 3),
                           LocatedSpan(0.5, 0.95, "bonafide", 3.5))  # at the threshold is fake; the last frame lasts on
    assert found.decision == "spoof" and found.fake_seconds == pytest.approx(0.3)
    assert repr(found) == "Located(x: spoof, 0.30 of 0.95 s fake in 1 span, least score -3.000 at 0.30 s)"
    assert located([1, 2]).decision == "bonafide" and located([1, 2]).fakes == []
    assert located([1, 2], threshold=5, seconds=0.05).spans == (LocatedSpan(0, 0.05, "spoof", 1),)  # the only frame
    true = [Span(0, 0.3, "bonafide"), Span(0.3, 0.95, "spoof")]
    assert found.called_right(true) == pytest.approx((0.2 + 0.2) / 0.95)


def test_the_median_over_time_decides():
    scores = [1, 1, -9, 1, -1, -1, 5, -1, -1, -1]
    assert [span[:3] for span in located(scores, smooth=0.3).spans] == [(0, 0.3, "bonafide"), (0.3, 1, "spoof")]
    assert len(located(scores, smooth=0.1).spans) == 6
    assert len(located(scores, smooth=99).spans) == 1
    with pytest.raises(InputError, match="smoothed over 0 seconds or more, got -1"):
        located(scores, smooth=-1)


def test_the_example_of_locate_runs(exp, middle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", wave(1.0), 16000, subtype="FLOAT")
    model = replace(load_detector(exp), frame_thresholds={20: middle})
    (example,) = [found for found in doctest.DocTestFinder().find(Framewise.locate, globs={"model": model})
                  if found.examples]
    assert doctest.DocTestRunner().run(example) == (0, 4)
    assert (tmp_path / "clip.png").read_bytes().startswith(PNG)


def test_python_takes_what_score_takes(exp, middle, tmp_path):
    model = load_detector(exp)
    path = exp.parent / "b.wav"
    one, again, samples = model.locate([path, path, str(path)], threshold=middle)
    assert one.spans == again.spans == samples.spans and one.spans[-1].end == pytest.approx(1.31)
    assert one.threshold == middle and one.exact and one.shift == 0.02
    assert model.locate(soundfile.read(path)[0], 16000, threshold=middle).spans == one.spans
    assert one.plot(tmp_path / "x.svg").read_text().startswith("<?xml")
    panels = one.plot(true=[Span(0, 1.31, "spoof")]).axes
    assert [label.get_text() for label in panels[3].get_yticklabels()] == ["true", "called"]
    with pytest.raises(InputError, match="x.bmp: a picture's name ends in .png, .svg, .pdf"):
        one.plot(tmp_path / "x.bmp")
    with pytest.raises(InputError, match="c.wav: no such file"):
        model.locate(["c.wav"])


@pytest.mark.parametrize("out", ["spans.rttm", "spans.csv", "grids", "marks"])
def test_files_that_are_written_hold_the_spans(exp, middle, tmp_path, out, capsys):
    style = {"grids": ["--format", "textgrid"], "marks": ["--format", "audacity"]}.get(out, [])
    sources = [str(exp.parent / f"{key}.wav") for key in "ab"]
    (tmp_path / "wav.scp").write_text("".join(f"{key} {path}\n" for key, path in zip("ab", sources)))
    assert main(["--model", str(exp), str(tmp_path / "wav.scp"), "--threshold", str(middle), "--device", "cpu", "--out",
                 str(tmp_path / out), *style]) == 0
    assert f"wrote {1 + bool(style)} file{'s' * bool(style)}: 2 of 2 recordings" in capsys.readouterr().out
    read = read_spans(tmp_path / out, style[1] if style else None)
    for key, found in zip("ab", load_detector(exp).locate(sources, threshold=middle)):
        assert [span[2] for span in read[key]] == [span.label for span in found.spans]
        np.testing.assert_allclose([span[:2] for span in read[key]], [span[:2] for span in found.spans], atol=2e-6)


def test_keys_of_a_table_stay_as_they_are(exp, middle, tmp_path, capsys):
    """Stage 1 keeps folders in keys, and corpora have dots in theirs; only of a file the stem is taken."""
    keys = {"real/1": "a", "fake/1": "b", "u3.v2": "a"}
    (tmp_path / "wav.scp").write_text("".join(f"{key} {exp.parent / name}.wav\n" for key, name in keys.items()))
    seconds = {"a": 0.9, "b": 1.31}
    write_spans(tmp_path / "true", {key: [Span(0, seconds[name], "spoof")] for key, name in keys.items()}, "segments")
    for out in ("spans.rttm", "grids"):
        assert main(["--model", str(exp), str(tmp_path / "wav.scp"), "--threshold", str(middle), "--out",
                     str(tmp_path / out), "--segments", str(tmp_path / "true"), *(
                         ["--format", "textgrid", "--plot", str(tmp_path / "drawn")] if out == "grids" else [])]) == 0
        assert read_spans(tmp_path / out).keys() == keys.keys()
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"real_1.png", "fake_1.png", "u3.v2.png"}
    folder = tmp_path / "files"
    for key in ("x/1.wav", "y/1.wav"):
        (folder / key).parent.mkdir(parents=True)
        (folder / key).write_bytes((exp.parent / "a.wav").read_bytes())
    with pytest.raises(InputError, match=r"1 name of two recordings or more \(1\).*give the recordings keys by a"):
        main(["--model", str(exp), str(folder), "--out", str(tmp_path / "x.rttm")])


def test_a_table_in_80_columns_with_what_is_true(exp, middle, tmp_path, capsys):
    write_spans(tmp_path / "true.rttm", {"a": [Span(0, 0.4, "bonafide"), Span(0.4, 0.9, "spoof")],
                                         "b": [Span(0, 9, "spoof")]})
    gone = tmp_path / "gone.wav"
    assert main(["--model", str(exp), *(str(exp.parent / f"{key}.wav") for key in "ab"), str(gone), "--segments",
                 str(tmp_path / "true.rttm"), "--plot", str(tmp_path / "pictures"), "--threshold", str(middle)]) == 1
    out, told = capsys.readouterr()
    names = [str(exp.parent / f"{key}.wav") for key in "ab"]
    assert [line for line in out.splitlines() if len(line) > 80 and line not in names] == []
    assert "% of the time; true fakes: 0.40-0.90 s" in out and f"at or below {middle:.3f}" in out
    assert "2 recordings: 2 with a fake span, 0 without" in out and "\r" not in told
    assert f"not scored: {gone}: no such file" in told
    for key in "ab":
        assert (tmp_path / "pictures" / f"{key}.png").read_bytes().startswith(PNG)


def test_labels_that_do_not_fit_are_named_and_counted(exp, tmp_path, caplog):
    source = str(exp.parent / "a.wav")
    write_spans(tmp_path / "long.rttm", {"a": [Span(0, 2, "spoof")]})
    with pytest.raises(InputError, match=r"long.rttm: has sound labels of none of these recordings \(a\): beyond the "
                                         r"end, 0.000 to 2.000 s spoof, of 0.900 s; it names a"):
        main(["--model", str(exp), source, "--segments", str(tmp_path / "long.rttm")])
    write_spans(tmp_path / "other.rttm", {"x": [Span(0, 0.9, "spoof")]})
    with pytest.raises(InputError, match=r"\(a\): without spans, .*; it names x"):
        main(["--model", str(exp), source, "--segments", str(tmp_path / "other.rttm")])
    write_spans(tmp_path / "some.rttm", {"a": [Span(0, 0.9, "spoof")], "b": [Span(0, 1, "spoof")]})
    with caplog.at_level("WARNING", "wedefense"):
        assert main(["--model", str(exp), source, str(exp.parent / "b.wav"), "--segments",
                     str(tmp_path / "some.rttm")]) == 0
    assert "1 recording without true spans: b (gap: no span from 1.000 to 1.310 s)" in caplog.text


def test_the_threshold_of_dev_is_found_in_results_and_in_an_evaluation(exp, tmp_path, capsys):
    source = str(exp.parent / "b.wav")
    assert main(["--model", str(exp), source]) == 0
    assert "at or below 0.000,\n          for want of a threshold that a dev set told" in capsys.readouterr().out
    (tmp_path / "wav.scp").write_text(f"b {source}\n")
    write_spans(tmp_path / "segments", {"b": [Span(0, 0.5, "bonafide"), Span(0.5, 1.31, "spoof")]})
    assert frames(["--model", str(exp), str(tmp_path / "wav.scp"), "--out", str(tmp_path / "frames")]) == 0
    assert evaluate(["--scores", str(tmp_path / "frames"), "--keys", str(tmp_path / "segments"), "--segments", "0.02",
                     "--json", str(tmp_path / "dev.json")]) == 0
    row = json.loads((tmp_path / "dev.json").read_text())["localization"]
    capsys.readouterr()
    assert main(["--model", str(exp), source, "--threshold", str(tmp_path / "dev.json"), "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["recordings"][0]["threshold"] == row["rows"]["time"]["eer_threshold"]
    (exp / "results.json").write_text(json.dumps({"dev_set": "dev", "sets": {"dev": {"localization": {"20": row}}}}))
    try:
        model = load_detector(exp)
        assert model.frame_threshold() == model.locate(source).threshold == row["rows"]["time"]["eer_threshold"]
        assert main(["--model", str(exp), source]) == 0
        assert "where the EER of dev in time lies" in capsys.readouterr().out
        write_folder(model, tmp_path / "shared")
        assert load_detector(tmp_path / "shared").frame_threshold() == model.frame_threshold()
        (exp / "results.json").write_text('{"sets": [1]}')
        with pytest.raises(InputError, match="results.json: is no file of results"):
            load_detector(exp)
    finally:
        (exp / "results.json").unlink()


@pytest.mark.parametrize("arguments, message", [
    (["--threshold", "low"], "--threshold low: neither a number nor a file"),
    (["--threshold", "nan"], "--threshold nan: decides nothing"),
    (["--resolution", "40"], "no scores of 40 ms, but of 20"),
    (["--smooth", "-1"], "0 seconds or more"),
    (["again/a.wav", "--format", "rttm"], r"1 name of two recordings or more \(a\)"),
])
def test_what_cannot_be_asked_for_is_told(exp, arguments, message):
    with pytest.raises(InputError, match=message):
        main(["--model", str(exp), str(exp.parent / "a.wav"), *arguments])


def test_doubts_about_a_recording_are_told(exp, tmp_path, capsys):
    """As `score` tells them: silence, a rate below the model's, little to hear."""
    soundfile.write(tmp_path / "still.wav", np.zeros(32000), 16000)
    soundfile.write(tmp_path / "narrow.wav", wave(0.5, seed=1)[::2], 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "good.wav", wave(1.5, seed=2), 16000, subtype="FLOAT")
    names = [str(tmp_path / f"{name}.wav") for name in ("still", "narrow", "good")]
    main(["--model", str(exp), *names])
    still, narrow, good, _ = capsys.readouterr().out.split("\n\n", 3)
    assert "doubt: silence: there is nothing to judge" in still and "doubt: " not in good
    assert "doubt: shorter than a second" in narrow and "doubt: recorded at 8000 Hz" in narrow
    main(["--model", str(exp), "--format", "json", *names])
    told = [one["doubts"] for one in json.loads(capsys.readouterr().out)["recordings"]]
    assert [len(doubts) for doubts in told] == [1, 2, 0]
    assert load_detector(exp).frame_scores(names[0]).doubts == tuple(told[0])
