import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.report.pages import parse
from wedefense.experiment import lineage
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.records import environment, layer_weights, read_config, read_history, shares_of_layers
from wedefense.metrics.classification import classification_metrics
from wedefense.metrics.keys import Trials
from wedefense.report.write import write_class_report, write_report
from wedefense.scoring.results import ScoredSet, evaluate_sets, load_set
from wedefense.scoring.speaker import verification
from wedefense.utils.errors import InputError
from wedefense.utils.tables import write_table


@pytest.fixture
def experiment(tmp_path):
    rng = np.random.default_rng(3)
    for name in ("dev", "eval"):
        keys = [f"{name}{i}" for i in range(60)]
        write_table(tmp_path / "exp/posteriors" / name / "llr.txt",
                    {key: f"{rng.normal(2 if i % 3 else -2, 2):.5f}" for i, key in enumerate(keys)})
        write_table(tmp_path / "data" / name / "utt2lab",
                    {k: "bonafide" if i % 3 else "spoof" for i, k in enumerate(keys)})
    write_table(tmp_path / "data/eval/utt2attack", {f"eval{i}": "-" if i % 3 else f"A<{i % 2}>" for i in range(60)})
    return tmp_path


def report(root):
    sets = [load_set(root / "exp", root / "data", name) for name in ("dev", "eval")]
    results, calibration = evaluate_sets(sets, "dev")
    return results, *parse(write_report(root / "exp", results, sets, calibration))


def test_an_experiment_with_scores_alone(experiment):
    results, checker, text = report(experiment)
    for absent in ("history.json", "avg_model.pt", "config.yaml"):
        assert f"Left out: there is no models/{absent}" in text or f"Left out: there is no {absent}" in text
    assert f"{results['sets']['eval']['min_dcf']:.4f}" in text and "40 bona fide, 20 spoof" in text
    assert "A<0>" in text and "Calibrated on 'dev': llr = " in text
    assert f"{100 * results['sets']['eval']['breakdown']['attack']['macro']['eer']:.3f}" in text


def test_everything_at_hand(experiment):
    folder = experiment / "exp"
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "val_eer": 0.1 / e, "seconds": 30.0}
            for e in (1, 2, 3)]
    (folder / "history.json").write_text(json.dumps({"rows": rows,
                                                     "best": {"epoch": 3, "metric": "val_eer", "value": 0.1 / 3}}))
    (folder / "config.yaml").write_text("seed: 7\nmodel: SSL_BACKEND_MHFA\n# <unescaped> & so on\n")
    (folder / "models").mkdir()
    torch.save({"weights_k": torch.zeros(4), "weights_v": torch.arange(4.0), "w": torch.zeros(2, 2)},
               folder / "models/avg_model.pt")
    _, checker, text = report(experiment)
    assert "Left out" not in text
    assert "# <unescaped> & so on" in text and "seed 7" in text
    assert "3 epochs in 1 min 30 s. Best validation EER in epoch 3: 3.333 %." in text
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures >= {"det.png", "det.svg", "det.pdf", "eval_histogram.png", "eval_bayes_error.png",
                       "eval_reliability.png", "eval_eer_by_attack.png", "training_loss.png", "training_eer.png",
                       "layers.png"}
    assert 3 * len(checker.figures) == len(figures)  # each stands in the page
    assert "training_accuracy.png" not in figures
    from PIL import Image

    for path in (folder / "figures").glob("*.png"):
        width, height = Image.open(io.BytesIO(path.read_bytes())).size
        assert width == 960 and height < 2400


def test_speaker_trials_are_called_so(tmp_path):
    rng = np.random.default_rng(0)
    is_target = np.arange(300) < 60
    trials = Trials([f"a{i} b{i}" for i in range(300)], rng.normal(is_target * 3.0, 1), is_target)
    sets = [ScoredSet("vox1_o", trials, {})]
    results, _ = evaluate_sets(sets, None, None, verification.CLASSES, verification.COSTS, "cosine scores")
    _, text = parse(write_report(tmp_path, results, sets))
    assert "A higher score means more target. Costs: P(nontarget) 0.99, miss 1, false alarm 1." in text
    assert "60 target, 240 nontarget" in text and "bona fide" not in text and "spoof" not in text
    assert {"det.png", "vox1_o_histogram.png", "vox1_o_bayes_error.png"} <= set(
        path.name for path in (tmp_path / "figures").iterdir())


def test_an_experiment_in_emotions(tmp_path):
    found = {name: classification_metrics(["ang", "ang", "hap"], guesses) for name, guesses in (
        ("dev", ["ang", "ang", "hap"]), ("eval", ["ang", "hap", "hap"]))}
    (tmp_path / "config.yaml").write_text("seed: 7\nmodel: SSL_BACKEND_MHFA\n")
    checker, text = parse(write_class_report(tmp_path, found))
    assert "eval 3 utterances 66.67 75.00 66.67" in text and "100.00" in text and "seed 7" in text
    assert {path.name for path in (tmp_path / "figures").glob("*.png")} == {"dev_confusion.png", "eval_confusion.png"}


def test_layer_weights_are_shares(tmp_path):
    assert layer_weights(tmp_path) is None
    (tmp_path / "models").mkdir()
    path = tmp_path / "models/avg_model.pt"
    torch.save({"weights_k": torch.tensor([0.0, np.log(3.0)]), "frontend.mix.weights": torch.zeros(5),
                "bn.weight": torch.ones(4), "weights_v": torch.zeros(2, 2)}, path)
    found = layer_weights(tmp_path)
    assert set(found) == {"weights_k", "frontend.mix.weights"}
    assert found["weights_k"] == pytest.approx([0.25, 0.75])
    step = lineage.averaging(ExperimentFolder(tmp_path), [])
    with step.making() as outputs:
        step.told["layer_weights"] = shares_of_layers(torch.load(path))
        outputs.append(path)
    assert step.is_up_to_date()
    code = ("import json, sys; from wedefense.experiment.records import layer_weights; print(json.dumps({name: "
            f"shares.tolist() for name, shares in layer_weights({str(tmp_path)!r}).items()}})); "
            "assert 'torch' not in sys.modules")
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == {name: shares.tolist() for name, shares in found.items()}
    torch.save({"linear.bias": torch.ones(3)}, path)
    assert layer_weights(tmp_path) == {}  # of a file that is not the one recorded, by what lies in it
    path.write_bytes(b"broken")
    with pytest.raises(InputError, match="avg_model.pt: not a checkpoint .*; run stage 4 again"):
        layer_weights(tmp_path)


@pytest.mark.parametrize("name, content, read, message", [
    ("history.json", "[1", read_history, "history.json: not valid JSON .*; stage 3 writes it"),
    ("history.json", "{}", read_history, "history.json: not a training history"),
    ("config.yaml", "a: [1", read_config, "config.yaml:2: not valid YAML"),
    ("config.yaml", "- 1", read_config, "config.yaml"),
    ("config.yaml", "sed: 7", read_config, "config.yaml:1: unknown key 'sed', did you mean 'seed'"),
])
def test_damaged_files_are_named(tmp_path, name, content, read, message):
    assert read(tmp_path) is None
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_environment_tells_versions_and_commit():
    found = environment()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert re.match(r"[0-9a-f]{40}|not run from", found["git commit"])


def test_the_letters_of_papers_in_every_figure(tmp_path):
    found = {"dev": classification_metrics(["ang", "ang", "hap"], ["ang", "hap", "hap"])}
    write_class_report(tmp_path, found, "latex")
    written = (tmp_path / "figures/dev_confusion.pdf").read_bytes()
    assert b"/FontFile2" in written and b"DejaVuSans" not in written
