"""Timelines: which utterances, what is drawn, and that what one hears is the recording."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from wedefense.bin.evaluate import main as evaluate
from wedefense.data.spans import Span, write_spans
from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.keys import Trials
from wedefense.metrics.localization import FrameScores
from wedefense.metrics.segments import Range
from wedefense.report.timeline import Timeline, sketch, timeline_figure, window_of
from wedefense.report.timelines import of_sets, timelines
from wedefense.scoring.results import ScoredSet

SHIFT = 0.1
RANGES = [Range(0, 0.5, True), Range(0.5, 1.0, False)]
# called fake is what is at or below 0: of ten frames none, 2, 4, 6 and 8 wrongly
WRONG = {"none": 0, "two": 2, "four": 4, "six": 6, "eight": 8}


def scores_with(wrong):
    right = np.where(np.arange(10) < 5, 1.0, -1.0)
    return np.where(np.arange(10) < wrong, -right, right)


@pytest.fixture
def found(tmp_path):
    audio = {}
    for number, name in enumerate([*WRONG, "whole"]):
        audio[name] = str(tmp_path / f"{name}.wav")
        soundfile.write(audio[name], 0.3 * np.sin(np.arange(8000) * (number + 1) / 20), 8000)
    scores = {name: scores_with(wrong) for name, wrong in WRONG.items()} | {"whole": -np.ones(10)}
    return FrameScores(scores, dict.fromkeys(WRONG, RANGES) | {"whole": [Range(0, 1, True)]}, SHIFT), audio


def figures(text):
    """(caption, samples, rate) of each."""
    found = re.findall(r"class='timeline'.*?;base64,([^']*)'></audio><figcaption>(.*?)</figcaption>", text, re.S)
    return [(caption, *soundfile.read(io.BytesIO(base64.b64decode(data)))) for data, caption in found]


def test_the_best_the_median_and_the_worst_are_shown_and_heard(found):
    text = timelines(*found[:1], 0.0, found[1])
    shown = figures(text)
    assert [caption for caption, *_ in shown] == [
        "The best: none, 0.0 % of its time called wrongly", "The median: four, 40.0 % of its time called wrongly",
        "The worst: eight, 80.0 % of its time called wrongly"]
    assert "Of 5 utterances of both classes" in text and "whole" not in text  # no place to find in it
    for (_, wav, rate), factor in zip(shown, (1, 3, 5)):  # the tone of each
        assert rate == 16000 and abs(len(wav) - 16000) < 3000
        spectrum = np.abs(np.fft.rfft(wav[2000:14000] * np.hanning(12000)))
        assert np.argmax(spectrum) * rate / 12000 == pytest.approx(8000 * factor / 20 / 2 / np.pi, abs=3)
    assert "https:" not in text.replace("https://www.w3.org", "")


def test_what_cannot_be_read_gives_way_to_the_next_and_few_are_shown_once(found, tmp_path):
    scores, audio = found
    (tmp_path / "none.wav").write_bytes(b"nothing")
    del audio["eight"]
    assert [caption.split(",")[0] for caption, *_ in figures(timelines(scores, 0.0, audio))] == [
        "The best: two", "The median: four", "The worst: six"]
    assert [caption.split(",")[0] for caption, *_ in figures(timelines(scores, 0.0, {"two": audio["two"]}))] == [
        "The best: two"]
    assert "no utterance has a recording" in timelines(scores, 0.0, {})
    assert len(figures(timelines(scores, 0.0, {name: audio["none"] for name in audio}))) == 0


def test_of_a_long_utterance_the_part_with_most_mistakes_is_shown(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(50 * 8000), 8000)
    scores = np.ones(500)
    scores[300:340] = -1  # 30 to 34 s
    ranges = [Range(0, 49, True), Range(49, 50, False)]
    text = timelines(FrameScores({"x": scores}, {"x": ranges}, SHIFT), 0.0, {"x": str(tmp_path / "x.wav")})
    (caption, wav, rate), = figures(text)
    assert "10.0 % of its time called wrongly; 30 to 50 of 50 s" in caption and abs(len(wav) / rate - 20) < 0.2
    assert "called fake 30.00 to 34.00 s" in text and "true fake 49.00 to 50.00 s" in text


def test_the_figure_holds_waves_scores_and_spans_in_seconds():
    wav = np.concatenate([np.zeros(8000), 0.5 * np.sin(np.arange(8000) * 2 * np.pi * 1000 / 16000)]).astype(np.float32)
    sound = sketch(lambda start, length: wav[start:start + length], len(wav), 16000, 100)
    assert sound.highest[:49].max() == 0 and sound.highest[55:].min() == pytest.approx(0.5, abs=0.01)
    loudest = sound.loudness[:, 60:].mean(axis=1).argmax() / len(sound.loudness) * 8000
    assert loudest == pytest.approx(1000, abs=100) and sound.loudness.max() == 1 and sound.loudness[:, :40].max() == 0
    called = [Span(0, 0.5, "bonafide"), Span(0.5, 1, "spoof")]
    figure = timeline_figure(Timeline(sound, scores_with(0), 0.1, 0.0, called, called), (5, 4), "x")
    assert [axes.get_ylabel() for axes in figure.axes] == ["wave", "kHz", "score", ""]
    assert figure.axes[3].get_xlim() == (0, 1) and "true fake 0.50 to 1.00 s" in figure.get_label()
    assert window_of(called, 0.5, 0.7) == [Span(0.5, 0.7, "spoof")]


def test_the_sketch_of_parts_is_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    wav = rng.standard_normal(40000).astype(np.float32)
    whole = sketch(lambda start, length: wav[start:start + length], len(wav), 16000, 50)
    monkeypatch.setattr("wedefense.report.timeline._AT_A_TIME", 3000)
    parts = sketch(lambda start, length: wav[start:start + length], len(wav), 16000, 50)
    np.testing.assert_array_equal(parts.lowest, whole.lowest)
    np.testing.assert_allclose(parts.loudness, whole.loudness)


def test_the_page_of_an_evaluation_has_them(found, tmp_path, capsys):
    scores, audio = found
    (tmp_path / "frames").write_text("".join(f"{name} {' '.join(map(str, row))}\n" for name, row in
                                             scores.scores.items()))
    write_spans(tmp_path / "segments", {name: [Span(r.start, r.end, "bonafide" if r.is_bonafide else "spoof")
                                               for r in ranges] for name, ranges in scores.ranges.items()})
    (tmp_path / "wav.scp").write_text("".join(f"{name} {path}\n" for name, path in audio.items()))
    command = ["--scores", str(tmp_path / "frames"), "--keys", str(tmp_path / "segments"), "--html",
               str(tmp_path / "page.html"), "--audio", str(tmp_path / "wav.scp")]
    assert evaluate([*command, "--segments", "0.1"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert len(figures(page)) == 3 and "figure.timeline" in page
    with pytest.raises(SystemExit):
        evaluate(command)
    assert "--audio does not go without --segments" in capsys.readouterr().err


def test_the_report_of_an_experiment_has_them_for_the_sets_whose_segments_are_judged(found, tmp_path):
    scores, audio = found
    folder, data = ExperimentFolder(tmp_path / "exp"), tmp_path / "data" / "eval"
    data.mkdir(parents=True)
    folder.embeddings("eval").root.mkdir(parents=True)
    folder.embeddings("eval").segments(100).write_text("".join(f"{name} {' '.join(map(str, row))}\n"
                                                               for name, row in scores.scores.items()))
    write_spans(data / "segments", {name: [Span(r.start, r.end, "bonafide" if r.is_bonafide else "spoof")
                                           for r in ranges] for name, ranges in scores.ranges.items()})
    (data / "wav.scp").write_text("".join(f"{name} {path}\n" for name, path in audio.items()))
    trials = Trials(["a", "b"], np.array([1.0, 0.0]), np.array([True, False]))
    sets = [ScoredSet("eval", trials, {}, audio=data / "wav.scp"), ScoredSet("dev", trials, {}),
            ScoredSet("plain", trials, {}, audio=data / "wav.scp")]
    judged = {"100": {"rows": {"time": {"eer": 0.1, "eer_threshold": 3.0, "dev_threshold": 0.0}}}}
    results = {"dev_set": "dev", "sets": dict.fromkeys(("eval", "dev"), {"localization": judged}) | {"plain": {}}}
    text, = of_sets(folder, results, sets)
    assert "Timelines: eval" in text and "at or below 0." in text
    assert [caption.split(",")[0] for caption, *_ in figures(text)] == ["The best: none", "The median: four",
                                                                       "The worst: eight"]
