"""Stage 1 of every corpus, on a corpus of the official layout made here."""

from collections import Counter

import pytest

from tests.recipes.layouts import LAYOUTS
from tests.tools.readers import reader
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table


@pytest.fixture
def prepared(request, tmp_path):
    """(corpus, data) of the corpus that the test names."""
    LAYOUTS[request.param](tmp_path / "corpus")
    assert prepare(request.param, tmp_path) == 0
    return tmp_path / "corpus", tmp_path / "data"


def prepare(name, folder, *options):
    return reader(name)(["--corpus", str(folder / "corpus"), "--out", str(folder / "data"), "--num_workers", "1",
                            *options])


def corpus(*names):
    return pytest.mark.parametrize("prepared", names, indirect=True)


def rows(data, name):
    return read_table(data / name)


@corpus("asvspoof5")
def test_asvspoof5(prepared):
    _, data = prepared
    assert Counter(rows(data, "eval/utt2lab").values()) == {"bonafide": 4, "spoof": 4}
    assert Counter(rows(data, "dev/utt2attack").values()) == {"-": 4, "A05": 4}
    assert Counter(rows(data, "eval/utt2codec").values()) == {"-": 4, "C05": 4}
    assert rows(data, "train/utt2spk")["T_0000000001"] == "T_4851"
    assert rows(data, "train/utt2gender")["T_0000000001"] == "F"
    assert rows(data, "eval/wav.scp")["E_0000000000"].endswith("flac_E_eval/E_0000000000.flac")


@corpus("asvspoof2021")
def test_asvspoof2021_has_only_the_eval_subset(prepared, capsys):
    root, data = prepared
    assert rows(data, "asvspoof2021_la/utt2lab") == {
        "LA_E_9332881": "spoof", "LA_E_6866159": "bonafide", "LA_E_5464494": "spoof", "LA_E_5464495": "bonafide"}
    assert rows(data, "asvspoof2021_la/utt2attack")["LA_E_6866159"] == "-"
    assert rows(data, "asvspoof2021_la/utt2transmission")["LA_E_9332881"] == "ita_tx"
    assert rows(data, "asvspoof2021_df/utt2lab").keys() == {"DF_E_2000013", "DF_E_2000024", "DF_E_2000026",
                                                            "DF_E_2000027"}
    assert rows(data, "asvspoof2021_df/utt2attack")["DF_E_2000013"] == "Task1-team20"
    assert rows(data, "asvspoof2021_df/utt2codec")["DF_E_2000027"] == "high_ogg"
    assert rows(data, "asvspoof2021_df/utt2vocoder")["DF_E_2000024"] == "traditional_vocoder"
    prepare("asvspoof2021", root.parent)
    assert "asvspoof2021_df: utterances 4 of 533,928" in capsys.readouterr().err


def test_asvspoof2021_asks_for_the_full_keys(tmp_path):
    LAYOUTS["asvspoof2021"](tmp_path / "corpus")
    keys = tmp_path / "corpus/keys/LA/CM/trial_metadata.txt"
    keys.write_text(keys.read_text().replace("notrim eval", "notrim progress"))
    with pytest.raises(InputError, match="no line of subset 'eval'"):
        prepare("asvspoof2021", tmp_path)


@corpus("in_the_wild")
def test_in_the_wild_writes_bona_fide_as_one_word(prepared):
    root, data = prepared
    assert rows(data, "in_the_wild/utt2lab") == {"0": "spoof", "1": "spoof", "2": "bonafide", "3": "bonafide"}
    assert rows(data, "in_the_wild/utt2spk")["2"] == "Barack_Obama"
    (root / "release_in_the_wild/meta.csv").write_text("0.wav,Alec Guinness,spoof\n")
    with pytest.raises(InputError, match="the first line must be 'file,speaker,label'"):
        prepare("in_the_wild", root.parent)


@corpus("spoofceleb")
def test_spoofceleb_takes_labels_from_attacks(prepared):
    _, data = prepared
    key = "a07/id10318/YYsxcZ5sadc-00002-001"
    assert rows(data, "dev/utt2lab")[key] == "spoof" and rows(data, "dev/utt2attack")[key] == "a07"
    assert rows(data, "dev/wav.scp")[key].endswith(f"flac/development/{key}.flac")
    assert Counter(rows(data, "eval/utt2lab").values()) == {"bonafide": 4, "spoof": 4}
    assert Counter(rows(data, "train/utt2attack").values()) == {"-": 4, "a07": 4}


@corpus("voxceleb")
def test_voxceleb_sets_and_trials(prepared):
    root, data = prepared
    assert len(rows(data, "vox1/utt2lab")) == 16 and len(rows(data, "vox1_dev/utt2lab")) == 8
    assert set(rows(data, "vox2_dev/utt2spk").values()) == {"id00012", "id00015", "id00016", "id00018"}
    first, *_ = (data / "trials/vox1_o.txt").read_text().splitlines()
    assert first == "1 id10270/5r0dWxy17C1/00001 id10270/5r0dWxy17C0/00002"
    assert (data / "trials/vox1_o_original.txt").read_text() == (data / "trials/vox1_e.txt").read_text()
    quality = [line.split() for line in (data / "trials/quality.txt").read_text().splitlines()]
    keys = rows(data, "vox2_test/utt2spk")
    assert all((keys[a] == keys[b]) == (label == "1") and a != b for label, a, b in quality)
    assert {label for label, *_ in quality} == {"0", "1"} and len(set(map(tuple, quality))) == len(quality)
    before = (data / "trials/quality.txt").read_text()
    prepare("voxceleb", root.parent)
    assert (data / "trials/quality.txt").read_text() == before
    (root / "veri_test2.txt").write_text("1 id10270/x/00001.wav\n")
    with pytest.raises(InputError, match="veri_test2.txt:1: expected `1|0 ENROL TEST`"):
        prepare("voxceleb", root.parent)


def test_voxceleb_says_what_to_do_with_m4a(tmp_path):
    LAYOUTS["voxceleb"](tmp_path / "corpus")
    for path in (tmp_path / "corpus/vox2_dev").rglob("*.wav"):
        path.rename(path.with_suffix(".m4a"))
    with pytest.raises(InputError, match="m4a files have to be converted: bash tools/prepare/m4a_to_flac.sh"):
        prepare("voxceleb", tmp_path)


@corpus("iemocap")
def test_iemocap_leaves_one_session_out(prepared):
    _, data = prepared
    for fold in range(1, 6):
        train, dev, test = (rows(data, f"fold{fold}/{name}/utt2lab") for name in ("train", "dev", "eval"))
        assert Counter(test.values()) == {"ang": 5, "hap": 10, "neu": 5, "sad": 5}  # exc counts as hap, fru is left out
        assert {key[:5] for key in test} == {f"Ses0{fold}"}
        assert f"Ses0{fold}" not in {key[:5] for key in {**train, **dev}}
        assert Counter(dev.values()) == {"ang": 4, "hap": 8, "neu": 4, "sad": 4} and not train.keys() & dev.keys()
        assert len(train) + len(dev) == 100
    assert set(rows(data, "fold2/eval/utt2spk").values()) == {"Ses02F", "Ses02M"}


@corpus("musan", "rirs_noises")
def test_noises_and_rooms_serve_augmentation(prepared):
    from wedefense.data.augment.recordings import open_recordings

    _, data = prepared
    (table,) = data.glob("*/wav.scp")
    recordings = open_recordings(table, "noise_data")
    assert len(recordings) == 3
    if table.parent.name == "musan":
        assert sorted(map(recordings.kind, range(3))) == ["music", "noise", "speech"]


@pytest.mark.parametrize("name, message", [
    ("asvspoof2021", "nothing of ASVspoof 2021 LA and DF is there, which has keys/LA/CM/trial_metadata.txt"),
    ("in_the_wild", "meta.csv: no such file"),
    ("spoofceleb", "train.csv: no such file"), ("voxceleb", "VoxCeleb1 test is needed"),
    ("iemocap", r"no Ses\*.txt there"), ("musan", "no folder music, noise, speech"),
    ("rirs_noises", "no folder smallroom"), ("asvspoof5", "ASVspoof5.train.tsv: no such file")])
def test_a_wrong_corpus_folder_is_named(tmp_path, name, message):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(InputError, match=message):
        prepare(name, tmp_path)
