"""Every row of tools/layouts.yaml reads a tree in the official layout, and says what is missing of it."""

from pathlib import Path

import pytest
import yaml

from tests.recipes.layouts import LAYOUTS as RECIPE_TREES
from tests.tools.corpus_trees import TREES
from tools.prepare.corpus import LAYOUTS, main
from wedefense.data.layouts import read_layouts
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table

ROWS = read_layouts(LAYOUTS)
TABLES = ("utt2lab", "utt2attack", "utt2spk", "utt2language")


def prepare(name, folder, *options):
    return main([name, "--corpus", str(folder / "corpus"), "--out", str(folder / "data"), "--num_workers", "1",
                 *options])


def read(data, name):
    """key -> "label attack speaker language" of a set."""
    tables = [read_table(data / name / t) if (data / name / t).exists() else {} for t in TABLES]
    return {key: " ".join(table.get(key, ".") for table in tables) for key in tables[0]}


def test_each_row_has_a_tree_and_there_are_more_than_thirty():
    assert set(ROWS) == set(TREES) | {"asvspoof2019", "asvspoof2021", "asvspoof5", "partialspoof", "in_the_wild",
                                      "spoofceleb"}
    assert len(ROWS) >= 30 and RECIPE_TREES.keys() >= ROWS.keys() - TREES.keys()
    for row in ROWS.values():
        assert row.title and row.page and row.licence and row.seen, row.name


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_corpus_is_read_from_its_official_layout(tmp_path, name, capsys):
    TREES[name].make(tmp_path / "corpus")
    assert prepare(name, tmp_path) == 0
    assert {made.name: read(tmp_path / "data", made.name) for made in (tmp_path / "data").iterdir()} == TREES[name].read
    for made in (tmp_path / "data").iterdir():
        assert all(Path(path).is_file() for path in read_table(made / "wav.scp").values())


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_empty_folder_is_named_with_the_page(tmp_path, name):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(InputError, match=r"no such file|is to be had from|nothing of"):
        prepare(name, tmp_path)


@pytest.mark.parametrize("name, said", [
    ("cfad", "cfad_seen: bonafide 1 of 14,000, spoof 0 of 28,000"), ("pyara", "pyara: bonafide 1 of 73,583"),
    ("cd_add", "cd_add_ted: bonafide 0 of 899, valle 0 of 452"), ("dfadd", "spoof 1 of 3,000, GradTTS 1 of 600"),
    ("j_spaw", "j_spaw_pa: bonafide 1 of 800, spoof 1 of 6,300"), ("lrlspoof", "utterances 2 of 1,304,455"),
    ("speechfake", "train: utterances 2 of 704,862"), ("voicewukong", "voicewukong_en: spoof 1 of 265,200"),
    ("asvspoof2017", "train: utterances 2 of 3,014"), ("banglafake", "bonafide 2 of 13,796, spoof 2 of 12,796"),
    ("csalt_urdu", "bonafide 2 of 3,398, Spoofed_TTS 1 of 1,698"),
    ("audiospoof", "dev: bonafide 1 of 118, spoof 1 of 472"),
    ("compspoof", "dev: original 1 of 6,939, bonafide_bonafide 0 of 2,784, bonafide_spoof 0 of 8,071"),
    ("timit_tts", "CLEAN 1 of 19,780, AUG 0 of 19,780, DTW 0 of 19,780, DTW_AUG 1 of 19,780")])
def test_published_counts_are_told(tmp_path, name, said):
    TREES[name].make(tmp_path)
    assert said in "; ".join(ROWS[name].complaints(ROWS[name].read(tmp_path)))


def test_a_wrong_count_says_what_is_missing(tmp_path, capsys):
    TREES["librisevoc"].make(tmp_path / "corpus")
    prepare("librisevoc", tmp_path)
    said = capsys.readouterr().err
    assert "librisevoc: bonafide 1 of 13,201, diffwave 0 of 13,201, melgan 0 of 13,201" in said
    assert "wavernn 1 of 13,201; a subset is fine if it is meant" in said
    prepare("librisevoc", tmp_path, "--subset")
    assert "13,201" not in capsys.readouterr().err


def test_sets_that_are_absent_are_named_and_sets_can_be_chosen(tmp_path, capsys):
    TREES["codecfake_alm"].make(tmp_path / "corpus")
    prepare("codecfake_alm", tmp_path)
    said = capsys.readouterr().err
    assert "dev: not there at all" in said and "codecfake_c1: utterances 1 of 26,456" in said
    prepare("codecfake_alm", tmp_path, "--sets", "codecfake_c1")
    assert "not there at all" not in capsys.readouterr().err
    with pytest.raises(InputError, match="Codecfake .* has no set 'codecfake_C1', did you mean 'codecfake_c1'"):
        prepare("codecfake_alm", tmp_path, "--sets", "codecfake_C1")


@pytest.mark.parametrize("name, path, old, new, match", [
    ("decro", "petrichorwq-DECRO-dataset-6fc9884/en_eval.txt", "pwg spoof", "spoof",
     r"en_eval.txt: 1 malformed lines; line 1: 4 columns, expected 5 \(speaker key - attack label\)"),
    ("decro", "petrichorwq-DECRO-dataset-6fc9884/en_eval.txt", "spoof", "fake",
     r"line 1: unknown label 'fake' \(known: bonafide, spoof\)"),
    ("deepfake_eval_2024", "audio-metadata-publish.csv", "Ground Truth", "Truth",
     r"audio-metadata-publish.csv:2: no column 'Ground Truth', did you mean 'Truth'"),
    ("deepfake_eval_2024", "audio-metadata-publish.csv", "Real", "Rael", r"unknown label 'Rael'"),
    ("asvspoof2021_pa", "keys/PA/CM/trial_metadata.txt", "notrim eval", "notrim hidden", r"no line of subset 'eval'"),
    ("diffssd", "train_val_test_splits.csv", ",1,", ",2,", r"unknown label '2' \(known: 0, 1\)"),
])
def test_a_protocol_that_is_not_the_official_one_is_named(tmp_path, name, path, old, new, match):
    TREES[name].make(tmp_path / "corpus")
    protocol = tmp_path / "corpus" / path
    protocol.write_text(protocol.read_text().replace(old, new))
    with pytest.raises(InputError, match=match):
        prepare(name, tmp_path)


def test_the_list_and_an_unknown_name(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(ROWS) and any(line.startswith("decro ") and "CC BY 4.0" in line for line in listed)
    with pytest.raises(InputError, match="no corpus 'dekro', did you mean 'decro'"):
        main(["dekro"])


def test_a_row_of_ones_own(tmp_path):
    TREES["deepvoice"].make(tmp_path / "corpus")
    row = {"title": "Mine", "page": "-", "licence": "-", "seen": "here",
           "labels": {"REAL": "bonafide", "FAKE": "spoof"},
           "sets": {"eval": {"files": "KAGGLE/AUDIO/{label}/*.wav"}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mine": row}))
    prepare("mine", tmp_path, "--layouts", str(tmp_path / "mine.yaml"))
    assert sorted(read_table(tmp_path / "data/eval/utt2lab").values()) == ["bonafide", "spoof"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mine": {**row, "lables": {}}}))
    with pytest.raises(InputError, match="mine.yaml: mine: .*lables"):
        prepare("mine", tmp_path, "--layouts", str(tmp_path / "mine.yaml"))
