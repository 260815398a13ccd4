"""The stages of a recipe, run as a user runs them, on a tiny corpus in an official layout."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs/detection/asvspoof2019/lfcc_resnet"
SMALL = ["--num_epochs", "1", "--num_avg", "1", "--dataloader_args.batch_size", "4", "--model_args.m_channels", "4",
         "--model_args.embed_dim", "8", "--dataset_args.num_frms", "40", "--dataloader_args.num_workers", "0"]


def make_asvspoof2019(folder: Path, per_set: int = 10) -> Path:
    rng = np.random.default_rng(0)
    protocols = folder / "LA/ASVspoof2019_LA_cm_protocols"
    protocols.mkdir(parents=True)
    for name, letter, kind in (("train", "T", "trn"), ("dev", "D", "trl"), ("eval", "E", "trl")):
        audio = folder / f"LA/ASVspoof2019_LA_{name}/flac"
        audio.mkdir(parents=True)
        lines = []
        for number in range(per_set):
            key, spoof = f"LA_{letter}_{1000000 + number}", number % 2 == 1
            soundfile.write(audio / f"{key}.flac", 0.1 * rng.standard_normal(int(16000 * rng.uniform(0.5, 0.8))), 16000)
            lines.append(f"LA_{number % 3:04d} {key} - {'A01' if spoof else '-'} {'spoof' if spoof else 'bonafide'}\n")
        (protocols / f"ASVspoof2019.LA.cm.{name}.{kind}.txt").write_text("".join(lines))
    return folder


def run(*arguments, cwd=ROOT, script=RECIPE / "run.sh") -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1",
                   "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", str(ROOT / ".venv"))}
    environment["PATH"] = f"{Path(os.sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(["bash", script, *map(str, arguments)], cwd=cwd, env=environment,
                          capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A corpus and an experiment taken through stages 1 to 7, started from another folder."""
    folder = tmp_path_factory.mktemp("recipe")
    make_asvspoof2019(folder / "corpus")
    done = run("--corpus", "corpus", "--data", "data", "--exp_dir", "exp", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_all_stages_write_what_they_say(finished):
    folder, output = finished
    for stage in range(1, 8):
        assert f"== stage {stage}" in output
    for name in ("config.yaml", "train.log", "label2id", "history.json", "models/model_1.pt", "models/last.ckpt",
                 "models/avg_model.pt", "embeddings/dev/embedding.scp", "posteriors/eval/logits.scp",
                 "posteriors/eval/llr.txt", "detection_result.txt", "results.json", "report.html"):
        assert (folder / "exp" / name).stat().st_size > 0, name
    results = json.loads((folder / "exp/results.json").read_text())
    assert {"eer", "min_dcf", "act_dcf", "cllr"} <= results["sets"]["eval"].keys()
    assert "minDCF" in output and "http" not in (folder / "exp/report.html").read_text().split("</style>")[0]


def test_a_single_stage_runs_again_on_its_own(finished):
    folder, _ = finished
    done = run("--stage", 4, "--stop_stage", 5, "--data", folder / "data", "--exp_dir", folder / "exp", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "stage 3" not in done.stdout and "stage 6" not in done.stdout
    assert "up to date" in done.stderr  # the average and the lists are the same


def test_a_set_that_stage_2_has_not_made_is_named(finished):
    folder, _ = finished
    done = run("--stage", 4, "--stop_stage", 4, "--data", folder / "data", "--exp_dir", folder / "exp",
               "--eval_sets", "other", *SMALL)
    assert done.returncode == 2 and "data/other/raw.list: no such list; stage 2 makes it" in done.stderr, done.stderr


def test_a_training_does_not_begin_on_labels_that_changed_after_stage_2(finished, tmp_path):
    shutil.copytree(finished[0] / "data", tmp_path / "data")
    labels = tmp_path / "data/train/utt2lab"
    labels.write_text(labels.read_text().replace("bonafide", "human", 1))
    done = run("--stage", 3, "--stop_stage", 3, "--data", tmp_path / "data", "--exp_dir", tmp_path / "exp", *SMALL)
    assert done.returncode == 2 and "utt2lab changed" in done.stderr and "go back to --stage 2" in done.stderr
    assert not (tmp_path / "exp").exists()


def test_shards_give_the_same_scores_as_files(finished, tmp_path):
    folder, _ = finished
    done = run("--stage", 2, "--stop_stage", 2, "--data", folder / "data", "--exp_dir", folder / "exp",
               "--data_type", "shard", *SMALL)
    assert done.returncode == 0, done.stderr
    from wedefense.bin.embed import main as embed
    from wedefense.experiment.arks import read_scp

    before = dict(zip(*read_scp(folder / "exp/embeddings/dev/embedding.scp")))
    embed(["--exp_dir", str(folder / "exp"), "--sets", "dev_shard", "--data", str(folder / "data/dev/shard.list"),
           "--data_type", "shard", "--device", "cpu"])
    after = dict(zip(*read_scp(folder / "exp/embeddings/dev_shard/embedding.scp")))
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_allclose(before[key], after[key], atol=1e-5)


@pytest.mark.parametrize("stage, cause", [
    (1, "no such folder"), (2, "data/train"), (3, "raw.list"), (4, "to average"), (5, "config.yaml"),
    (6, "label2id"), (7, "llr.txt")])
def test_a_failing_stage_stops_with_its_code_and_says_how_to_go_on(tmp_path, stage, cause):
    done = run("--stage", stage, "--data", tmp_path / "data", "--exp_dir", tmp_path / "exp",
               "--corpus", tmp_path / "none", *SMALL)
    assert done.returncode != 0
    assert cause in done.stderr and f"go on with --stage {stage}" in done.stderr, done.stderr
    assert f"== stage {stage + 1}" not in done.stdout


@pytest.mark.parametrize("arguments, message", [
    (["--num_epoch", "3"], "unknown key 'num_epoch', did you mean 'num_epochs'?"),
    (["--config", "conf/resnet81.yaml"], "resnet81.yaml: no such file"),
    (["--stage"], "--stage has no value"),
    (["stage", "3"], "expected --option value"),
    (["--nnodes", ""], "--nnodes takes a number of machines, got ''"),
    (["--node_rank", "x"], "--node_rank takes the number of this machine, from 0 on, got 'x'"),
    (["--skip_bad", "yes"], "--skip_bad takes true or false, got 'yes'"),
    (["--as_trained", "1"], "--as_trained takes true or false, got '1'"),
    (["--data_type", "tar"], "--data_type takes raw or shard, got 'tar'"),
])
def test_wrong_options_are_refused_before_any_stage(tmp_path, arguments, message):
    done = run(*arguments, "--exp_dir", tmp_path / "exp") if arguments != ["--stage"] else run(*arguments)
    assert done.returncode != 0 and message in done.stderr and "== stage 1" not in done.stdout


@pytest.mark.parametrize("recipe, stage, told", [
    ("own", 0, "this recipe reads no corpus: "), ("own", 1, "table.py --table FILE --out data makes data of a table"),
    ("mini", 0, "nothing is fetched: stage 1 makes the data")])
def test_a_recipe_without_a_corpus_says_so(recipe, stage, told):
    done = run("--stage", stage, "--stop_stage", stage, "--corpus", "x", script=ROOT / f"egs/detection/{recipe}/run.sh")
    assert done.returncode != 0 and told in done.stderr
