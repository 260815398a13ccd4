"""`wedefense info` of what is no model: each kind of thing that one has, and what is none of them."""

import io
import json
import shlex
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile

from tests.corpus import make_list, write_config
from wedefense.bin.info import main
from wedefense.data.shards import write_shard
from wedefense.data.spans import read_spans, write_spans
from wedefense.detect import about_files
from wedefense.detect.about_files import about
from wedefense.experiment.folder import ExperimentFolder
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def told(path, capsys):
    assert main([str(path)]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 or "/" in line.split()[-1] for line in text.splitlines())  # a path is not broken
    return " ".join(text.split())


def test_data_lists_shards_recordings_and_tables(place, capsys, monkeypatch):
    data = place / "data/eval"
    data.mkdir(parents=True)
    for name, rows in {"utt2lab": "u1 bonafide\nu2 spoof\nu3 spoof\n", "utt2dur": "u1 1.5\nu2 2\nu3 2.5\n",
                       "utt2spk": "u1 a\nu2 b\nu3 b\n", "wav.scp": f"u1 {place}/gone.wav\n"}.items():
        (data / name).write_text(rows)
    soundfile.write(place / "one.wav", np.zeros((800, 2)), 8000)
    raw = make_list(place, utterances=8)
    write_shard("s.tar", [("u1", "spoof", "one.wav", 0.1)])
    (place / "shard.list").write_text("s.tar\n")
    (place / "scores.txt").write_text("u1 1.5\nu2 -2\n")
    assert told("data/eval", capsys) == ("data data/eval utterances 3 classes bonafide 1, spoof 2 hours 0.00167, of "
                                         "1.50 to 2.50 s each spk a 1, b 2 not there recordings of u1")
    assert told("data", capsys).startswith("data of eval")
    assert told("data/eval/utt2lab", capsys).endswith("rows 3 values bonafide 1, spoof 2 first u1, u2, u3")
    assert "length 0.100 s, 800 samples rate 8000 Hz channels 2" in told("one.wav", capsys)
    assert "utterances 8 classes bonafide 4, spoof 4" in told(raw, capsys)
    assert "shards 1" in told("shard.list", capsys) and "classes spoof 1" in told("s.tar", capsys)
    assert "rows 2 first u1, u2 from -2 to 1.5, median -0.25" in told("scores.txt", capsys)
    (place / "heard").mkdir()
    (place / "one.wav").rename(place / "heard/one.wav")
    assert told("heard", capsys) == "recordings wav 1 score them wedefense score --model MODEL heard"
    monkeypatch.setattr(about_files, "_LOOKED_AT", 0)
    assert "wav 1, and more: of the first 1 files" in told("heard", capsys)


def test_experiments_from_their_first_epoch_to_their_results(place, capsys):
    folder = ExperimentFolder("exp")
    write_config(place, train_data=str(make_list(place, utterances=8)), num_epochs=3)
    folder.root.mkdir()
    (place / "config.yaml").rename(folder.config)
    assert told("exp", capsys) == "experiment exp epochs 0 of 3; stage 3 goes on"
    folder.history.write_text(json.dumps({"rows": [{"epoch": 2}], "best": {"epoch": 1, "metric": "val_eer",
                                                                          "value": 0.125}}))
    folder.results.write_text(json.dumps({"sets": {"eval": {"eer": 0.25, "min_cllr": 0.5}}}))
    assert told("exp", capsys) == ("experiment exp epochs 2 of 3; stage 3 goes on (best: 1, EER 12.50 % of dev) "
                                   "eval EER 25.00 %, min Cllr 0.5000")
    assert told(folder.results, capsys) == "results exp/results.json eval EER 25.00 %, min Cllr 0.5000"
    assert "epochs 2 more wedefense history exp" in told(folder.history, capsys)
    assert "training standard, 3 epochs, AdamW, seed 7" in told(folder.config, capsys)
    (place / "exps").mkdir()
    shutil.copytree("exp", "exps/a")
    assert told("exps", capsys) == "experiments a more wedefense info exps/a"
    folder.history.rename("history.json")
    folder.shared.touch()
    assert about("exp").keys() == {"eval"}  # it was shared, and trained elsewhere
    (place / "folds").mkdir()
    folder.root.rename(place / "folds/fold1")
    assert "folds fold1" in told("folds", capsys)
    (place / "exported").mkdir()
    (place / "exported/model.onnx").write_text("no graph")
    with pytest.raises(InputError, match="exported/model.onnx: onnxruntime cannot read it"):
        about("exported")
    (place / "b").mkdir()
    (place / "b/benchmark.json").write_text(json.dumps({"mhfa": {"sets": {"one": {"eer": 0.1}, "two": {}}}}))
    assert told("b", capsys) == "benchmark b mhfa one 10.000 %, two"


def test_what_is_to_be_typed_a_shell_takes_and_a_pipe_gets_a_line_a_value(place, capsys, monkeypatch):
    (place / "my sets/dev ü").mkdir(parents=True)
    (place / "my sets/dev ü/utt2lab").write_text("u1 spoof\n")
    assert told("my sets", capsys) == "data of dev ü more wedefense info 'my sets/dev ü'"
    assert shlex.split(about("my sets")["more"])[1:] == ["info", "my sets/dev ü"]
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())  # what is asked for its width: no terminal
    (place / "x.json").write_text(json.dumps({f"key{number}": number for number in range(12)}))
    assert main(["x.json"]) == 0
    assert capsys.readouterr().out == f"JSON  x.json\nkeys  {', '.join(f'key{number}' for number in range(12))}\n"


def test_label_files_calibrations_and_lists_without_labels(place, capsys):
    (place / "spans.rttm").write_text("".join(f"SPEAKER utt 1 {start} 0.5 <NA> <NA> {label} <NA> <NA>\n"
                                              for start, label in ((0, "bonafide"), (0.5, "spoof"))))
    assert told("spans.rttm", capsys).startswith(
        "label file spans.rttm kind rttm utterances 1 spans 2 classes bonafide 1, spoof 1 more wedefense segments")
    write_spans(place / "dev_seglab_0.16.npy", read_spans(place / "spans.rttm"))
    assert "kind seglab utterances 1 spans 2" in told("dev_seglab_0.16.npy", capsys)
    Calibration((2.0,), 1.0).save(place / "calibration.json")
    assert "formula llr = 2 x score + 1" in told("calibration.json", capsys)
    (place / "raw.list").write_text('{"key": "a", "wav": "a.wav", "dur": 3600}\n{"key": "b", "wav": "b.wav"}\n')
    assert told("raw.list", capsys).endswith("utterances 2 classes without label 2 hours 1")
    (place / "shard.list").write_text("my shards/s.tar\nother.tar\n")
    assert told("shard.list", capsys).endswith("shards 2 more wedefense info 'my shards/s.tar'")


def test_torchscript_is_no_film(place, capsys):
    (place / "out").mkdir()
    with zipfile.ZipFile(place / "out/model.ts", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    (place / "film.ts").write_bytes(b"G" * 188)
    assert told("out/model.ts", capsys).startswith("TorchScript out/model.ts")
    assert "ffmpeg" in told("film.ts", capsys)
    made = {"files": [{"name": "model.ts"}, {"name": "gone.ts"}], "inputs": ["wav", "lengths"], "outputs": ["llr"],
            "sample_rate": 16000, "calibration": None}
    (place / "out/export.json").write_text(json.dumps(made))
    said = told("out", capsys)
    assert said.startswith("exported out files model.ts (0.") and "gone.ts" not in said
    assert said.endswith("takes wav, lengths gives llr audio 16000 Hz calibration none")
    (place / "out/export.json").write_text("{}")
    with pytest.raises(InputError, match="out/export.json: not as `wedefense export` writes it"):
        about("out")


def test_a_config_of_a_folder_runs_nothing(place, capsys, monkeypatch):
    (place / "exp").mkdir()
    (place / "exp/config.yaml").write_text("model: marked:Ran\nnum_epochs: 2\n")
    (place / "marked.py").write_text("class Ran: pass\n")
    assert "0 of 2" in told("exp", capsys) and "marked" not in sys.modules
    (place / "exp/label2id").write_text("bonafide 0 1\nspoof 1 1\n")
    monkeypatch.syspath_prepend(place)
    with pytest.raises(InputError, match="config.yaml:1: model: 'marked:Ran' names code; .* say so with --trust"):
        main(["exp/config.yaml"])
    assert "marked" not in sys.modules
    with pytest.raises(InputError, match="'marked:Ran' needs the class attribute Options"):
        main(["exp/config.yaml", "--trust"])
    del sys.modules["marked"]


@pytest.mark.parametrize("name, content, said", [
    ("page.html", b"<html>\n", "of no kind that is known here"),
    ("x.list", b"{1}\n", "neither a list of recordings"),
    ("x_seglab_0.16.npy", b"\x93NUMPY", "x_seglab_0.16.npy"),
    ("x.npz", b"PK\x03\x04", "no arrays of NumPy"),
    ("x.wav", b"RIFF", "x.wav"),
    ("x.json", b"[1]", "expected a JSON object"),
])
def test_what_is_none_of_them(name, content, said, place):
    (place / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        main([name])


def test_names_that_are_not_there_and_json_of_another_make(place, capsys):
    with pytest.raises(InputError, match=r"wavlm_bas: no such file .*did you mean 'wavlm_base'"):
        main(["wavlm_bas"])
    (place / "empty").mkdir()
    with pytest.raises(InputError, match="neither experiment, .* it holds nothing"):
        main(["empty"])
    for content in ({"sets": [1]}, {"rows": []}, {"rows": 3}):
        (place / "x.json").write_text(json.dumps(content))
        assert told("x.json", capsys) == f"JSON x.json keys {next(iter(content))}"


def test_what_is_no_model_is_told_without_torch(place):
    """It takes seconds to load."""
    soundfile.write(place / "one.wav", np.zeros(800), 8000)
    (place / "utt2lab").write_text("u1 bonafide\n")
    Calibration((2.0,), 1.0).save(place / "calibration.json")
    raw = make_list(place / "data", utterances=4)
    write_config(place, train_data=str(raw))
    for path in ("one.wav", "utt2lab", "calibration.json", str(raw), "config.yaml", "."):
        code = (f"import sys; from wedefense.bin.info import main; main([{path!r}])\n"
                "sys.exit('torch' in sys.modules)")
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0, path
