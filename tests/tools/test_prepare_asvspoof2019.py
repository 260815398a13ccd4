"""Stage 1 for ASVspoof 2019 LA, on a corpus of the official layout made here."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.tools.readers import reader
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table

PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


@pytest.fixture(scope="module")
def tool():
    return reader("asvspoof2019")


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "corpus" / "LA"
    (root / "ASVspoof2019_LA_cm_protocols").mkdir(parents=True)
    for name in PROTOCOLS:
        audio = root / f"ASVspoof2019_LA_{name}" / "flac"
        audio.mkdir(parents=True)
        lines = []
        for i in range(4):
            key = f"LA_{name[0].upper()}_{i:07d}"
            soundfile.write(audio / f"{key}.flac", np.zeros(8000 * (i + 1)), 16000)
            lines.append(f"LA_{i:04d} {key} - {'-' if i == 0 else f'A0{i}'} {'bonafide' if i == 0 else 'spoof'}")
        protocol_path(tmp_path, name).write_text("\n".join(lines) + "\n")
    return tmp_path / "corpus"


def protocol_path(tmp_path, name):
    folder = tmp_path / "corpus" / "LA" / "ASVspoof2019_LA_cm_protocols"
    return folder / f"ASVspoof2019.LA.cm.{PROTOCOLS[name]}.txt"


def run(tool, corpus, out, *options):
    return tool(["--corpus", str(corpus), "--out", str(out), "--num_workers", "1", *options])


def test_tables(tool, corpus, tmp_path, capsys):
    assert run(tool, corpus, tmp_path / "data") == 0
    for name in PROTOCOLS:
        folder = tmp_path / "data" / name
        keys = [f"LA_{name[0].upper()}_{i:07d}" for i in range(4)]
        assert read_table(folder / "utt2lab") == dict(zip(keys, ["bonafide", "spoof", "spoof", "spoof"]))
        assert read_table(folder / "utt2attack") == dict(zip(keys, ["-", "A01", "A02", "A03"]))
        assert read_table(folder / "utt2spk") == {key: f"LA_{i:04d}" for i, key in enumerate(keys)}
        assert {key: float(value) for key, value in read_table(folder / "utt2dur").items()} == {
            key: 0.5 * (i + 1) for i, key in enumerate(keys)}
        assert all(Path(path).is_file() and Path(path).stem == key
                   for key, path in read_table(folder / "wav.scp").items())
    output = capsys.readouterr().err
    assert "bonafide 1 (0.00 h), spoof 3" in output
    assert "train: utterances 4 of 25,380; a subset is fine" in output


def test_the_la_folder_itself_may_be_given_and_a_second_run_touches_nothing(tool, corpus, tmp_path):
    run(tool, corpus, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    run(tool, corpus / "LA", tmp_path / "data")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()}


@pytest.mark.parametrize("line, match", [
    ("LA_0001 LA_T_0000009 - bonafide", r"line 5: 4 columns, expected 5 \(speaker key - attack label\)"),
    ("LA_0001 LA_T_0000009 - - genuine", r"line 5: unknown label 'genuine' \(known: bonafide, spoof\)"),
])
def test_malformed_protocol_lines_are_named(tool, corpus, tmp_path, line, match):
    path = protocol_path(tmp_path, "train")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"ASVspoof2019.LA.cm.train.trn.txt: 1 malformed lines; " + match):
        run(tool, corpus, tmp_path / "data")


def test_missing_files_and_duplicates_stop_unless_allowed(tool, corpus, tmp_path):
    (corpus / "LA" / "ASVspoof2019_LA_train" / "flac" / "LA_T_0000002.flac").unlink()
    path = protocol_path(tmp_path, "train")
    path.write_text(path.read_text() + path.read_text().splitlines()[3] + "\n")
    with pytest.raises(InputError, match="1 x duplicate key: LA_T_0000003 .2 lines.; 1 x missing file: LA_T_0000002"):
        run(tool, corpus, tmp_path / "data")
    assert not (tmp_path / "data" / "train" / "utt2lab").exists()
    assert run(tool, corpus, tmp_path / "data", "--allow_problems") == 0
    assert list(read_table(tmp_path / "data" / "train" / "wav.scp")) == ["LA_T_0000000", "LA_T_0000001"]
    assert len((tmp_path / "data" / "train" / "problems.txt").read_text().splitlines()) == 2


def test_a_wrong_corpus_folder(tool, tmp_path):
    with pytest.raises(InputError, match="no such folder; give the corpus folder with --corpus"):
        run(tool, tmp_path / "nowhere", tmp_path / "data")
    with pytest.raises(InputError, match="ASVspoof2019.LA.cm.train.trn.txt: no such file"):
        run(tool, tmp_path, tmp_path / "data")
