"""What a name says, no page does: names of utterances, attacks, systems, sets and models stand in pages as text."""

import re

import numpy as np
import pytest

from tests.detect.experiments import SSL, make_experiment
from tests.detect.test_benchmark_command import data_folder
from wedefense.bin import benchmark, compare, evaluate, results
from wedefense.utils.tables import write_table

HOSTILE = "<script>alert(1)<"
IMAGE = "\"><img|src=x|onerror=alert(2)>"


def harmless(page: str) -> bool:
    """No element of these names is in the page, whatever its text says."""
    return not re.search(r"<script>alert|<img\|src", page) and "alert(" in page


@pytest.fixture
def scored(tmp_path):
    rng, names = np.random.default_rng(0), [f"u{number}{HOSTILE}{IMAGE}" for number in range(60)]
    for place in ("exp/posteriors/eval/llr.txt", f"{HOSTILE}.txt", "b.txt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_table(tmp_path / place, {n: f"{rng.normal() + 2 * (i % 2):.4f}" for i, n in enumerate(names)})
    (tmp_path / "data/eval").mkdir(parents=True)
    tables = {"utt2lab": ("spoof", "bonafide"), "utt2attack": (HOSTILE, "-"), "utt2spk": (IMAGE, "s")}
    for table, value in tables.items():
        write_table(tmp_path / "data/eval" / table, {n: value[i % 2] for i, n in enumerate(names)})
    return tmp_path


def test_evaluate_and_compare(scored):
    keys, page = str(scored / "data/eval/utt2lab"), scored / "page.html"
    evaluate.main(["--scores", str(scored / "b.txt"), "--keys", keys, "--meta", str(scored / "data/eval/utt2attack"),
                   "--html", str(page)])
    assert harmless(page.read_text())
    compare.main([str(scored / f"{HOSTILE}.txt"), str(scored / "b.txt"), "--keys", keys, "--html", str(page),
                  "--resamples", "10"])
    assert harmless(page.read_text())


def test_a_report(scored):
    results.main(["--exp_dir", str(scored / "exp"), "--data", str(scored / "data"), "--sets", "eval", "--bootstrap",
                  "0"])
    assert harmless((scored / "exp/report.html").read_text())


def test_a_benchmark(tmp_path):
    make_experiment(tmp_path, **SSL)
    data_folder(tmp_path / "eval", ["bonafide", "spoof"] * 3)
    name = IMAGE.replace("=", ":")
    benchmark.main(["--model", f"{HOSTILE}={tmp_path / 'exp'}", "--sets", f"{name}={tmp_path / 'eval'}", "--out",
                    str(tmp_path / "out"), "--bootstrap", "0", "--device", "cpu"])
    assert harmless((tmp_path / "out/benchmark.html").read_text())
