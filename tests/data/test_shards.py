"""Tar shards: ours in the hands of webdataset, those of other tools in ours."""

import io
import os
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile
from corpora import CROPS, loading, noise

from wedefense.data.loader import eval_loader
from wedefense.data.shards import shard_members, write_shard
from wedefense.data.sources import open_source
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import FileSlice

AWKWARD = ["plain", "with.dots.flac", "folder/name", "50%2E", "ümläut", "__meta__", "k" * 150]


@pytest.fixture
def awkward(corpus):
    for number, key in enumerate(AWKWARD):
        corpus.add(key, noise(2000 + 100 * number, number), ["bonafide", "spoof"][number % 2], suffix="flac")
    return corpus


def test_the_webdataset_library_reads_our_shards(awkward):
    import webdataset

    listed = awkward.shard_list(per_shard=4)
    dataset = webdataset.WebDataset(listed.read_text().split(), shardshuffle=False, empty_check=False)
    samples = list(dataset)
    assert len(samples) == len(AWKWARD)
    for record, sample in zip(awkward.records, samples):
        assert sample["lab"].decode() == record["lab"]
        assert sample["flac"] == open(record["wav"], "rb").read()
        assert "." not in sample["__key__"]


@pytest.mark.parametrize("indexed", [True, False])
def test_what_was_written_is_read_back(awkward, indexed):
    listed = awkward.shard_list(per_shard=4)
    if not indexed:
        for index in awkward.folder.glob("*.idx"):
            index.unlink()
    source = open_source(listed, "shard")
    assert [u.key for u in source.entries] == AWKWARD
    assert [u.label for u in source.entries] == [r["lab"] for r in awkward.records]
    assert [u.duration for u in source.entries] == ([r["dur"] for r in awkward.records] if indexed else [None] * 7)
    for number in range(len(AWKWARD)):
        assert np.allclose(source.read(number), noise(2000 + 100 * number, number), atol=1 / 32768)
        assert np.array_equal(source.read(number, 100, 50), source.read(number)[100:150])
    source.fill_durations()
    assert [u.duration for u in source.entries] == [r["dur"] for r in awkward.records]


def test_a_source_travels_to_another_process(awkward):
    source = open_source(awkward.shard_list(), "shard")
    before = source.read(2)
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(2), before)


def foreign(path, files, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def wav_bytes(wav, suffix="WAV"):
    stream = io.BytesIO()
    soundfile.write(stream, wav, 16000, format=suffix)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["lab", "spk", "txt", "cls"])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_made_by_hand(tmp_path, suffix, format):
    foreign(tmp_path / "a.tar", [(f"utt.1.{suffix}", b"spoof\n"), ("utt.1.wav", wav_bytes(noise(500, 1))),
                                 ("utt.2.WAV", wav_bytes(noise(600, 2))), (f"utt.2.{suffix}", b"bonafide"),
                                 ("utt.2.json", b"{}")], format=format)
    (tmp_path / "shard.list").write_text("a.tar\n")  # relative to the list
    (batch,) = eval_loader(tmp_path / "shard.list", "shard", CROPS, loading(4), {"bonafide": 0, "spoof": 1})
    assert batch.keys == ["utt.2", "utt.1"] and batch.labels.tolist() == [0, 1]
    assert batch.lengths.tolist() == [600, 500]
    assert np.allclose(batch.wav[1, :500], noise(500, 1), atol=1 / 32768)


def test_an_index_that_does_not_fit_its_tar_is_not_believed(corpus):
    first, second = corpus.add("a", noise(1000, 1)), corpus.add("b", noise(1000, 2))
    path = corpus.folder / "s.tar"
    write_shard(path, [("a", "spoof", first, 1 / 16)])
    index = (corpus.folder / "s.tar.idx").read_text()
    write_shard(path, [("b", "bonafide", second, 1 / 16)])  # same size, other content
    os.utime(path, ns=(1, 1))
    assert list(shard_members(path).keys) == ["b"] and np.isnan(shard_members(path).durations[0])
    (corpus.folder / "s.tar.idx").write_text(index)
    assert list(shard_members(path).keys) == ["b"]


@pytest.mark.parametrize("indexed, most", [(True, 300), (False, 500)])  # a list of objects took 490 and 1,670
def test_opening_a_tar_of_many_takes_little_memory(corpus, indexed, most):
    wav = corpus.add("a", noise(100, 1))
    write_shard(corpus.folder / "s.tar", [(f"speaker{i % 50:04d}/utterance_{i:08d}", "spoof", wav, 1 / 160)
                                          for i in range(2000)])
    if not indexed:
        (corpus.folder / "s.tar.idx").unlink()
    (corpus.folder / "shard.list").write_text("s.tar\n")
    tracemalloc.start()
    try:
        source = open_source(corpus.folder / "shard.list", "shard")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.entries[1999].key == "speaker0049/utterance_00001999" and source.entries[0].label == "spoof"
    assert peak / len(source) < most


@pytest.mark.parametrize("make, match", [
    (lambda p: None, "no such file; make the shards again"),
    (lambda p: p.write_bytes(b"nothing like a tar" * 100), "not a whole, uncompressed tar"),
    (lambda p: foreign(p, [("a.wav", wav_bytes(noise(90_000)))]) or os.truncate(p, 50_000), "not a whole"),
    (lambda p: foreign(p, [("a.lab", b"x")]), "the list is empty"),
    (lambda p: foreign(p, [("a.wav", wav_bytes(noise(9)))] * 2), "two recordings named 'a'"),
])
def test_broken_shards(tmp_path, make, match):
    make(tmp_path / "a.tar")
    (tmp_path / "shard.list").write_text("a.tar\n")
    with pytest.raises(InputError, match=match):
        open_source(tmp_path / "shard.list", "shard")


def test_the_wrong_kind_of_list(voices):
    with pytest.raises(InputError, match="is this a shard.list"):
        open_source(voices.shard_list(), "raw")
    with pytest.raises(InputError, match="is this a raw.list"):
        open_source(voices.raw_list(), "shard")
    with pytest.raises(InputError, match="did you mean 'shard'"):
        open_source(voices.raw_list(), "shards")


def test_a_slice_reads_what_it_is_asked_for(tmp_path):
    (tmp_path / "x").write_bytes(b"0123456789abcdef")
    with open(tmp_path / "x", "rb", buffering=0) as stream:
        part = FileSlice(stream, 4, 8)
        assert part.read() == b"456789ab" and part.read(5) == b"" and part.tell() == 8
        assert part.seek(-3, os.SEEK_END) == 5 and part.read(2) == b"9a"
        assert part.seek(1) == 1 and part.seek(2, os.SEEK_CUR) == 3
        buffer = bytearray(20)
        assert part.readinto(buffer) == 5 and buffer[:5] == b"789ab"


def test_a_crop_in_a_shard_reads_only_its_samples(corpus, monkeypatch):
    corpus.add("long", noise(16000 * 60), suffix="flac")
    source = open_source(corpus.shard_list(), "shard")
    read, original = [], FileSlice.readinto
    monkeypatch.setattr(FileSlice, "readinto", lambda self, b: read.append(original(self, b)) or read[-1])
    assert len(source.read(0, 16000 * 30, 8000)) == 8000
    assert 8000 < sum(read) < 0.1 * 16000 * 60 * 2


def test_open_files_stay_few(corpus, monkeypatch):
    from wedefense.data import sources

    monkeypatch.setattr(sources, "_OPEN_SHARDS", 3)
    for i in range(10):
        corpus.add(f"u{i}", noise(500, i))
    source = open_source(corpus.shard_list(per_shard=1), "shard")
    before = len(os.listdir("/proc/self/fd"))
    for i in [*range(10), *range(10)]:
        assert np.allclose(source.read(i), noise(500, i), atol=1 / 32768)
    assert len(os.listdir("/proc/self/fd")) - before <= 3
