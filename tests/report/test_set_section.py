"""What the section of a set holds beside its figures: the data, and the utterances that are judged worst."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from wedefense.metrics.keys import Trials
from wedefense.report.data_summary import data_summary
from wedefense.report.listen import Players, worst
from wedefense.scoring.results import ScoredSet, by_duration
from wedefense.utils.errors import OptionError
from wedefense.utils.tables import write_table

CLASSES = ("bona fide", "spoof")


def a_set(names=("b1", "b2", "b3", "s1", "s2"), **more):
    trials = Trials(list(names), np.array([3.0, -1.0, 2.0, -5.0, 4.0]), np.array([True] * 3 + [False] * 2))
    return ScoredSet("eval", trials, {"attack": ["-", "-", "-", "A1", "A2"], "spk": ["x", "x", "y", "y", "z"]}, **more)


@pytest.fixture
def heard(tmp_path):
    """A recording of 8 s for all but one of the utterances."""
    wav = np.sin(np.arange(8 * 8000) / 7).astype(np.float32) / 2
    soundfile.write(tmp_path / "a.wav", wav, 8000, subtype="PCM_16")
    write_table(tmp_path / "wav.scp", {"b2": tmp_path / "a.wav", "b3": tmp_path / "gone.wav", "s2": tmp_path / "a.wav",
                                       "s1": tmp_path / "a.wav"})
    return tmp_path / "wav.scp", soundfile.read(tmp_path / "a.wav", dtype="float32")[0]


def test_the_worst_of_each_class_can_be_listened_to(heard):
    path, wav = heard
    text = worst(a_set(audio=path, seconds=np.array([1.0, 8, 3, 8, 8])), CLASSES, Players(2))
    assert re.findall(r"<tr><td>(\w+)</td><td>([\w ]+)</td><td>([-.\d]+)</td><td>([-\w]+)", text) == [
        ("b2", "bona fide", "-1.000", "-"), ("b3", "bona fide", "2.000", "-"), ("s2", "spoof", "4.000", "A2"),
        ("s1", "spoof", "-5.000", "A1")]
    assert "<td>8.00</td>" in text and text.count("<audio") == 3  # that of b3 is gone
    data = re.search(r"data:audio/flac;base64,([^']+)", text)[1]
    copied, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 8000 and len(copied) == 6 * 8000 and np.array_equal(copied, wav[:48000])


def test_a_page_does_not_grow_without_end(heard):
    once = len(Players().cell(str(heard[0].parent / "a.wav")).text)
    players = Players(2, bytes_left=once)
    assert worst(a_set(audio=heard[0]), CLASSES, players).count("<audio") == 1 and players.bytes_left >= 0


def test_without_recordings_or_wishes(heard):
    alone = worst(a_set(), CLASSES, Players(1))
    assert "<audio" not in alone and "first 6 s" not in alone
    assert worst(a_set(audio=heard[0]), CLASSES, Players(0)) == ""
    assert worst(a_set(names=("u", "u", "v", "w", "w")), CLASSES, Players()) == ""  # segments of utterances


def test_less_than_none_is_refused_by_its_option():
    with pytest.raises(OptionError, match="listen: must be at least 0, got -1"):
        Players(-1)


def test_the_data_in_a_table():
    text = data_summary([a_set(seconds=np.array([1.0, 2, 3, 1800, 1800]), left_out={"count": 7})], CLASSES)
    assert re.findall(r"<th scope='col'>([^<]*)", text) == ["set", *CLASSES, "attack", "spk", "hours", "median s",
                                                            "not read"]
    assert re.search(r"<td>eval</td><td>3</td><td>2</td><td>2</td><td>3</td><td>1</td>"
                     r"<td>3.00<small>1.00–1800.00</small></td><td>7</td>", text)
    assert data_summary([ScoredSet("x", a_set().trials, {})], CLASSES) == ""


def test_durations_in_parts_of_as_many_trials():
    seconds, real = np.linspace(1, 11, 200), np.arange(200) % 2 == 0
    names = by_duration(seconds, real)
    assert [names.count(name) for name in dict.fromkeys(names)] == [40] * 5 and names[0] == "1 to 2.96 s"
    assert by_duration(seconds[:60], real[:60]) is None                  # 30 of a class do not make two parts
    assert by_duration(np.full(200, 4.0), real) is None
    assert by_duration(np.repeat([4.0, 5.0], [150, 50]), real)[149:151] == ["4 s", "5 s"]
