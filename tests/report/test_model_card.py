"""The model card, and the folder it makes complete: uploaded as it is, loaded by its id."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tests.detect.experiments import SSL, make_experiment, wave
from tests.hub import hub  # noqa: F401, a fixture
from wedefense import load_detector
from wedefense.bin.export import main
from wedefense.detect.share import write_folder
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.metrics.keys import Trials
from wedefense.report.model_card import write_card
from wedefense.scoring.calibration import Calibration
from wedefense.scoring.results import ScoredSet, evaluate_sets, save_results
from wedefense.utils.errors import InputError


@pytest.fixture
def exp(tmp_path):
    return make_experiment(tmp_path, **SSL)


def evaluated(exp):
    import numpy as np

    rng = np.random.default_rng(0)
    is_bonafide = np.arange(80) % 2 == 0
    sets = [ScoredSet(name, Trials([f"{name}{i}" for i in range(80)], rng.normal(np.where(is_bonafide, 1, -1)),
                                   is_bonafide), {}) for name in ("dev", "eval")]
    save_results(exp, evaluate_sets(sets, "dev", BootstrapOptions(20))[0])


def test_a_card_of_a_trained_and_evaluated_experiment(exp):
    evaluated(exp)
    text = write_card(exp).read_text()
    results = json.loads((exp / "results.json").read_text())["sets"]["eval"]
    assert text.startswith("# wavlm_tiny (ssl) + SSL_BACKEND_MHFA")
    for part in ("100 utterances: bonafide 30, spoof 70", f"| eval | 40 | 40 | {results['min_dcf']:.4f}",
                 "95 % interval", f"| eval | {results['eer_threshold']:.4f} | equal error rates", "calibrated on 'dev'",
                 "wedefense.load_detector", "## Limits"):
        assert part in text, part


def test_a_pruned_model_says_what_is_left(exp):
    (exp / "pruning.json").write_text(json.dumps({"parameters": {"before": 1000, "after": 400}}))
    assert "its encoder keeps 400 of 1,000 parameters (40.0 %)" in write_card(exp).read_text()


def test_code_that_a_model_needs_besides_is_named_with_the_option_that_loads_it(tmp_path, monkeypatch):
    (tmp_path / "flips.py").write_text(
        "from wedefense.config.augment import StepOptions\nfrom wedefense.config.models import MHFAOptions\n"
        "from wedefense.models.mhfa import MHFA\n\n\nclass Own(MHFA):\n    Options = MHFAOptions\n\n\n"
        "class Flip:\n    Options = StepOptions\n\n    def __init__(self, options, setting):\n        pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    exp = make_experiment(tmp_path / "exp", dataset_args__augment=[{"type": "flips:Flip", "prob": 0.5}],
                          **(SSL | {"model": "flips:Own"}))
    needed = "neither in WeDefense nor in this folder: back-end `flips:Own`."  # to score: the other only trained it
    assert needed in write_card(exp).read_text()
    assert main([str(exp), "--format", "hub", "--out", str(tmp_path / "shared"), "--trust"]) == 0
    text = (tmp_path / "shared/README.md").read_text()
    assert needed in text and "`--trust`" in text
    plain = make_experiment(tmp_path / "plain", **SSL)
    assert "nor in this folder" not in write_card(plain).read_text()


def test_a_doubted_calibration_is_told(exp):
    evaluated(exp)
    results = json.loads((exp / "results.json").read_text())
    (exp / "results.json").write_text(json.dumps(results | {"calibration_doubts": ["the scores are near chance"]}))
    assert "Note on the calibration: the scores are near chance." in write_card(exp).read_text()


def test_a_damaged_results_file_is_told(exp):
    (exp / "results.json").write_text("{}")
    with pytest.raises(InputError, match="results.json"):
        write_card(exp)


def test_a_shared_folder_loads_anywhere_and_tells_nothing_of_where_it_was_made(tmp_path, capsys):
    exp = make_experiment(tmp_path / "made", train_data=str(tmp_path / "made/corpus/train/raw.list"), **SSL)
    Calibration((2.0,), 1.0).save(exp / "calibration.json")
    (exp / "training.json").write_text(json.dumps(
        {"inputs": {"seed": 7}, "outputs": {}, "started_from": str(tmp_path / "made/first/models/avg_model.pt")}))
    evaluated(exp)
    expected = load_detector(exp).score(wave(1), 16000).llr
    assert main([str(exp), "--format", "hub", "--out", str(tmp_path / "shared")]) == 0
    assert "loaded back, it gives the same outputs" in capsys.readouterr().out
    shutil.rmtree(exp.parent)
    folder = shutil.move(tmp_path / "shared", tmp_path / "elsewhere")
    assert load_detector(folder).score(wave(1), 16000).llr == expected
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.yaml", "label2id", "frontend.json", "calibration.json", "model.safetensors"}
    assert "from the weights of models/avg_model.pt" in (folder / "README.md").read_text()
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert "train/raw.list" in (folder / "config.yaml").read_text()
    card = (folder / "README.md").read_text()
    assert "`model.safetensors`" in card and "calibrated on 'dev'" in card


def test_what_cannot_be_shared_is_refused(exp, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="an experiment lies here"):
        main([str(exp), "--format", "hub", "--out", str(exp)])
    with pytest.raises(InputError, match="--int8 and --data go with"):
        main([str(exp), "--format", "hub", "--int8", "--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match="share the file as it is"):
        write_folder(replace(load_detector(exp), config=None), tmp_path / "out")
    model = load_detector(exp)
    model.detector.projection.register_buffer("odd", torch.zeros(1))
    with pytest.raises(InputError, match="tensor 'projection.odd' is not part"):
        write_folder(model, tmp_path / "out")


@pytest.mark.parametrize("form", ["experiment", "shared"])
def test_an_uploaded_folder_loads_by_its_hub_id(form, tmp_path, hub, monkeypatch):  # noqa: F811
    exp = make_experiment(tmp_path)  # fbank: no frontend.json
    Calibration((2.0,), 1.0).save(exp / "calibration.json")
    uploaded = exp
    if form == "shared":
        write_folder(load_detector(exp), uploaded := tmp_path / "uploaded")
    hub.add("someone/my-detector", {path.relative_to(uploaded).as_posix(): path.read_bytes()
                                    for path in uploaded.rglob("*") if path.is_file()})
    fetched = load_detector("someone/my-detector")
    with pytest.raises(InputError, match="not to be had as a hub id"):
        load_detector("someone/other")
    assert fetched.score(wave(1), 16000).llr == load_detector(exp).score(wave(1), 16000).llr
    hub.close()
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    assert load_detector("someone/my-detector").calibration.bias == 1.0  # from the cache
