"""Stage 1 for PartialSpoof, on a corpus of the official layout made here."""


import numpy as np
import pytest
import soundfile

from tests.tools.readers import reader
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table


@pytest.fixture(scope="module")
def tool():
    return reader("partialspoof")


def protocol_path(corpus, name):
    return corpus / "protocols" / "PartialSpoof_LA_cm_protocols" / f"PartialSpoof.LA.cm.{name}.trl.txt"


@pytest.fixture
def corpus(tmp_path):
    """Lines as in the release: bona fide files keep their ASVspoof names, all the others are CON."""
    root = tmp_path / "corpus"
    for name in ("train", "dev", "eval"):
        letter = name[0].upper()
        (root / name / "con_wav").mkdir(parents=True)
        for key in (f"LA_{letter}_1138215", f"CON_{letter}_0000029"):
            soundfile.write(root / name / "con_wav" / f"{key}.wav", np.zeros(12000), 16000)
        protocol_path(root, name).parent.mkdir(parents=True, exist_ok=True)
        protocol_path(root, name).write_text(f"LA_0079 CON_{letter}_0000029 - CON spoof\n"
                                             f"LA_0098 LA_{letter}_1138215 - - bonafide\n")
    return root


def run(tool, corpus, out, *options):
    return tool(["--corpus", str(corpus), "--out", str(out), "--num_workers", "1", *options])


def test_tables(tool, corpus, tmp_path, capsys):
    assert run(tool, corpus, tmp_path / "data") == 0
    folder = tmp_path / "data" / "eval"
    assert read_table(folder / "utt2lab") == {"CON_E_0000029": "spoof", "LA_E_1138215": "bonafide"}
    assert read_table(folder / "utt2attack") == {"CON_E_0000029": "CON", "LA_E_1138215": "-"}
    assert read_table(folder / "utt2spk") == {"CON_E_0000029": "LA_0079", "LA_E_1138215": "LA_0098"}
    assert {float(value) for value in read_table(folder / "utt2dur").values()} == {0.75}
    assert read_table(folder / "wav.scp")["CON_E_0000029"] == str(corpus / "eval" / "con_wav" / "CON_E_0000029.wav")
    warnings = capsys.readouterr().err
    assert all(f"utterances 2 of {count}" in warnings for count in ("25,380", "24,844", "71,237"))


def test_some_sets_of_an_unpacked_archive(tool, corpus, tmp_path, capsys):
    (tmp_path / "release").mkdir()
    corpus.rename(tmp_path / "release" / "database")
    protocol_path(tmp_path / "release" / "database", "eval").unlink()
    assert run(tool, tmp_path / "release", tmp_path / "data", "--sets", "train", "dev", "--subset") == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["dev", "train"]
    assert "25,380" not in capsys.readouterr().err
    with pytest.raises(InputError, match="PartialSpoof.LA.cm.eval.trl.txt: no such file"):
        run(tool, tmp_path / "release", tmp_path / "data")


@pytest.mark.parametrize("line, match", [
    ("LA_0079 CON_T_0000030 spoof", r"line 3: 3 columns, expected 5 \(speaker key - attack label\)"),
    ("LA_0079 CON_T_0000030 - CON fake", r"line 3: unknown label 'fake' \(known: bonafide, spoof\)"),
])
def test_malformed_lines_are_named(tool, corpus, tmp_path, line, match):
    path = protocol_path(corpus, "train")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match="PartialSpoof.LA.cm.train.trl.txt: 1 malformed lines; " + match):
        run(tool, corpus, tmp_path / "data")


def test_missing_audio_is_named(tool, corpus, tmp_path):
    (corpus / "dev" / "con_wav" / "LA_D_1138215.wav").unlink()
    with pytest.raises(InputError, match="1 x missing file: LA_D_1138215"):
        run(tool, corpus, tmp_path / "data")
    assert not (tmp_path / "data" / "dev" / "utt2lab").exists()
