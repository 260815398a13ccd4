"""Lists of files as they come, right and wrong."""

import numpy as np
import pytest
from corpora import CROPS, loading, noise

from wedefense.data.catalogue import PackedStrings, label_ids
from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.sources import open_source
from wedefense.utils.errors import InputError


def test_packed_strings():
    strings = ["", "a", "ümläut", "", "x" * 300]
    packed = PackedStrings(strings)
    assert list(packed) == strings and packed[2] == "ümläut" and len(packed) == 5


def test_labels_are_numbered_by_sorted_name():
    assert label_ids(["spoof", "bonafide", "spoof"]) == {"bonafide": 0, "spoof": 1}


def test_lists_of_wespeaker_name_the_label_spk(tmp_path):
    lines = '{"key": "a", "wav": "/x/a.wav", "spk": "id1"}\n\n{"key": 7, "wav": "b", "spk": 3}\n'
    (tmp_path / "raw.list").write_text(lines)
    entries = open_source(tmp_path / "raw.list", "raw").entries
    assert [(u.key, u.label, u.duration) for u in entries] == [("a", "id1", None), ("7", "3", None)]


@pytest.mark.parametrize("content, match", [
    (None, "raw.list: no such file; stage 1 .*`wedefense make_list --data_dir .* --data_type raw`"),
    ("", "raw.list: the list is empty"),
    ('{"key": "a", "wav": "a.wav"}\nnonsense\n', "raw.list:2: expected a line like"),
    ('{"key": "a"}\n', "raw.list:1: expected a line like"),
    ('{"key": "a", "wav": "a.wav", "dur": "long"}\n', "raw.list:1: expected"),
    ('{"key": "a", "wav": "a.wav"}\n' * 2, r"raw.list: 1 duplicate keys \(a\)"),
])
def test_unusable_lists(tmp_path, content, match):
    if content is not None:
        (tmp_path / "raw.list").write_text(content)
    with pytest.raises(InputError, match=match):
        open_source(tmp_path / "raw.list", "raw")


def test_training_without_labels_is_refused(tmp_path):
    (tmp_path / "raw.list").write_text('{"key": "a", "wav": "a.wav", "lab": "x"}\n{"key": "b", "wav": "b.wav"}\n')
    with pytest.raises(InputError, match="1 of 2 utterances have no label, first 'b'"):
        train_loader(tmp_path / "raw.list", "raw", CROPS, loading(1))


def test_any_rate_and_format_becomes_mono_at_the_wanted_rate(corpus):
    """The same tone in six disguises: all crops and all whole utterances are alike."""
    def tone(rate, seconds=0.4):
        return 0.5 * np.sin(2 * np.pi * 500 * np.arange(round(rate * seconds)) / rate)

    corpus.add("plain", tone(16000))
    corpus.add("slow", tone(8000), rate=8000)
    corpus.add("fast", tone(44100), rate=44100, suffix="flac")
    corpus.add("stereo", np.stack([tone(48000)] * 2, axis=1), rate=48000)
    corpus.add("coarse", tone(16000), subtype="PCM_U8")
    corpus.add("fine", tone(16000), subtype="DOUBLE")
    (crops,) = train_loader(corpus.raw_list(), "raw", CROPS, loading(6))
    (whole,) = eval_loader(corpus.raw_list(), "raw", CROPS, loading(6))
    for batch in (crops, whole):
        assert batch.lengths.tolist() == [6400] * 6
        for key, wav in zip(batch.keys, batch.wav.numpy()):
            assert np.abs(wav - tone(16000))[100:-100].max() < (0.01 if key == "coarse" else 0.001), key


def test_files_are_read_in_any_order_and_known_by_their_duration(corpus):
    corpus.add("a", noise(500))
    source = open_source(corpus.raw_list(), "raw")
    assert source.groups is None and len(source) == 1
    assert source.entries[0].duration == pytest.approx(500 / 16000)
