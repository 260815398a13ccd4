import re

import numpy as np
import pytest

from wedefense.data.span_checks import SpanRules
from wedefense.data.table_corpus import LABELS
from wedefense.metrics.columns import positions
from wedefense.metrics.detection import detection_metrics
from wedefense.metrics.keys import Trials, doubts, load_trials, read_keys, read_meta, read_scores
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, FORMATS
from wedefense.utils.errors import InputError

SCORES = {"u1": "1.5", "u2": "-2", "u3": "0.25", "u4": "-1e-1"}
KEYS = {"u1": "bonafide", "u2": "spoof", "u3": "bonafide", "u4": "spoof"}


def write(path, table, header="", separator="\t"):
    path.write_text(header + "".join(f"{key}{separator}{value}\n" for key, value in table.items()))
    return path


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "scores.txt", SCORES), write(tmp_path / "keys.txt", KEYS)


@pytest.mark.parametrize("header, separator",
                         [("", " "), ("filename\tcm-score\n", "\t"), ("\ufeffutt score\n\n", "   ")])
def test_forms_of_a_score_file(tmp_path, header, separator):
    names, values = read_scores(write(tmp_path / "s", SCORES, header, separator))
    assert names == list(SCORES) and values.tolist() == [1.5, -2.0, 0.25, -0.1]


def test_header_chooses_the_columns(tmp_path):
    keys = tmp_path / "keys.tsv"
    keys.write_text("spk filename codec cm-label\ns1 u1 C01 genuine\ns2 u2 - Spoof\n")
    names, labels = read_keys(keys)
    assert names == ["u1", "u2"] and labels.tolist() == [True, False]
    assert read_meta(keys, ["u2", "u1"])["codec"] == ["-", "C01"]
    keys.write_text("filename codec quality\nu1 C01 3\n")
    with pytest.raises(InputError, match="names no column cm-label .*filename, codec, quality"):
        read_keys(keys)


@pytest.mark.parametrize("order", [["u1", "u2", "u3", "u4"], ["u3", "u1", "u4", "u2"]])
def test_joined_in_the_order_of_the_keys(tmp_path, order):
    scores = write(tmp_path / "s", {name: SCORES[name] for name in order})
    trials = load_trials(scores, write(tmp_path / "k", KEYS))
    assert trials.names == list(KEYS)
    assert trials.bonafide.tolist() == [1.5, 0.25] and trials.spoof.tolist() == [-2.0, -0.1]


def test_positions():
    names = [f"u{i}" for i in range(500)]
    wanted = [names[i] for i in np.random.default_rng(0).permutation(500)]
    assert [names[i] for i in positions(names, wanted)] == wanted
    assert positions(["a", "b"], ["b", "c"]).tolist() == [1, -1]
    assert positions(["a", "b", "c"], ["c"]).tolist() == [2]


def test_utterances_in_one_file_only(tmp_path, files, caplog):
    scores, keys = files
    write(scores, {name: SCORES[name] for name in ("u1", "u2", "u3")} | {"u9": "3"}, "filename\tcm-score\n")
    with pytest.raises(InputError, match=r"1 utterance of .*keys.txt without a score in .*scores.txt: u4 \(line 4\); "
                                         r"1 utterance of .*scores.txt without a label in .*keys.txt: u9 \(line 5\); "
                                         r"--common evaluates the 3"):
        load_trials(scores, keys, common=False)
    with pytest.raises(InputError) as error:  # for commands without that option
        load_trials(scores, keys)
    assert "--common" not in str(error.value)
    trials = load_trials(scores, keys, common=True)
    assert trials.names == ["u1", "u2", "u3"] and trials.spoof.tolist() == [-2.0]
    assert "u4" in caplog.text and "evaluating the 3 in common" in caplog.text
    write(scores, {"x": "1"})
    with pytest.raises(InputError, match="nothing in common"):
        load_trials(scores, keys, common=True)


@pytest.mark.parametrize("line, message", [
    ("u2 nan", r"scores.txt:3 \(nan\)"),
    ("u2 -inf", r"1 of 3 values of the score NaN or infinite"),
    ("u2 1.O5", r"scores.txt:3: the score '1.O5' is not a number"),
    ("u1 7", r"scores.txt:3: duplicate utterance 'u1', first in .*scores.txt:1"),
    ("u2", r"scores.txt:3: 1 columns where 2 are expected \(NAME SCORE\): 'u2'"),
    ("u2,0.5", r"comma separated"),
    ("u2 0.5 spoof", r"scores.txt:3: 3 columns where 2"),
])
def test_bad_lines_of_scores_are_named(tmp_path, line, message):
    (tmp_path / "scores.txt").write_text(f"u1 1\n\n{line}\nu3 0\n")
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path / "scores.txt")


def test_keys_in_the_place_of_scores(tmp_path):
    with pytest.raises(InputError,
                       match="keys.txt:1: 'bonafide' is a label and no score; were scores and keys exchanged"):
        read_scores(write(tmp_path / "keys.txt", KEYS))


def test_irregular_lines_that_add_up_are_seen(tmp_path):
    (tmp_path / "s").write_text("a 1\nb\nc 3 4\n")
    with pytest.raises(InputError, match="s:2: 1 columns"):
        read_scores(tmp_path / "s")


def test_keys_and_spans_know_the_words_that_stage_1_knows(tmp_path):
    words = {word: meaning for word, meaning in LABELS.items() if " " not in word}
    keys = write(tmp_path / "keys.txt", {f"u{number}": word.upper() for number, word in enumerate(words)})
    assert read_keys(keys)[1].tolist() == [meaning == "bonafide" for meaning in words.values()]
    assert [SpanRules().class_of(word) for word in LABELS] == list(LABELS.values())


@pytest.mark.parametrize("text, message", [
    ("u1 bonafide\nu2 sppof\nu3 fkae\n",
     r"keys.txt:2: unknown label 'sppof' \(and 1 more line\), did you mean 'spoof'"),
    ("u1 spoof\nu2 spoof\n", "none of its 2 utterances is labelled 'bonafide'"),
    ("u1 bonafide\n", "none of its 1 utterances is labelled 'spoof'"),
    ("", "is empty"),
    ("filename\tcm-label\n", "nothing below the header"),
])
def test_bad_keys_are_named(tmp_path, text, message):
    (tmp_path / "keys.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_keys(tmp_path / "keys.txt")
    with pytest.raises(InputError, match="no such file"):
        read_keys(tmp_path / "absent")


def test_meta_follows_the_trials(tmp_path):
    path = write(tmp_path / "utt2attack", {"u2": "A07", "u4": "A08", "u1": "-", "u3": "-"}, separator=" ")
    assert read_meta(path, ["u1", "u2", "u4"]) == {"attack": ["-", "A07", "A08"]}
    write(path, {"u1": "name", "u2": "id"})  # values are no header
    assert read_meta(path, ["u1", "u2"]) == {"attack": ["name", "id"]}
    with pytest.raises(InputError, match="1 of 2 trials are not in this table: u7"):
        read_meta(path, ["u1", "u7"])
    with pytest.raises(InputError, match="2 of 2 trials are not in this table: u7, u8"):
        read_meta(path, ["u7", "u8"])
    write(path, {"clips/u_1": "A07", "clips/u2": "-"})  # of stage 1, where the keys are the table that it read
    assert read_meta(path, ["clips/u 1.mp3", "clips/u2.flac"]) == {"attack": ["A07", "-"]}
    (tmp_path / "labels.csv").write_text("path,attack\nclips/u 1.mp3,A07\nclips/u2.flac,-\n")
    assert read_meta(tmp_path / "labels.csv", ["clips/u_1", "clips/u2"]) == {"attack": ["A07", "-"]}


@pytest.mark.parametrize("scores, expected", [
    ([1, 1, 1, 1], "all 4 scores are 1"),
    ([-3, 4, -2, 3], "polarity looks swapped"),
    ([9, 1, 8, 2], "actDCF 1.0000 is no better .* uncalibrated"),
])
def test_doubts(tmp_path, scores, expected):
    trials = load_trials(write(tmp_path / "s", dict(zip(KEYS, scores))), write(tmp_path / "k", KEYS))
    found = doubts(trials, detection_metrics(trials.bonafide, trials.spoof))
    assert len(found) == 1
    assert re.search(expected, found[0])


def test_chance_is_not_taken_for_turned_scores():
    trials = Trials(list("abcdef"), np.array([-1.0, 0, 9, 1, 2, -5]), np.array([True] * 3 + [False] * 3))
    found = doubts(trials, detection_metrics(trials.bonafide, trials.spoof))
    assert found == ["EER 66.67 % of 3 bona fide and 3 spoof trials may be chance (95 % interval from 34.2 %): there "
                     "is nothing in these scores yet"]


def test_no_doubt_about_good_scores(files):
    trials = load_trials(*files)
    assert doubts(trials, detection_metrics(trials.bonafide, trials.spoof - 5)) == []


def test_what_the_score_command_writes_is_joined_by_stems(tmp_path, caplog):
    """Rows are paths, with blanks and commas in them; keys are stems, or ends of the paths."""
    rows = {"in/a b/u1.wav": 1.5, "in/x, y/u2.flac": -2.0, "in/u3.v2.wav": 0.25, "in/sub/u4.mp3": -0.1}
    keys = write(tmp_path / "keys", {"u1": "bonafide", "u2": "spoof", "u3.v2": "bonafide", "sub/u4": "spoof"})
    tabs = write(tmp_path / "scores", rows, "filename\tcm-score\n")
    commas = tmp_path / "scores.csv"
    commas.write_text("name,llr,posterior\n" + "".join(f'"{name}",{llr},0.5\n' for name, llr in rows.items()))
    with caplog.at_level("INFO", logger="wedefense"):
        for path in (tabs, commas):
            trials = load_trials(path, keys)
            assert trials.names == ["u1", "u2", "u3.v2", "sub/u4"] and trials.scores.tolist() == [1.5, -2, 0.25, -0.1]
    assert "names and keys differ in folders; 4 are known by what both end in" in caplog.text


@pytest.mark.parametrize("rows", [["/in/a b/u 1.wav", "/in/a b/u2.v2.WAV", "/in/u3.mp3", "/in/a b/u4.flac"],
                                  ["u 1", "u2.v2", "u3", "u4"], ["u_1", "u2.v2", "u3", "u4"]])
def test_the_table_of_labels_of_the_files_that_were_scored_is_taken_for_keys(tmp_path, rows):
    """It names files with their suffixes; scores are called by paths, by stems, or by the keys that stage 1 makes."""
    scores = write(tmp_path / "scores", dict(zip(rows, (1.5, -2, 0.25, -0.1))), "filename\tcm-score\n")
    (tmp_path / "labels.csv").write_text("path,label,speaker\nu 1.wav,Real,x\nu2.v2.WAV,FAKE,y\nu3.mp3,real,x\n"
                                         "u4.flac,fake,y\n")
    trials = load_trials(scores, tmp_path / "labels.csv")
    assert trials.scores.tolist() == [1.5, -2, 0.25, -0.1] and trials.is_bonafide.tolist() == [True, False, True, False]


def test_keys_with_any_suffix_of_audio_are_known_by_their_stems(tmp_path):
    kinds = [*AUDIO_SUFFIXES, *FORMATS]
    keys = write(tmp_path / "keys", {f"u{i}.{kind}": ("bonafide", "spoof")[i % 2] for i, kind in enumerate(kinds)})
    scores = write(tmp_path / "scores", {f"u{i}": i for i in range(len(kinds))})
    assert load_trials(scores, keys).scores.tolist() == list(range(len(kinds)))


def test_a_table_as_a_spreadsheet_on_windows_saves_it_is_taken_for_keys(tmp_path):
    """Stage 1 reads it, so that keys are of the same file."""
    scores = write(tmp_path / "scores", {"/in/my clips/u1.wav": 1, "/in/u2.wav": 0}, "filename\tcm-score\n")
    (tmp_path / "labels.csv").write_bytes("\ufeffpath;label;sex\r\nmy clips\\u1.wav;REAL ;m\r\n"
                                          "u2.wav;Fake;f\r\n".encode())
    trials = load_trials(scores, tmp_path / "labels.csv")
    assert trials.scores.tolist() == [1, 0] and trials.is_bonafide.tolist() == [True, False]


def test_a_stem_that_two_keys_have_is_none_of_them(tmp_path):
    scores = write(tmp_path / "scores", {"u1": 1, "u2": 0}, "filename\tcm-score\n")
    keys = write(tmp_path / "keys", {"u1.wav": "bonafide", "u1.flac": "spoof", "u2.wav": "spoof"})
    with pytest.raises(InputError, match="2 utterances of .* without a score"):
        load_trials(scores, keys)


def test_stems_are_known_by_keys_that_have_folders(tmp_path):
    """`wedefense score --names stem`, where stage 1 keeps the folders of a table."""
    scores = write(tmp_path / "scores", {"u1": 1, "u 2": 0}, "filename\tcm-score\n")
    keys = write(tmp_path / "keys", {"clips/real/u1": "bonafide", "clips/fake/u_2": "spoof", "clips/fake/u3": "spoof"})
    assert load_trials(scores, keys, common=True).names == ["clips/real/u1", "clips/fake/u_2"]
    keys = write(tmp_path / "keys", {"real/u1": "bonafide", "fake/u1": "spoof", "fake/u2": "spoof"})
    with pytest.raises(InputError, match="scores: 'u1' may be real/u1, fake/u1 of the keys; name both files' alike"):
        load_trials(scores, keys)
    other = write(tmp_path / "other", {"fake/u1": 1, "real/u2": 0}, "filename\tcm-score\n")
    with pytest.raises(InputError, match="nothing in common"):
        load_trials(other, write(tmp_path / "keys", {"a/u1": "bonafide", "a/u2": "spoof"}))


def test_a_stem_that_two_paths_have_is_no_key(tmp_path):
    scores = write(tmp_path / "scores", {"a/u1.wav": 1, "b/u1.wav": 2, "b/u2.wav": 0}, "filename\tcm-score\n")
    with pytest.raises(InputError, match="'u1' of the keys may be a/u1.wav or b/u1.wav"):
        load_trials(scores, write(tmp_path / "keys", KEYS))


def test_a_short_line_of_a_csv_is_named(tmp_path):
    (tmp_path / "scores.csv").write_text("name,llr\nu1,1\nu2\n")
    with pytest.raises(InputError, match="scores.csv:3: 1 columns where the header has 2: 'u2'"):
        read_scores(tmp_path / "scores.csv")


def test_keys_of_one_class_are_refused_and_spoofs_alone_sent_where_they_are_judged(tmp_path):
    spoofs, bonafide = ({f"u{number}": label for number in range(3)} for label in ("spoof", "bonafide"))
    with pytest.raises(InputError, match="none of its 3 .* 'bonafide'; detection metrics need both.* judges"):
        read_keys(write(tmp_path / "spoofs", spoofs))
    with pytest.raises(InputError, match="none of its 3 .* 'spoof'; detection metrics need both classes$"):
        read_keys(write(tmp_path / "bonafide", bonafide))
