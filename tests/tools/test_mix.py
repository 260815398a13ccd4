"""Several data folders as one; files that are held out stay out."""

import json

import numpy as np
import pytest
import soundfile

from tools.prepare.mix import main
from wedefense.bin.make_list import main as make_list
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table, write_table


def data_folder(folder, name, count=3, **more):
    wavs = {}
    for number in range(count):
        path = folder / f"audio/{name}{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng([len(name), number, ord(name[0])]).standard_normal(800), 8000)
        wavs[f"u{number}"] = str(path)
    write_table(folder / name / "wav.scp", wavs)
    write_table(folder / name / "utt2lab", {key: "spoof" if key == "u0" else "bonafide" for key in wavs})
    for table, value in more.items():
        write_table(folder / name / table, dict.fromkeys(wavs, value))
    return folder / name


@pytest.fixture
def folders(tmp_path):
    return (data_folder(tmp_path, "one", utt2attack="A01", utt2dur="0.1"),
            data_folder(tmp_path, "other", 2, utt2dur="0.1"), data_folder(tmp_path, "dev"))


def mix(folder, *words):
    return main(["--out", str(folder / "mix"), "--num_workers", "1", *map(str, words)])


def test_tables_of_all_parts(tmp_path, folders):
    one, other, dev = folders
    mix(tmp_path, f"a={one}", f"b={other}", "--held_out", dev)
    corpora = read_table(tmp_path / "mix/utt2corpus")
    assert list(corpora.values()) == ["a"] * 3 + ["b"] * 2 and "a/u0" in corpora and "b/u1" in corpora
    assert read_table(tmp_path / "mix/utt2lab")["b/u0"] == "spoof"
    assert read_table(tmp_path / "mix/utt2attack") == {"a/u0": "A01", "a/u1": "A01", "a/u2": "A01", "b/u0": "-",
                                                       "b/u1": "-"}
    assert read_table(tmp_path / "mix/wav.scp")["b/u1"].endswith("audio/other1.wav")
    before = (tmp_path / "mix/utt2lab").stat().st_mtime_ns
    mix(tmp_path, f"a={one}", f"b={other}", "--held_out", dev)
    assert (tmp_path / "mix/utt2lab").stat().st_mtime_ns == before


def test_seconds_are_of_all_utterances_or_of_none(tmp_path, folders):
    one, other, dev = folders
    mix(tmp_path, f"a={one}", f"b={other}")
    assert set(read_table(tmp_path / "mix/utt2dur").values()) == {"0.1"}
    mix(tmp_path, f"a={one}", f"b={dev}")
    assert not (tmp_path / "mix/utt2dur").exists()


def test_where_utterances_are_fake_is_of_all_parts_or_of_none(tmp_path, folders, capsys):
    one, other, dev = folders
    for folder, keys in ((one, ("u0", "u1", "u2")), (other, ("u0", "u1"))):
        (folder / "segments").write_text("".join(
            "u0 0 0.04 bonafide\nu0 0.04 0.1 spoof\n" if key == "u0" else f"{key} 0 0.1 bonafide\n" for key in keys))
    (tmp_path / "audio/other1.wav").write_bytes((tmp_path / "audio/one2.wav").read_bytes())
    mix(tmp_path, f"a={one}", f"b={other}", "--duplicates", "drop")
    written = (tmp_path / "mix/segments").read_text()
    assert written == ("a/u0 0.000000 0.040000 bonafide\na/u0 0.040000 0.100000 spoof\n"
                       "a/u1 0.000000 0.100000 bonafide\na/u2 0.000000 0.100000 bonafide\n"
                       "b/u0 0.000000 0.040000 bonafide\nb/u0 0.040000 0.100000 spoof\n")
    assert make_list(["--data_dir", str(tmp_path / "mix"), "--data_type", "raw", "--num_workers", "1"]) == 0
    entries = [json.loads(line) for line in (tmp_path / "mix/raw.list").read_text().splitlines()]
    assert next(e for e in entries if e["key"] == "b/u0")["spans"] == [[0, 0.04, "bonafide"], [0.04, 0.1, "spoof"]]
    before = (tmp_path / "mix/segments").stat().st_mtime_ns
    mix(tmp_path, f"a={one}", f"b={other}", "--duplicates", "drop")
    assert (tmp_path / "mix/segments").stat().st_mtime_ns == before
    mix(tmp_path, f"a={one}", f"b={dev}")
    assert not (tmp_path / "mix/segments").exists()
    assert "does not say where utterances are fake, which a does: " in capsys.readouterr().err


def test_a_table_of_an_earlier_mixture_does_not_stay_beside_the_new_ones(tmp_path, folders):
    one, other, dev = folders
    mix(tmp_path, f"a={one}", f"b={other}")
    write_table(tmp_path / "mix/utt2mine", {"a/u0": "x"})
    mix(tmp_path, f"a={other}", f"b={dev}")  # whose keys are among those of before
    assert sorted(path.name for path in (tmp_path / "mix").glob("utt2*")) == ["utt2corpus", "utt2lab", "utt2mine"]


def test_a_file_that_is_held_out_too_stops_the_mixture(tmp_path, folders, capsys):
    one, other, dev = folders
    copied, linked = tmp_path / "copy.wav", tmp_path / "link.wav"
    copied.write_bytes((tmp_path / "audio/one1.wav").read_bytes())
    linked.symlink_to(tmp_path / "audio/other0.wav")
    write_table(dev / "wav.scp", {"x": str(copied), "y": str(linked), "u2": str(tmp_path / "audio/dev2.wav")})
    with pytest.raises(InputError, match=r"2 files of the mixture are held out too: a/u1 = .*dev: x, b/u0 = .*dev: y"):
        mix(tmp_path, f"a={one}", f"b={other}", "--held_out", dev)
    assert not (tmp_path / "mix").exists()
    mix(tmp_path, f"a={one}", f"b={other}", "--held_out", dev, "--leaks", "drop")
    assert list(read_table(tmp_path / "mix/utt2lab")) == ["a/u0", "a/u2", "b/u1"]
    mix(tmp_path, f"a={one}", f"b={other}", "--held_out", dev, "--leaks", "ignore")
    assert len(read_table(tmp_path / "mix/utt2lab")) == 5


def test_a_recording_that_two_parts_have_is_told_dropped_or_stops(tmp_path, folders, capsys):
    one, other, dev = folders
    (tmp_path / "audio/other1.wav").write_bytes((tmp_path / "audio/one2.wav").read_bytes())
    mix(tmp_path, f"a={one}", f"b={other}")  # not looked for
    assert "more than once" not in capsys.readouterr().err
    mix(tmp_path, f"a={one}", f"b={other}", "--held_out", dev)
    assert "1 recordings are in the mixture more than once: a/u2 = b/u1; --duplicates" in capsys.readouterr().err
    assert len(read_table(tmp_path / "mix/utt2lab")) == 5
    with pytest.raises(InputError, match="are in the mixture more than once: a/u2 = b/u1. --duplicates drop"):
        mix(tmp_path, f"a={one}", f"b={other}", "--duplicates", "stop")
    mix(tmp_path, f"a={one}", f"b={other}", "--duplicates", "drop")
    assert list(read_table(tmp_path / "mix/wav.scp")) == ["a/u0", "a/u1", "a/u2", "b/u0"]
    (tmp_path / "audio/other1.wav").write_bytes((tmp_path / "audio/one0.wav").read_bytes())
    with pytest.raises(InputError, match=r"1 recordings .* more than one label: a/u0 \(spoof\) = b/u1 \(bonafide\)"):
        mix(tmp_path, f"a={one}", f"b={other}", "--duplicates", "drop")


def test_parts_that_cannot_be_mixed(tmp_path, folders, capsys):
    one, _, _ = folders
    with pytest.raises(InputError, match="nowhere: no wav.scp and no utt2lab there; prepare this set first"):
        mix(tmp_path, f"a={one}", f"b={tmp_path}/nowhere")
    with pytest.raises(InputError, match="two parts have one name"):
        mix(tmp_path, f"a={one}", f"a={one}")
    with pytest.raises(SystemExit):
        mix(tmp_path, str(one))
    assert "expected NAME=DIR" in capsys.readouterr().err
