"""Parquet files as people have them: what works, and what is refused with file, row and cure."""

import io
import json
import re

import numpy as np
import pytest
import soundfile

from tools.prepare.table import main
from wedefense.data.manifest import read_data_dir
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import opened
from wedefense.utils.tables import read_table

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

BYTES, TEXT = pyarrow.binary(), pyarrow.string()
AUDIO = pyarrow.struct([("bytes", BYTES), ("path", TEXT)])


def samples_of(kind):
    return pyarrow.struct([("array", pyarrow.list_(kind)), ("sampling_rate", pyarrow.int64())])


def encoded(seed):
    stream = io.BytesIO()
    soundfile.write(stream, 0.1 * np.random.default_rng(seed).standard_normal(800), 8000, format="WAV")
    return stream.getvalue()


def decoded(seed):
    """As data sets are saved once something went over their recordings."""
    samples, rate = soundfile.read(io.BytesIO(encoded(seed)))
    return {"array": samples.tolist(), "sampling_rate": rate}


def audio(seed, path=None):
    return {"bytes": encoded(seed), "path": path}


def write(path, columns, kinds, features=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = None if features is None else {"huggingface": features}
    table = pyarrow.table([pyarrow.array(values, kind) for values, kind in zip(columns.values(), kinds)],
                          schema=pyarrow.schema(list(zip(columns, kinds)), metadata=metadata))
    parquet.write_table(table, path, **options)
    return path


def prepare(folder, *options, table="t.parquet"):
    return main(["--table", str(folder / table), "--out", str(folder / "data"), "--num_workers", "1", "--split",
                 "1:0:0", *options])


def labels(folder, name="train"):
    return list(read_table(folder / f"data/{name}/utt2lab").values())


TWO = {"audio": [audio(1), audio(2)], "label": ["real", "fake"]}


@pytest.mark.parametrize("kind, values", [
    (AUDIO, [audio(1), audio(2)]),
    (BYTES, [encoded(1), encoded(2)]),
    (pyarrow.large_binary(), [encoded(1), encoded(2)]),
    (pyarrow.binary(len(encoded(1))), [encoded(1), encoded(2)]),
    (pyarrow.struct([("bytes", BYTES)]), [{"bytes": encoded(1)}, {"bytes": encoded(2)}]),
    (pyarrow.struct([("path", TEXT), ("bytes", BYTES), ("sampling_rate", pyarrow.int32())]),
     [{**audio(1), "sampling_rate": 8000}, {**audio(2), "sampling_rate": 8000}]),
    (samples_of(pyarrow.float64()), [decoded(1), decoded(2)]),
    (samples_of(pyarrow.float32()), [decoded(1), decoded(2)]),
    (pyarrow.struct([("path", TEXT)]), [{"path": "1.wav"}, {"path": "2.wav"}]),
    (AUDIO, [{"bytes": None, "path": "1.wav"}, {"bytes": None, "path": "2.wav"}]),
    (AUDIO, [audio(1, "1.wav"), {"bytes": None, "path": "2.wav"}]),
    (TEXT, ["1.wav", "2.wav"]),
    (pyarrow.dictionary(pyarrow.int32(), TEXT), ["1.wav", "2.wav"])])
def test_kinds_of_audio_columns(tmp_path, kind, values):
    for seed in (1, 2):
        (tmp_path / f"{seed}.wav").write_bytes(encoded(seed))
    table = pyarrow.table({"audio": pyarrow.array(values, kind), "label": ["real", "fake"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    prepare(tmp_path)
    assert labels(tmp_path) == ["bonafide", "spoof"]
    assert [r.info.frames for r in read_data_dir(tmp_path / "data/train").recordings] == [800, 800]


FEATURES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["real", "fake"]}}}}


@pytest.mark.parametrize("kind, values, features", [
    (pyarrow.dictionary(pyarrow.int8(), TEXT), ["real", "fake"], None),
    (pyarrow.large_string(), ["real", "fake"], None),
    (pyarrow.int64(), [0, 1], json.dumps(FEATURES)),
    (pyarrow.int8(), [0, 1], json.dumps(FEATURES)),
    (TEXT, ["real", "fake"], "{not json"), (TEXT, ["real", "fake"], '["a list"]'), (TEXT, ["real", "fake"], "{}")])
def test_kinds_of_label_columns(tmp_path, kind, values, features):
    write(tmp_path / "t.parquet", TWO | {"label": values}, [AUDIO, kind], features)
    prepare(tmp_path)
    assert labels(tmp_path) == ["bonafide", "spoof"]


def test_pictures_beside_the_audio_and_columns_of_lists_are_passed_over(tmp_path, capsys):
    pictures = {"info": {"features": {"face": {"_type": "Image"}}}}
    write(tmp_path / "t.parquet", {"face": [audio(3), audio(4)], **TWO, "words": [["a"], ["b", "c"]]},
          [AUDIO, AUDIO, TEXT, pyarrow.list_(TEXT)], json.dumps(pictures))
    prepare(tmp_path)
    assert labels(tmp_path) == ["bonafide", "spoof"] and "path is column 'audio'" in capsys.readouterr().err


def test_shards_in_nested_folders_keep_apart_and_are_counted(tmp_path, capsys):
    for language in ("de", "en"):
        for part in (0, 1, 3):
            write(tmp_path / f"c/{language}/train-{part:05d}-of-00004.parquet",
                  {"audio": [audio(f"{language}{part}{i}".encode()[0] * 1000 + part * 10 + i, "x.wav") for i in (1, 2)],
                   "label": ["real", "fake"]}, [AUDIO, TEXT])
    main(["--table", str(tmp_path / "c"), "--out", str(tmp_path / "data"), "--num_workers", "1"])
    keys = read_table(tmp_path / "data/train/utt2lab")
    assert len(keys) == 12 and "x_de%2Ftrain-00003-of-00004-2" in keys
    said = capsys.readouterr().err
    for language in ("de", "en"):
        assert f"c/{language}: of 4 shards, 1 are not there: train-00002-of-00004.parquet; a subset" in said


def test_a_converted_data_set_has_its_splits_as_folders(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"c/default/{split}/0000.parquet",
              {"audio": [audio(len(split) * 7 + i) for i in (1, 2)], "label": ["real", "fake"]}, [AUDIO, TEXT])
    main(["--table", str(tmp_path / "c"), "--out", str(tmp_path / "data"), "--num_workers", "1"])
    assert labels(tmp_path) == labels(tmp_path, "eval") == ["bonafide", "spoof"]


@pytest.mark.parametrize("columns, kinds, match", [
    ({"clip": [1, 2], "label": ["real", "fake"]}, [pyarrow.int64(), TEXT],
     r"t.parquet: row 1: no column is the path .*it has clip, label. Say --columns path=NAME"),
    ({"audio": [[0.1], [0.2]], "label": ["real", "fake"]}, [pyarrow.list_(pyarrow.float32()), TEXT],
     r"t.parquet: row 1: column 'audio' holds list<element: float>, which is no path; .*--columns path=NAME"),
    ({"audio": [{"array": [1], "sampling_rate": 8000}] * 2, "label": ["real", "fake"]},
     [samples_of(pyarrow.int16()), TEXT], r"t.parquet: row 1: column 'audio' holds struct<array: .*, which is no path"),
    (TWO | {"label": [["real"], ["fake"]]}, [AUDIO, pyarrow.list_(TEXT)],
     r"t.parquet: row 1: column 'label' holds list<element: string>, which is no label; say --columns label=NAME"),
    (TWO | {"label": [0, 1]}, [AUDIO, pyarrow.int64()], r"t.parquet: row 1: .*which of the classes '0' is"),
    ({"audio": [audio(1)]}, [AUDIO], r"t.parquet: row 1: no column is the label .*it has audio"),
    (TWO | {"label": ["real", None]}, [AUDIO, TEXT], r"t.parquet: row 2: column 'label': no label"),
    ({"a": [encoded(1)], "b": [encoded(2)], "path": ["x"], "label": ["real"]}, [BYTES, BYTES, TEXT, TEXT],
     r"t.parquet: row 1: the recording may be the column a or b; say --columns path=a"),
    (TWO | {"label": pyarrow.array([b"real", b"\xff\xfe"]).view(TEXT)}, [AUDIO, TEXT],
     r"t.parquet: rows 1 to 2 hold what is no text \(.*codec"),
    (TWO | {"speaker": ["a", "b\x1b[2J"]}, [AUDIO, TEXT, TEXT],
     r"t.parquet: row 2: column 'speaker' holds a control character \\x1b, which no table holds"),
    (TWO | {"audio": [audio(1, "a\0.wav"), audio(2)]}, [AUDIO, TEXT],
     r"t.parquet: row 1: column 'audio' holds a control character \\x00"),
    (TWO | {"audio": [audio(1), {"bytes": None, "path": "../../x.wav"}]}, [AUDIO, TEXT],
     r"t.parquet: row 2: column 'audio': ../../x.wav leads out of"),
])
def test_what_cannot_be_used_is_named_and_nothing_is_written(tmp_path, columns, kinds, match):
    write(tmp_path / "t.parquet", columns, kinds)
    with pytest.raises(InputError, match=match):
        prepare(tmp_path)
    assert not list(tmp_path.glob("data/*/utt2lab"))


BAD = {"null": (None, r"row 2: column 'audio' holds neither bytes nor a path"),
       "empty": ({"bytes": b"", "path": None}, r"row 2: column 'audio' holds neither bytes nor a path"),
       "zeros": ({"bytes": bytes(5000), "path": "z.wav"}, r"z \(.*t.parquet: row 2: not readable: "),
       "text": ({"bytes": b"<html>404</html>", "path": "z.wav"}, r"z \(.*t.parquet: row 2: not readable: "),
       "half": ({"bytes": encoded(5)[:900], "path": "z.wav"}, r"z \(.*t.parquet: row 2: cut short: ")}


def test_decoded_samples_are_those_of_the_table_and_found_again_by_them(tmp_path):
    loud = {"array": [1.5, 2 ** -30, -3.0, 0.0], "sampling_rate": 8000}
    rows = [decoded(1), None, loud, {**decoded(3), "sampling_rate": 0}, {**decoded(4), "array": None}, decoded(1),
            {**decoded(5), "sampling_rate": 2 ** 40}, None]
    write(tmp_path / "t.parquet", {"audio": rows, "label": ["real", "fake"] * 4},
          [samples_of(pyarrow.float64()), TEXT], row_group_size=2)
    prepare(tmp_path, "--allow_problems", "--duplicates", "ignore")
    problems = (tmp_path / "data/train/problems.txt").read_text()
    assert re.findall(r"row (\d): column 'audio' holds", problems) == ["2", "4", "5", "7", "8"]
    for wav, row in zip(read_table(tmp_path / "data/train/wav.scp").values(), (rows[0], rows[2], rows[5]), strict=True):
        with opened(wav) as stream:
            assert b"PEAK" not in stream.read()  # which tells when a file was written
            stream.seek(0)
            samples, rate = soundfile.read(stream)
        assert rate == 8000 and np.array_equal(samples, row["array"])
    with pytest.raises(InputError, match="1 recording more than once: t-1 = t-6"):
        prepare(tmp_path, "--allow_problems")


@pytest.mark.parametrize("name", BAD)
def test_a_row_without_a_recording_is_named_or_left_out(tmp_path, name):
    value, match = BAD[name]
    write(tmp_path / "t.parquet", {"audio": [audio(1), value, audio(2)], "label": ["real", "fake", "fake"]},
          [AUDIO, TEXT])
    with pytest.raises(InputError, match=rf"1 x unusable audio: .*{match}.*--allow_problems to leave"):
        prepare(tmp_path)
    prepare(tmp_path, "--allow_problems")
    assert labels(tmp_path) == ["bonafide", "spoof"]
    assert re.search(match.replace(r"z \(.*", "z\t.*"), (tmp_path / "data/train/problems.txt").read_text())


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -100])
def test_a_file_that_is_not_whole(tmp_path, keep):
    path = write(tmp_path / "t.parquet", TWO, [AUDIO, TEXT])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"t.parquet: not a whole parquet file \(.+\); get it again"):
        prepare(tmp_path)


def test_spans_of_recordings_inside_a_table(tmp_path):
    write(tmp_path / "t.parquet", {"audio": [audio(1, "x.wav"), audio(2, "x.wav")], "label": ["real", "fake"],
                                   "start": [0.0, 0.02], "end": [0.05, 0.07]},
          [AUDIO, TEXT, pyarrow.float64(), pyarrow.float64()])
    prepare(tmp_path)
    wavs = read_table(tmp_path / "data/train/wav.scp")
    assert sorted(wavs) == ["x_t-1_0-50", "x_t-2_20-70"]
    samples = soundfile.read(io.BytesIO(encoded(2)))[0]
    assert np.array_equal(soundfile.read(wavs["x_t-2_20-70"])[0], samples[160:560])


def test_labels_are_understood_before_a_recording_is_written(tmp_path):
    write(tmp_path / "t.parquet", TWO | {"label": ["real", "odd"]}, [AUDIO, TEXT])
    with pytest.raises(InputError, match="row 2: column 'label': unknown label 'odd'"):
        prepare(tmp_path)
    assert not (tmp_path / "data/audio").exists()


def test_sets_that_are_refused_leave_the_recordings_of_an_earlier_call(tmp_path):
    """Another table of the same name, for another set of the same folder."""
    write(tmp_path / "a/t.parquet", TWO | {"split": ["train"] * 2}, [AUDIO, TEXT, TEXT])
    write(tmp_path / "b/t.parquet", {"audio": [audio(3)], "label": ["fake"], "split": ["eval"]}, [AUDIO, TEXT, TEXT])
    call = ["--out", str(tmp_path / "data"), "--num_workers", "1", "--table"]
    main([*call, str(tmp_path / "a/t.parquet")])
    with pytest.raises(InputError, match="data/train: is of an earlier call, .* in eval now; remove it, or give"):
        main([*call, str(tmp_path / "b/t.parquet")])
    for wav, content in zip(read_table(tmp_path / "data/train/wav.scp").values(), TWO["audio"], strict=True):
        with opened(wav) as stream:
            assert stream.read() == content["bytes"]


def test_a_recording_is_read_once_and_found_again_by_its_content(tmp_path, monkeypatch):
    write(tmp_path / "c/a.parquet", TWO, [AUDIO, TEXT], row_group_size=1)
    write(tmp_path / "c/b.parquet", {"audio": [audio(2)], "label": ["fake"]}, [AUDIO, TEXT])
    with monkeypatch.context() as patched:
        for name in ("duplicates._digest", "manifest._look"):
            patched.setattr(f"wedefense.data.{name}", lambda path: pytest.fail(f"{path} was read again"))
        for _ in range(2):
            with pytest.raises(InputError, match="1 recording more than once: a-2 = b-1; --duplicates drop"):
                prepare(tmp_path, table="c")
        prepare(tmp_path, "--duplicates", "drop", table="c")
    assert read_table(tmp_path / "data/train/utt2dur") == {"a-1": "0.100000", "a-2": "0.100000"}
    assert [r.info.frames for r in read_data_dir(tmp_path / "data/train").recordings] == [800, 800]
