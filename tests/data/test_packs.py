"""Recordings inside parquet files: read a page at a time, packed once, and each of them alone from then on."""

import io
import os

import numpy as np
import pytest
import soundfile
from corpora import CROPS, loading, noise

from wedefense.data import packs
from wedefense.data.audio import BadAudio, open_audio, read_frames
from wedefense.data.duplicates import same_content
from wedefense.data.loader import train_loader
from wedefense.data.packs import Packs
from wedefense.data.parquet_table import Held, ParquetTable
from wedefense.data.shards import write_shard
from wedefense.data.sources import open_source
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import opened, part_of, size_of
from wedefense.utils.fingerprint import of_file

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def encoded(seed, samples=4000, suffix="wav"):
    stream = io.BytesIO()
    soundfile.write(stream, noise(samples, seed), 16000, format=suffix.upper())
    return stream.getvalue()


def write(path, contents, group=4, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"audio": {"bytes": content, "path": None}, "label": "real"} for content in contents]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.Table.from_pylist(rows, pyarrow.schema([("audio", kind), ("label", pyarrow.string())]))
    parquet.write_table(table, path, row_group_size=group, **options)
    return path


def packed(path, folder):
    """As whoever makes a corpus asks: for a place for each row, and then for nothing more."""
    table = ParquetTable(path)
    places = iter(Packs(table, "audio", folder, "train"))
    return [next(places) for _ in range(table.rows)]


def contents_of(rows):
    found = []
    for row in rows:
        with opened(row.place) as stream:
            found.append(stream.read())
    return found


@pytest.fixture
def small_packs(monkeypatch):
    monkeypatch.setattr(packs, "_FULL", 30_000)  # four recordings


@pytest.mark.parametrize("group", [1, 3, 100])
@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_each_recording_lies_alone_whatever_the_row_groups(tmp_path, group, compression, small_packs):
    contents = [encoded(i, suffix="flac" if i % 2 else "wav") for i in range(11)]
    path = write(tmp_path / "t.parquet", contents, group, compression=compression)
    rows = packed(path, tmp_path / "packs")
    assert contents_of(rows) == contents
    assert [row.place.rpartition(".")[2] for row in rows] == ["wav", "flac"] * 5 + ["wav"]
    assert len(list((tmp_path / "packs").glob("*.tar"))) > 2


def test_a_giant_row_group_is_read_by_the_page(tmp_path):
    content = np.random.default_rng(0).bytes(2000)
    path = write(tmp_path / "t.parquet", [content] * 30_000, 30_000, use_dictionary=False)  # 60 MB, pages of 2
    most, pool = 0, pyarrow.default_memory_pool()
    before = pool.bytes_allocated()
    for number, found in enumerate(ParquetTable(path).recordings("audio")):
        most = max(most, pool.bytes_allocated() - before) if number % 100 == 0 else most
        assert found == content
    assert number == 29_999 and most < 16e6


def test_rows_are_told_without_reading_a_recording(tmp_path):
    path = write(tmp_path / "t.parquet", [encoded(i) for i in range(8)])
    damage(path, group=1)
    cells = list(ParquetTable(path).cells())
    assert cells[7] == {"audio": Held(path, "audio", 8, ""), "label": "real"}


def damage(path, group):
    """Overwrite the recordings of a row group."""
    column = parquet.ParquetFile(path).metadata.row_group(group).column(0)
    with open(path, "r+b") as stream:
        stream.seek(column.dictionary_page_offset or column.data_page_offset)
        stream.write(b"\xff" * 200)


def test_a_damaged_row_group_is_named_and_what_came_before_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "_FULL", 1)
    contents = [encoded(i) for i in range(12)]
    path = write(tmp_path / "t.parquet", contents)
    damage(path, group=1)
    with pytest.raises(InputError, match=r"t.parquet: row group 1 \(rows 5 to 8\) is damaged \(.+\); get it again"):
        packed(path, tmp_path / "packs")
    assert len(list((tmp_path / "packs").glob("*.tar"))) == 4 and not list((tmp_path / "packs").glob(".*"))


def test_a_page_that_says_that_it_holds_fewer_rows_is_damaged(tmp_path):
    """pyarrow takes it, so that all recordings after it in its row group would lie one row too early."""
    path = write(tmp_path / "t.parquet", [encoded(i) for i in range(6)], 3, use_dictionary=False)
    start = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[content.index(b"\x2c\x15\x06", start, start + 40) + 2] = 4  # of the header: a struct begins with 3 values
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"row group 1 \(rows 4 to 6\) is damaged \(2 rows are in it\); get it again"):
        packed(path, tmp_path / "packs")


def test_a_table_that_says_that_it_has_other_rows_is_not_whole(tmp_path):
    path = write(tmp_path / "t.parquet", [encoded(i) for i in range(6)], 3)
    content = path.read_bytes()
    assert content.count(b"\x16\x0c\x19") == 1  # 6 rows, before the list of row groups
    path.write_bytes(content.replace(b"\x16\x0c\x19", b"\x16\x0e\x19"))
    with pytest.raises(InputError, match="not a whole parquet file .it says 7 rows, and its row groups 6.; get it"):
        ParquetTable(path)


def test_what_was_interrupted_goes_on_and_what_is_there_is_not_written_again(tmp_path, small_packs, monkeypatch):
    contents = [encoded(i) for i in range(20)]
    path, folder = write(tmp_path / "t.parquet", contents, 7), tmp_path / "packs"
    whole = {file.name: file.read_bytes() for file in packed(path, tmp_path / "whole") and tars(tmp_path / "whole")}

    def breaks(self, column, first=0, read=ParquetTable.recordings):
        for number, content in enumerate(read(self, column, first)):
            if number == 9:
                raise KeyboardInterrupt
            yield content

    with monkeypatch.context() as patched:
        patched.setattr(ParquetTable, "recordings", breaks)
        with pytest.raises(KeyboardInterrupt):
            packed(path, folder)
    left = {file.name: file.stat().st_ino for file in tars(folder)}
    assert 1 < len(left) < len(whole)
    started = []
    monkeypatch.setattr(ParquetTable, "recordings", lambda self, column, first=0, read=ParquetTable.recordings:
                        started.append(first) or read(self, column, first))
    assert contents_of(packed(path, folder)) == contents
    assert started == [4 * len(left)]
    assert {file.name: file.read_bytes() for file in tars(folder)} == whole
    assert left.items() <= {file.name: file.stat().st_ino for file in tars(folder)}.items()
    assert contents_of(packed(path, folder)) == contents and len(started) == 1


def test_a_pack_of_short_recordings_is_closed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "_MANY", 3)
    contents = [encoded(i, 100) for i in range(8)]
    assert contents_of(packed(write(tmp_path / "t.parquet", contents), tmp_path / "packs")) == contents
    assert len(tars(tmp_path / "packs")) == 3


def tars(folder):
    return sorted(folder.glob("*.tar"))


def test_a_table_that_became_another_is_packed_anew(tmp_path, small_packs):
    """And no place that the earlier one had holds another recording."""
    path, folder = write(tmp_path / "t.parquet", [encoded(i) for i in range(20)]), tmp_path / "packs"
    before = packed(path, folder)
    of_others = [folder / f"{name}-0000.tar" for name in ("train-00000-of-00002-0123abcd", "train2-0123abcd")]
    for other in of_others:
        other.write_bytes(b"")
    contents = [encoded(100 + i) for i in range(5)]
    write(path, contents)
    assert contents_of(packed(path, folder)) == contents
    for row in before:
        with pytest.raises(BadAudio, match="no such file"), open_audio(row.place):
            pass
    for other in of_others:
        other.unlink()
    assert len(tars(folder)) == 2 and len(list(folder.iterdir())) == 4
    tars(folder)[0].write_bytes(b"something else")
    assert contents_of(packed(path, folder)) == contents


def test_batches_are_those_of_files_bit_for_bit_by_any_rank_and_worker(tmp_path):
    contents = [encoded(i, 9000) for i in range(16)]
    rows = packed(write(tmp_path / "t.parquet", contents), tmp_path / "packs")
    lists = {"files": tmp_path / "files.list", "parts": tmp_path / "parts.list"}
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.wav").write_bytes(content)
    for name, places in (("files", [tmp_path / f"{i}.wav" for i in range(16)]), ("parts", [r.place for r in rows])):
        lists[name].write_text("".join(f'{{"key": "u{i}", "wav": "{place}", "lab": "{"ab"[i % 2]}"}}\n'
                                       for i, place in enumerate(places)))

    def crops(name, workers, ranks):
        found = {}
        for rank in range(ranks):
            loader = train_loader(lists[name], "raw", CROPS, loading(8 // ranks, workers), seed=1, rank=rank,
                                  world_size=ranks)
            found |= {key: wav.numpy().tobytes() for batch in loader for key, wav in zip(batch.keys, batch.wav)}
        return found

    expected = crops("files", 0, 1)
    assert len(expected) == 16
    for workers, ranks in ((0, 1), (2, 1), (0, 2), (2, 2)):
        assert crops("parts", workers, ranks) == expected


def test_a_part_is_a_recording_wherever_a_file_is(tmp_path):
    contents = [encoded(1), encoded(2), encoded(1)]
    first, other, again = (row.place for row in packed(write(tmp_path / "t.parquet", contents), tmp_path / "packs"))
    assert size_of(first) == len(contents[0]) and part_of(first).file == str(tars(tmp_path / "packs")[0])
    assert same_content({"a": first, "b": other, "c": again}) == [["a", "c"]]
    assert of_file(first) == of_file(again) != of_file(other)
    (tmp_path / "a.wav").write_bytes(contents[0])
    assert of_file(first) == of_file(tmp_path / "a.wav")
    write_shard(tmp_path / "s.tar", [("a", "real", first, None), ("b", "fake", other, None)])
    (tmp_path / "shard.list").write_text(f"{tmp_path / 's.tar'}\n")
    source = open_source(tmp_path / "shard.list", "shard")
    assert np.array_equal(source.read(1), soundfile.read(io.BytesIO(contents[1]), dtype="float32")[0])
    before = len(os.listdir("/proc/self/fd"))
    with open_audio(other) as sound:
        assert len(read_frames(sound, 1000, 500)) == 500
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("place, why", [
    ("gone.tar:0:100.wav", "no such file: .*gone.tar$"), ("packs/train.tar:999999:100.wav", "not readable"),
    ("packs/train.tar:512:2000.wav", "cut short: its header says"), ("packs.tar:0:1", "no file but a folder")])
def test_a_part_that_is_not_there(tmp_path, place, why):
    packed(write(tmp_path / "t.parquet", [encoded(1)]), tmp_path / "packs")
    tars(tmp_path / "packs")[0].rename(tmp_path / "packs/train.tar")
    (tmp_path / "packs.tar").mkdir()
    with pytest.raises(BadAudio, match=why), open_audio(tmp_path / place):
        pass
    if "512" not in place:
        assert of_file(tmp_path / place) == "missing"


def test_long_parts_are_told_apart_by_blocks_and_time(tmp_path):
    place = packed(write(tmp_path / "t.parquet", [encoded(1, 100_000)]), tmp_path / "packs")[0].place
    file = part_of(place).file
    before = of_file(place)
    assert " of 200044 at " in before and of_file(place) == before
    os.utime(file, ns=(1, 1))
    assert of_file(place) != before
