import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import yaml

from wedefense.scoring.experiment import environment, layer_weights, read_config, read_history
from wedefense.scoring.page import Row, table
from wedefense.scoring.report import write_report
from wedefense.scoring.results import evaluate_sets, load_set
from wedefense.utils.errors import InputError
from wedefense.utils.tables import write_table

VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Tags that close what they open, and every address the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(path):
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert not checker.open
    return checker, " ".join(" ".join(checker.text).split())


@pytest.fixture
def experiment(tmp_path):
    rng = np.random.default_rng(3)
    for name in ("dev", "eval"):
        keys = [f"{name}{i}" for i in range(60)]
        write_table(tmp_path / "exp/posteriors" / name / "llr.txt",
                    {key: f"{rng.normal(2 if i % 3 else -2, 2):.5f}" for i, key in enumerate(keys)})
        write_table(tmp_path / "data" / name / "utt2lab", {k: "bonafide" if i % 3 else "spoof" for i, k in enumerate(keys)})
    write_table(tmp_path / "data/eval/utt2attack", {f"eval{i}": "-" if i % 3 else f"A<{i % 2}>" for i in range(60)})
    return tmp_path


def report(root):
    sets = [load_set(root / "exp", root / "data", name) for name in ("dev", "eval")]
    results, calibration = evaluate_sets(sets, "dev")
    return results, *parse(write_report(root / "exp", results, sets, calibration))


def test_an_experiment_with_scores_alone(experiment):
    results, checker, text = report(experiment)
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    for absent in ("history.json", "avg_model.pt", "config.yaml"):
        assert f"Left out: there is no models/{absent}" in text or f"Left out: there is no {absent}" in text
    assert f"{results['sets']['eval']['min_dcf']:.4f}" in text and "40 bona fide, 20 spoof" in text
    assert "A<0>" in text and "Calibrated on 'dev': llr = " in text
    assert f"{100 * results['sets']['eval']['breakdown']['attack']['macro']['eer']:.3f}" in text


def test_everything_at_hand(experiment):
    folder = experiment / "exp"
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "val_eer": 0.1 / e, "seconds": 30.0} for e in (1, 2, 3)]
    (folder / "history.json").write_text(json.dumps({"rows": rows, "best": {"epoch": 3, "metric": "val_eer", "value": 0.1 / 3}}))
    (folder / "config.yaml").write_text("seed: 7\nmodel: SSL_BACKEND_MHFA\n# <unescaped> & so on\n")
    (folder / "models").mkdir()
    torch.save({"weights_k": torch.zeros(4), "weights_v": torch.arange(4.0), "w": torch.zeros(2, 2)},
               folder / "models/avg_model.pt")
    _, checker, text = report(experiment)
    assert "Left out" not in text
    assert "# <unescaped> & so on" in text and "seed 7" in text
    assert "3 epochs in 1 min 30 s. Best validation EER in epoch 3: 3.333 %." in text
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures >= {"det.png", "eval_histogram.png", "eval_bayes_error.png", "eval_bayes_error_calibrated.png",
                       "eval_reliability.png", "eval_eer_by_attack.png", "training_loss.png", "training_eer.png", "layers.png"}
    assert len(checker.sources) == len(figures)  # each PNG stands in the page
    assert "training_accuracy.png" not in figures
    from PIL import Image

    for path in (folder / "figures").iterdir():
        width, height = Image.open(io.BytesIO(path.read_bytes())).size
        assert width == 960 and height < 2400


def test_layer_weights_are_shares(tmp_path):
    assert layer_weights(tmp_path) is None
    (tmp_path / "models").mkdir()
    path = tmp_path / "models/avg_model.pt"
    torch.save({"weights_k": torch.tensor([0.0, np.log(3.0)]), "frontend.mix.weights": torch.zeros(5),
                "bn.weight": torch.ones(4), "weights_v": torch.zeros(2, 2)}, path)
    found = layer_weights(tmp_path)
    assert set(found) == {"weights_k", "frontend.mix.weights"}
    assert found["weights_k"] == pytest.approx([0.25, 0.75])
    torch.save({"linear.bias": torch.ones(3)}, path)
    assert layer_weights(tmp_path) == {}
    path.write_bytes(b"broken")
    with pytest.raises(InputError, match="not a checkpoint; run stage 4 again"):
        layer_weights(tmp_path)


@pytest.mark.parametrize("name, content, read, message", [
    ("history.json", "[1", read_history, "history.json: not a training history"),
    ("history.json", "{}", read_history, "history.json: not a training history"),
    ("config.yaml", "a: [1", read_config, "config.yaml: not YAML"),
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


def test_cells_are_escaped():
    assert "<td>a&lt;b<small>x&amp;y</small></td>" in table(["h"], [Row(["a<b\nx&y"])])


def test_config_of_a_list_is_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump([1, 2]))
    assert read_config(tmp_path) == ("- 1\n- 2", {})
