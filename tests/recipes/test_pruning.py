"""The pruning recipe of the mini corpus: trained, cut, verified, scored, and fine-tuned further."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.corpus import make_list

ROOT = Path(__file__).parents[2]
MINI = ROOT / "egs/detection/mini"
SMALL = ["--num_epochs", "2", "--num_avg", "1", "--sparsity_warmup_epochs", "1", "--initial_reg_lr", "0.2",
         "--dataset_args.num_frms", "10", "--dataloader_args.batch_size", "8", "--dataloader_args.num_workers", "0",
         "--model_args.head_nb", "2", "--model_args.compression_dim", "8", "--model_args.embed_dim", "8",
         "--device", "cpu", "--num_workers", "1"]


def run(script: Path, *arguments) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", "none")}
    environment["PATH"] = f"{Path(os.sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(["bash", script, *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    for name in ("train", "dev", "eval"):
        make_list(folder / "data", name, 16)
    output = run(MINI / "run_pruning.sh", "--stage", 3, "--data", folder / "data", "--exp_dir", folder / "exp", *SMALL)
    return folder, output


def test_stages_cut_verify_and_score(recipe):
    folder, output = recipe
    assert "asked     remove 50 %, keep 50 %" in output and "verified" in output
    report = json.loads((folder / "exp/pruning.json").read_text())
    assert report["sparsity"] == pytest.approx(0.5, abs=0.01) and report["difference"] < 1e-5
    results = json.loads((folder / "exp/results.json").read_text())
    assert {"eer", "min_dcf"} <= results["sets"]["eval"].keys()
    assert (folder / "exp/figures/pruning.png").is_file()


def test_the_scores_are_those_of_the_cut_detector(recipe):
    from wedefense.experiment.arks import read_scp
    from wedefense.experiment.load import load_experiment
    from wedefense.utils.fingerprint import of_weights

    folder, _ = recipe
    experiment = load_experiment(folder / "exp")
    source = json.loads((folder / "exp/embeddings/eval/source.json").read_text())
    assert source["inputs"]["weights"] == of_weights(folder / "exp/pruned_model/models/avg_model.pt")
    keys, logits = read_scp(folder / "exp/posteriors/eval/logits.scp")
    assert len(keys) == 16 and logits.shape == (16, 2)
    assert not any("log_alpha" in name for name in experiment.detector.state_dict())


def test_the_cut_detector_is_fine_tuned_by_stage_8(recipe):
    folder, _ = recipe
    run(MINI / "run_ft.sh", "--config", "conf/mhfa_pruning.yaml", "--data", folder / "data", "--exp_dir",
        folder / "exp", *SMALL)
    further = folder / "exp-FT"
    small = json.loads((folder / "exp/pruned_model/frontend.json").read_text())
    assert json.loads((further / "frontend.json").read_text())["blocks"] == small["blocks"]
    assert (further / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("upstream, target, rate", [
    ("wavlm_tiny", 0.1, 0.05), ("wavlm_tiny", 0.3, 0.05), ("wavlm_tiny", 0.5, 0.05), ("wavlm_tiny", 0.7, 0.05),
    ("wavlm_wide_tiny", 0.9, 0.15)])
def test_the_learnt_sparsity_is_the_target(tmp_path, upstream, target, rate):
    """With the recipe's own numbers of epochs and steps, before `settle` moves anything."""
    from wedefense.bin.train import main as train

    make_list(tmp_path, "train", 312, seconds=0.3)
    train(["--config", str(MINI / "conf/mhfa_pruning.yaml"), "--exp_dir", str(tmp_path / "exp"), "--device", "cpu",
           "--train_data", str(tmp_path / "train/raw.list"), "--target_sparsity", str(target),
           "--dataset_args.num_frms",
           "10", "--dataset_args.ssl_args.upstream_args.name", upstream, "--dataloader_args.num_workers", "0",
           "--initial_reg_lr", str(rate)])
    rows = json.loads((tmp_path / "exp/history.json").read_text())["rows"]
    assert rows[-1]["sparsity"] == pytest.approx(target, abs=0.01)
