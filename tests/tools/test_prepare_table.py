"""A table of one's own as a corpus: every form it may have, sets by column or made, and what cannot be used."""

import json
import shutil
import sys
import zlib
from collections import Counter

import numpy as np
import pytest
import soundfile

from tools.prepare.table import main
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import opened
from wedefense.utils.tables import read_table

RATE = 8000


def sound(path, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode())
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(int(RATE * seconds)), RATE)
    return path


def prepare(folder, *options, table="labels.csv"):
    return main(["--table", str(folder / table), "--out", str(folder / "data"), "--num_workers", "1", *options])


def rows(folder, name):
    return read_table(folder / "data" / name)


@pytest.fixture
def folder(tmp_path):
    """Ten speakers, each with two real and two fake recordings."""
    lines = ["File,Label,Speaker,Generator,Lang"]
    for speaker in range(10):
        for number in range(4):
            label, attack = ("Real", "") if number < 2 else ("AI", f"tts {number}")
            sound(tmp_path / f"clips/s{speaker}/{number} a.wav")
            lines.append(f"clips/s{speaker}/{number} a.wav,{label},s{speaker},{attack},en")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_sets_made_by_speaker_hold_the_shares_and_no_speaker_twice(folder, capsys):
    prepare(folder, "--split", "6:2:2", "--seed", "3")
    speakers = {name: set(rows(folder, f"{name}/utt2spk").values()) for name in ("train", "dev", "eval")}
    assert {name: len(found) for name, found in speakers.items()} == {"train": 6, "dev": 2, "eval": 2}
    assert len(set.union(*speakers.values())) == 10
    assert Counter(rows(folder, "train/utt2lab").values()) == {"bonafide": 12, "spoof": 12}
    keys = rows(folder, "train/utt2lab").keys()
    first = min(keys)
    assert " " not in first and rows(folder, "train/wav.scp")[first].endswith("a.wav")
    assert set(rows(folder, "dev/utt2attack").values()) == {"-", "tts_2", "tts_3"}
    assert set(rows(folder, "eval/utt2language").values()) == {"en"}
    assert "made 6:2:2 by speaker, seed 3" in (folder / "data/split.txt").read_text()
    before = {name: rows(folder, f"{name}/utt2lab") for name in speakers}
    prepare(folder, "--split", "6:2:2", "--seed", "3")
    assert {name: rows(folder, f"{name}/utt2lab") for name in speakers} == before
    prepare(folder, "--split", "6:2:2", "--seed", "4")
    assert {name: rows(folder, f"{name}/utt2lab") for name in speakers} != before


def test_sets_made_by_attack_keep_attacks_apart(folder):
    prepare(folder, "--by", "attack", "--split", "1:0:1")
    attacks = [set(rows(folder, f"{name}/utt2attack").values()) - {"-"} for name in ("train", "eval")]
    assert sorted(map(len, attacks)) == [1, 1] and not attacks[0] & attacks[1]
    assert not (folder / "data/dev").exists()


@pytest.mark.parametrize("form", ["tsv", "jsonl", "parquet"])
def test_other_forms_and_a_split_column(tmp_path, form):
    records = [{"utt": f"a{number}", "key": "genuine" if number % 2 else "spoof", "spk": f"s{number}",
                "partition": ("training", "validation", "test")[number // 2]} for number in range(6)]
    for record in records:
        sound(tmp_path / f"audio/{record['utt']}.flac")
    path = tmp_path / f"labels.{form}"
    if form == "tsv":
        path.write_text("\n".join(["\t".join(records[0]), *("\t".join(r.values()) for r in records)]) + "\n")
    elif form == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    prepare(tmp_path, "--audio", str(tmp_path / "audio"), table=path.name)
    assert rows(tmp_path, "dev/utt2lab") == {"a2": "spoof", "a3": "bonafide"}
    assert rows(tmp_path, "eval/utt2spk") == {"a4": "s4", "a5": "s5"}
    assert set(rows(tmp_path, "train/wav.scp")) == {"a0", "a1"}


def test_absolute_paths_elsewhere_beside_relative_ones_as_the_refusal_advises(tmp_path):
    for name in ("corpus/a.wav", "corpus/b.wav", "far/c.wav", "far/d.wav"):
        sound(tmp_path / name)
    (tmp_path / "corpus/labels.csv").write_text(
        f"path,label,split\na,real,train\nb.wav,fake,train\n{tmp_path}/far/c.wav,real,dev\n{tmp_path}/far/d,fake,dev\n")
    with pytest.raises(InputError, match=r"far/c.wav leads out of .*corpus; .*--audio DIR \(with / any file may"):
        prepare(tmp_path, table="corpus/labels.csv")
    prepare(tmp_path, "--audio", str(tmp_path), table="corpus/labels.csv")
    for name, keys in {"train": ("corpus/a", "corpus/b"), "dev": ("far/c", "far/d")}.items():
        assert rows(tmp_path, f"{name}/wav.scp") == {key: f"{tmp_path}/{key}.wav" for key in keys}


def test_folders_by_class(tmp_path):
    for name in ("train/real/1.wav", "train/fake/1.wav", "test/real/2.wav", "test/fake/3.wav"):
        sound(tmp_path / "corpus" / name)
    prepare(tmp_path, table="corpus")
    assert rows(tmp_path, "train/utt2lab") == {"train/real/1": "bonafide", "train/fake/1": "spoof"}
    assert set(rows(tmp_path, "eval/utt2lab")) == {"test/real/2", "test/fake/3"}


def test_a_hugging_face_folder_with_metadata(tmp_path):
    for split in ("train", "test"):
        sound(tmp_path / f"corpus/{split}/x.wav"), sound(tmp_path / f"corpus/{split}/y.wav")
        (tmp_path / f"corpus/{split}/metadata.csv").write_text("file_name,label\nx.wav,fake\ny.wav,human\n")
    prepare(tmp_path, table="corpus")
    assert rows(tmp_path, "train/utt2lab") == {"train/x": "spoof", "train/y": "bonafide"}
    assert rows(tmp_path, "eval/wav.scp")["test/x"].endswith("test/x.wav")


def test_parquet_shards_with_the_audio_inside(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    features = {"label": {"_type": "ClassLabel", "names": ["fake", "real"]}, "audio": {"_type": "Audio"}}
    for split in ("train", "test"):
        records = [{"audio": {"bytes": sound(tmp_path / f"{split}{label}.wav").read_bytes(), "path": "same.wav"},
                    "label": label} for label in (0, 1)]
        table = pyarrow.Table.from_pylist(records).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})})
        (tmp_path / "corpus/data").mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, tmp_path / f"corpus/data/{split}-00000-of-00001.parquet")
    prepare(tmp_path, table="corpus")
    labels, wavs = rows(tmp_path, "train/utt2lab"), rows(tmp_path, "train/wav.scp")
    assert sorted(labels.values()) == ["bonafide", "spoof"] and len(labels) == 2  # two files of one name stay two
    spoof = next(key for key, label in labels.items() if label == "spoof")
    with opened(wavs[spoof]) as stream:
        assert stream.read() == (tmp_path / "train0.wav").read_bytes()


def test_packagings_of_the_arena_keep_its_utterance_ids(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    records = [{"path": f"test_seen/{kind}/a.flac", "label": number,
                "notes": json.dumps({"utterance_id": f"X_{kind}_a"}),
                "audio": {"bytes": sound(tmp_path / f"{kind}.wav").read_bytes(), "path": None}}
               for number, kind in enumerate(("real", "fake"))]
    (tmp_path / "CFAD/data").mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "CFAD/data/test-00000-of-00001.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([{"utterance_id": "X_real_a", "label": 0}]),
                        tmp_path / "CFAD/data/labels.parquet")
    prepare(tmp_path, "--labels", "0=bonafide", "1=spoof", table="CFAD")
    assert rows(tmp_path, "eval/utt2lab") == {"X_real_a": "bonafide", "X_fake_a": "spoof"}


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"reading parquet needs pyarrow: pip install 'wedefense\[parquet\]'"):
        prepare(tmp_path, table="x.parquet")


def test_spans_become_files(tmp_path):
    whole = sound(tmp_path / "long.wav", 4.0)
    (tmp_path / "labels.csv").write_text("path,label,split,start,end\nlong.wav,real,train,0,1.5\n"
                                         "long.wav,fake,train,1.5,\n")
    prepare(tmp_path)
    assert rows(tmp_path, "train/utt2lab") == {"long_0-1500": "bonafide", "long_1500-4000": "spoof"}
    samples, rate = soundfile.read(rows(tmp_path, "train/wav.scp")["long_1500-4000"])
    assert np.array_equal(samples, soundfile.read(whole)[0][12000:]) and rate == RATE


def test_cutting_spans_is_seen_to_go_on_and_what_is_not_cut_is_not(tmp_path, monkeypatch, capsys):
    sound(tmp_path / "a.wav", 4.0), sound(tmp_path / "b.wav", 4.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    (tmp_path / "labels.csv").write_text("path,label,split\na.wav,real,train\nb.wav,fake,train\n")
    prepare(tmp_path)
    assert "cutting spans" not in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("path,label,split,start,end\na.wav,real,train,0,1.5\na.wav,fake,train,1.5,\n")
    prepare(tmp_path)
    assert "\rcutting spans:   0%" in capsys.readouterr().err


def test_problems_of_all_sets_are_told_at_once_and_sound_sets_are_written(tmp_path):
    lines = ["path,label,split"]
    for split in ("train", "dev", "eval"):
        for name, label in (("a", "real"), ("b", "fake"), ("c", "fake")):
            sound(tmp_path / split / f"{name}.wav")
            lines.append(f"{split}/{name}.wav,{label},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "train/c.wav").write_bytes(b"no audio"), (tmp_path / "eval/a.wav").write_bytes(b"none either")
    with pytest.raises(InputError, match=r"(?s)data/train: 1 .*/train/problems.txt.*\n.*data/eval: 1 .*/eval/problems"):
        prepare(tmp_path)
    assert len(rows(tmp_path, "dev/utt2lab")) == 3
    assert not (tmp_path / "data/train/utt2lab").exists() and not (tmp_path / "data/eval/utt2lab").exists()
    prepare(tmp_path, "--allow_problems")
    assert len(rows(tmp_path, "train/utt2lab")) == len(rows(tmp_path, "eval/utt2lab")) == 2


HEADER = "path,label,split\n"
TWO = "a.wav,real,train\nb.wav,fake,train\n"


@pytest.mark.parametrize("text, options, match", [
    ("path,label,label\na.wav,real,x\n", [], r"labels.csv:1: the header line names label twice"),
    ("path,split\na.wav,train\n", [], r"labels.csv:2: no column is the label .*it has path, split. Say --columns"),
    ("path,verdict\na.wav,real\n", ["--columns", "label=verdct"], r"no such column, did you mean 'verdict'"),
    ("path,lang,language,label\na.wav,x,y,real\n", ["--columns", "language=lng"], "no such column"),
    ("path,label,model,system\na.wav,real,x,y\n", [], r"attack may be the column model or system; say --columns"),
    (HEADER + "a.wav,1,train\nb.wav,0,train\n", [],
     r"labels.csv:2: column 'label': .*--labels 1=bonafide .*mean nothing: '1' in 1 row, '0' in 1 row\)$"),
    (HEADER + "a.wav,AI voice,train\nb.wav,AI voice,train\n,real,train\n", [],
     r"unknown label 'AI voice' .*--labels 'AI voice=spoof' \(labels that mean nothing: 'AI voice' in 2 rows\) "
     r"\(1 other row: .*labels.csv:4: column 'path': no file is named\)$"),
    (HEADER + "a.wav,rael,train\n", [], r"labels.csv:2: column 'label': unknown label 'rael', did you mean 'real'"),
    (HEADER + "a.wav,,train\n", [], r"labels.csv:2: column 'label': no label"),
    (HEADER + "../a.wav,real,train\n", [], r"labels.csv:2: column 'path': ../a.wav leads out of .*--audio DIR"),
    (HEADER + "/etc/passwd,real,train\n", [], r"labels.csv:2: column 'path': /etc/passwd leads out of"),
    (HEADER + ",real,train\n", [], r"labels.csv:2: column 'path': no file is named"),
    (HEADER + "a.wav,real,../x\n", [], r"labels.csv:2: column 'split': '../x' cannot be the name of a set"),
    (HEADER + "a.wav,real\n", [], r"labels.csv:2: 2 columns where the header has 3 \(path, label, split\)"),
    (HEADER + 'a.wav,"real,train\n', [], r"labels.csv:2: .*is a quote left open"),
    ("path\tlabel\na.wav\treal\n", [], r"labels.csv:1: one column 'path\tlabel'"),
    (HEADER + "a.wav,real,train\nb.wav,fake,\n", [], r"1 rows have no split, first b"),
    (HEADER + "a.wav,real,train\nc.wav,fake,train\n", [], r"1 recording more than once: a = c with"),
    (HEADER + TWO + "text.wav,fake,train\n", [], r"1 x unusable audio: text .*not readable"),
    (HEADER + TWO + "film.m4a,fake,train\n", [],
     r"1 x unusable audio: film .*film.m4a: lists hold no \.m4a files; convert it, as in: ffmpeg -i a.m4a a.flac"),
    (HEADER + TWO + "gone.wav,fake,train\n", [], r"1 x missing file: gone"),
    (HEADER + TWO + "a.wav,real,train\n", [], r"1 recording more than once: a in 2 rows; --dup"),
    (HEADER + TWO + "a.wav,real,train\n", ["--duplicates", "ignore"], r"1 x duplicate key: a"),
    ("a.wav,real\nb.wav,fake\n", [], r"labels.csv:2: no column is the path .*'a.wav' is no name of a column; the"),
    ("path|label\na.wav|real\n", [], r"labels.csv:1: one column 'path\|label'; a .csv file separates columns by ','"),
    (HEADER + TWO, ["--by", "speaker"], r"--by speaker, but no column is the speaker"),
    (HEADER + TWO, ["--split", "8:1:1"], r"the set '\w+' would have no"),
    (HEADER + TWO, ["--labels", "x=real"], r"--labels x=real: a label is one of the classes"),
    ("path,label,start,end\na.wav,real,0,9\n", [], r"labels.csv:2: a.wav lasts 0.50 s; a span from 0 to 9 s"),
    ("path,label,start,end\na.wav,real,x,9\n", [], r"labels.csv:2: start and end are in seconds, got 'x' and '9'"),
    ("", [], r"labels.csv:1: the header line has no names"),
    (HEADER, [], r"labels.csv: the table has no row"),
])
def test_what_cannot_be_used_is_named(tmp_path, text, options, match):
    sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav")
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    for name in ("text.wav", "film.m4a"):
        (tmp_path / name).write_text(f"{name} is no audio")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        prepare(tmp_path, *options)
    assert not list(tmp_path.glob("data/*/utt2lab"))


@pytest.mark.parametrize("line, match", [
    ('{"path": "a.wav", "label": "real", "label": "fake"}', "labels.jsonl:1: names label twice"),
    ('{"path": "a.wav", ', "labels.jsonl:1: column 19: "), ('["a.wav"]', "labels.jsonl:1: expected an object")])
def test_json_lines_that_cannot_be_used(tmp_path, line, match):
    (tmp_path / "labels.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=match):
        prepare(tmp_path, table="labels.jsonl")


def test_a_table_as_a_spreadsheet_on_windows_saves_it(tmp_path):
    sound(tmp_path / "my clips/a.wav"), sound(tmp_path / "my clips/b.wav")
    (tmp_path / "labels.csv").write_bytes("\ufeffpath;label;split\r\nmy clips\\a.wav;REAL;train\r\n"
                                          '"my clips\\b";Fake;train\r\n'.encode())
    prepare(tmp_path)
    assert rows(tmp_path, "train/utt2lab") == {"my_clips/a": "bonafide", "my_clips/b": "spoof"}
    assert rows(tmp_path, "train/wav.scp")["my_clips/b"] == str(tmp_path / "my clips/b.wav")


def test_a_table_of_an_earlier_call_does_not_stay_beside_the_new_ones(folder):
    prepare(folder, "--columns", "tongue=Lang")
    shutil.copy(folder / "data/train/utt2spk", folder / "data/train/utt2room")  # somebody's own
    assert (folder / "data/train/utt2tongue").exists()
    prepare(folder, "--seed", "5")
    assert not list((folder / "data").glob("*/utt2tongue"))
    assert (folder / "data/train/utt2room").exists() and (folder / "data/train/utt2language").exists()


def test_duplicates_may_be_dropped_or_kept(tmp_path):
    sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav")
    (tmp_path / "c.wav").write_bytes((tmp_path / "b.wav").read_bytes())
    (tmp_path / "labels.csv").write_text(HEADER + TWO + "c.wav,fake,train\n")
    prepare(tmp_path, "--duplicates", "drop")
    assert set(rows(tmp_path, "train/utt2lab")) == {"a", "b"}
    prepare(tmp_path, "--duplicates", "ignore")
    assert set(rows(tmp_path, "train/utt2lab")) == {"a", "b", "c"}


def test_a_column_without_a_name_is_not_named(tmp_path, capsys):
    """As data frames are written, with numbers of rows."""
    sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav")
    (tmp_path / "labels.csv").write_text(",path,label,split,mood\n0,a.wav,real,train,x\n1,b.wav,fake,train,y\n")
    prepare(tmp_path)
    assert "nothing is made of mood;" in capsys.readouterr().err


def test_a_file_of_several_rows_is_found_in_all_sets(tmp_path):
    """It had been trained on and tested with, under two labels, and nobody said so."""
    sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav"), sound(tmp_path / "c.wav"), sound(tmp_path / "d.wav")
    table = HEADER + TWO + "c.wav,real,test\nd.wav,fake,test\n"
    (tmp_path / "labels.csv").write_text(table + "a.wav,real,test\nb.wav,real,test\n")
    with pytest.raises(InputError, match="2 recordings more than once: a in 2 rows, b in 2 rows with different lab"):
        prepare(tmp_path)
    with pytest.raises(InputError, match="1 recording of more than one label: b in 2 rows .*; correct the table"):
        prepare(tmp_path, "--duplicates", "drop")
    (tmp_path / "labels.csv").write_text(table + "a.wav,real,test\nb.wav,fake,train\n")
    prepare(tmp_path, "--duplicates", "drop")
    assert set(rows(tmp_path, "train/utt2lab")) == {"a", "b"} and set(rows(tmp_path, "eval/utt2lab")) == {"c", "d"}


def test_a_recording_of_two_labels_is_not_dropped_but_named(tmp_path):
    sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav")
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    (tmp_path / "labels.csv").write_text(HEADER + TWO + "c.wav,fake,train\n")
    with pytest.raises(InputError, match="1 recording of more than one label: a = c with different labels; correct"):
        prepare(tmp_path, "--duplicates", "drop")


def test_a_set_of_an_earlier_call_is_not_left_beside_what_may_hold_it_now(folder, capsys):
    prepare(folder)
    header, *lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([f"{header},split", *(f"{line},train" for line in lines)]) + "\n")
    with pytest.raises(InputError, match="data/dev: is of an earlier call, and what it holds may be in train now"):
        prepare(folder)
    for name in ("dev", "eval"):
        shutil.rmtree(folder / "data" / name)
    prepare(folder)
    assert "no set is dev and none is eval; --split 8:1:1 makes sets" in capsys.readouterr().err


def test_numbers_are_labels_once_it_is_said_which(tmp_path):
    sound(tmp_path / "a.wav"), sound(tmp_path / "b.wav")
    (tmp_path / "labels.csv").write_text("path,target,split\na.wav,1,train\nb.wav,0,train\n")
    prepare(tmp_path, "--labels", "1=spoof", "0=bonafide", "--split", "1:0:0", "--columns",
            "codec=split")
    assert rows(tmp_path, "train/utt2lab") == {"a": "spoof", "b": "bonafide"}
    assert rows(tmp_path, "train/utt2codec") == {"a": "train", "b": "train"}
