"""Every recipe: its configs built at full size, its stages run on a tiny corpus in the official layout."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.layouts import LAYOUTS
from wedefense.config.loader import load_config

ROOT = Path(__file__).parents[2]
EGS = ROOT / "egs"
CONFIGS = sorted(EGS.glob("*/*/*/conf/*.yaml"))
TINY = ["--upstream", "wavlm_tiny", "--num_epochs", "1", "--num_avg", "1", "--dataloader_args.batch_size", "4",
        "--dataloader_args.num_workers", "0", "--dataset_args.num_frms", "20", "--num_workers", "1",
        "--dataset_args.filter_args.min_num_frames", "5", "--model_args.embed_dim", "8", "--device", "cpu"]
HEADS = ["--model_args.head_nb", "2", "--model_args.compression_dim", "8"]
SLS = ["--model_args.frame_length", "20"]
RUNS = [  # recipe, corpora, run.sh and its options, the set and metric that must come out, files
    ("detection/asvspoof5/ssl_mhfa", ["asvspoof5", "musan", "rirs_noises"], ["run.sh", *HEADS], "eval", "eer"),
    ("detection/spoofceleb/ssl_mhfa", ["spoofceleb", "musan", "rirs_noises"], ["run.sh", *HEADS], "eval", "eer"),
    ("detection/asvspoof2019/ssl_ca_mhfa", ["asvspoof2019"], ["run.sh", *HEADS], "eval", "eer"),
    ("detection/asvspoof2019/ssl_ca_mhfa", ["asvspoof2019"],
     ["run.sh", "--config", "conf/LLGF.yaml", "--model_args.compression_dim", "16"], "eval", "eer"),
    ("detection/asvspoof2019/ssl_sls", ["asvspoof2019", "asvspoof2021", "in_the_wild"],
     ["run.sh", *SLS], "in_the_wild", "eer"),
    ("detection/asvspoof2019/ssl_sls", ["asvspoof2019", "asvspoof2021", "in_the_wild"],
     ["run.sh", "--config", "conf/SLS_v2.yaml", *SLS], "asvspoof2021_df", "eer"),
    ("sv/voxceleb/ssl_ca_mhfa", ["voxceleb", "musan", "rirs_noises"],
     ["run.sh", *HEADS, "--norm", "asnorm", "--top_n", "3", "--quality", "quality", "--eval_sets", "vox1 vox2_test"], "vox1_o", "eer"),
    ("sv/voxceleb/ssl_ca_mhfa", ["voxceleb", "musan", "rirs_noises"],
     ["run_superb.sh", *HEADS, "--config", "conf/superb_mhfa.yaml"], "vox1_o", "eer"),
    ("er/iemocap/ssl_ca_mhfa", ["iemocap"], ["run.sh", *HEADS, "--folds", "1 2"], "eval", "accuracy"),
]


def title(path):
    return str(path.relative_to(EGS)).replace("/conf", "")


@pytest.fixture
def tree(tmp_path):
    """A checkout of its own for what recipes write: the recipes copied, the rest as links."""
    for name in ("tools", "conf", "wedefense"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(EGS, tmp_path / "egs", ignore=shutil.ignore_patterns("data", "exp"))
    return tmp_path


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", "none")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed_commands(readme: Path) -> str:
    return "\n".join(re.findall(r"```bash\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("path", CONFIGS, ids=title)
def test_every_config_builds_at_full_size(path):
    """On the meta device: shapes without numbers."""
    import torch

    from wedefense.frontend.ssl.names import find_model
    from wedefense.models.detector import build_detector

    config = load_config(path)
    name = config.dataset_args.frontend
    ssl = name in ("ssl", "huggingface")
    with torch.device("meta"):
        upstream = config.dataset_args.frontend_args.upstream_args.name if ssl else None
        detector = build_detector(config, 2, find_model(upstream).architecture if ssl else None)
    if ssl and "tiny" not in upstream and not config.use_pruning_loss:
        millions = sum(p.numel() for p in detector.frontend.parameters()) / 1e6
        assert 90 < millions < 96 if "large" not in upstream and "xls" not in upstream else 310 < millions < 320
        assert all(not p.requires_grad for p in detector.frontend.parameters()) == config.dataset_args.frontend_args.frozen


def test_no_two_configs_say_the_same():
    bodies = {}
    for path in [*CONFIGS, *ROOT.glob("conf/*.yaml")]:
        bodies.setdefault(re.sub(r"#.*", "", path.read_text()).strip(), []).append(path)
    assert [paths for paths in bodies.values() if len(paths) > 1 and len({p.parent for p in paths}) < len(paths)] == []


@pytest.mark.parametrize("readme", sorted(EGS.glob("*/*/*/README.md")), ids=lambda path: str(path.parent.relative_to(EGS)))
def test_the_commands_of_a_readme_name_files_that_exist(readme):
    for name in set(re.findall(r"conf/[\w.-]+\.yaml|(?<=\./)run\w*\.sh", printed_commands(readme))):
        assert (readme.parent / name).is_file(), name


@pytest.mark.parametrize("script", sorted(EGS.glob("*/*/*/run*.sh")), ids=title)
def test_every_script_has_a_config_that_exists(script):
    for name in re.findall(r"^(?:ft_)?config=(\S+)", script.read_text(), re.MULTILINE):
        assert (script.parent / name).is_file(), name
    assert (script.parent / "local/prepare_data.sh").is_file() and os.access(script, os.X_OK)


def test_the_two_commands_of_the_partialspoof_table(tree):
    """As printed with the published results; only sizes are added."""
    recipe = tree / "egs/detection/partialspoof/ssl_mhfa"
    LAYOUTS["partialspoof"](tree / "corpus")
    small = [*TINY[2:], *HEADS, "--dataset_args.ssl_args.upstream_args.name", "wavlm_tiny"]
    run(recipe, "./run.sh", "--stage", "1", "--stop_stage", "2", "--corpus", str(tree / "corpus"), *small)
    frozen = run(recipe, *"./run.sh --stage 3 --stop_stage 7 --config conf/MHFA_wavlmplus.yaml "
                          "--exp_dir exp/MHFA_wavlmplus_frozen".split(), *small)
    assert "== stage 7" in frozen and "minDCF" in frozen
    run(recipe, *"./run_ft.sh --stage 8 --stop_stage 8 --config conf/MHFA_wavlmplus.yaml "
                 "--ft_config conf/MHFA_wavlmplus-FT.yaml --exp_dir exp/MHFA_wavlmplus_frozen".split(), *small)
    for name in ("exp/MHFA_wavlmplus_frozen", "exp/MHFA_wavlmplus_frozen-FT"):
        results = json.loads((recipe / name / "results.json").read_text())
        assert {"eer", "min_dcf", "cllr", "act_dcf"} <= results["sets"]["eval"].keys()
    config = load_config(recipe / "exp/MHFA_wavlmplus_frozen-FT/config.yaml")
    assert not config.dataset_args.ssl_args.frozen and config.model_init == "exp/MHFA_wavlmplus_frozen/models/avg_model.pt"


@pytest.mark.slow
@pytest.mark.parametrize("name, corpora, command, test_set, metric", RUNS, ids=[f"{row[0]} {row[2][0:3]}" for row in RUNS])
def test_a_recipe_runs_from_end_to_end(tree, name, corpora, command, test_set, metric):
    recipe = tree / "egs" / name
    for corpus in corpora:
        LAYOUTS[corpus](tree / "corpus")
    output = run(recipe, f"./{command[0]}", "--corpus", str(tree / "corpus"), "--exp_dir", "exp/tiny", *TINY, *command[1:])
    results = json.loads((recipe / "exp/tiny/results.json").read_text())
    assert 0 <= results["sets"][test_set][metric] <= 1 and "== stage 7" in output
    if command[0] == "run.sh" and (recipe / "run_ft.sh").exists():
        run(recipe, "./run_ft.sh", "--exp_dir", "exp/tiny", *TINY, *command[1:])
        assert json.loads((recipe / "exp/tiny-FT/results.json").read_text())["sets"][test_set]


def table_rows():
    lines = (EGS / "rows.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("|") for line in lines if line and not line.startswith("#")]


def test_every_row_of_the_map_names_a_published_row_and_files_that_exist():
    from wedefense.scoring import published

    for table, row, recipe, experiment, command in table_rows():
        published.load(table).row(row)
        script, *arguments = command.split()
        for name in [script, *(word for word in arguments if word.startswith("conf/"))]:
            assert (EGS / recipe / name).is_file(), (row, name)
        assert experiment.startswith(arguments[arguments.index("--exp_dir") + 1]), row


def test_the_map_holds_every_row_that_can_be_run():
    from wedefense.scoring import published

    left_out = {"Rank 3 T27 fusion", "Rank 4 T23 fusion", "Rank 9 T23 best single", "HP", "paper", "NEMO-large + MFA",
                "Conformer + MHFA", "WavLM-large + ECAPA-TDNN (WeSpeaker)"}
    mapped = {(table, row) for table, row, *_ in table_rows()}
    assert {row for name in published.names() for row in published.load(name).lines if (name, row) not in mapped} == left_out


@pytest.mark.slow
def test_a_table_is_reproduced_and_resumed(tree):
    LAYOUTS["asvspoof2019"](tree / "corpus")
    command = ["bash", "tools/reproduce.sh", "superb_deepfake", "--only", "WavLM-base+ + MHFA", *HEADS,
               *TINY[2:], "--dataset_args.ssl_args.upstream_args.name", "wavlm_tiny"]
    first = run(tree, *command, "--corpus", str(tree / "corpus"))
    assert "== detection/asvspoof2019/ssl_ca_mhfa exp/MHFA_wavlm_base_plus" in first
    assert re.search(r"\| eval EER % \| +0\.20 \| +\d", (tree / "egs/superb_deepfake.md").read_text())
    assert "==" not in run(tree, *command)  # done already
