"""The model card, and the folder it makes complete: uploaded as it is, loaded by its id."""

import functools
import http.server
import json
import shutil
import threading

import pytest

from tests.detect.experiments import SSL, make_experiment, wave
from wedefense import load_detector
from wedefense.detect.card import write_card
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.metrics.keys import Trials
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
    for part in ("100 utterances: bonafide 30, spoof 70", f"| eval | 40 | 40 | {results['min_dcf']:.4f}", "95 % interval",
                 f"| eval | {results['eer_threshold']:.4f} | equal error rates", "calibrated on 'dev'",
                 "wedefense.load_detector", "## Limits"):
        assert part in text, part


def test_a_damaged_results_file_is_told(exp):
    (exp / "results.json").write_text("{}")
    with pytest.raises(InputError, match="results.json"):
        write_card(exp)


def test_an_uploaded_experiment_loads_by_its_hub_id(exp, tmp_path, monkeypatch):
    Calibration((2.0,), 1.0).save(exp / "calibration.json")
    uploaded = tmp_path / "hub" / "someone" / "my-detector" / "resolve" / "main"
    shutil.copytree(exp, uploaded)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "hub")
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WEDEFENSE_CACHE", str(tmp_path / "cache"))
        fetched = load_detector("someone/my-detector")
        with pytest.raises(InputError, match="not to be had as a hub id"):
            load_detector("someone/other")
        server.shutdown()
    assert fetched.score(wave(1), 16000).llr == load_detector(exp).score(wave(1), 16000).llr
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    assert load_detector("someone/my-detector").calibration.bias == 1.0  # from the cache
