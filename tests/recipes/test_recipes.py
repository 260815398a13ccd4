"""Every recipe: its configs built at full size, its commands, files and rows; the commands printed with the results.

Every config's step and stages are in test_walk.py, failures in test_stops.py."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.recipes.layouts import LAYOUTS
from tests.recipes.tiny import (
    CONFIGS,
    EGS,
    ROOT,
    SCRIPTS,
    architecture_of,
    copy_checkout,
    corpora,
    run,
    tiny_options,
    title,
)
from wedefense.config.loader import load_config
from wedefense.data.layouts import read_layouts


def printed_commands(readme: Path) -> str:
    return "\n".join(re.findall(r"```bash\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("path", CONFIGS, ids=title)
def test_every_config_builds_at_full_size(path):
    """On the meta device: shapes without numbers."""
    import torch

    from wedefense.models.detector import build_detector

    config = load_config(path)
    with torch.device("meta"):
        detector = build_detector(config, 2, architecture_of(config))
    if config.dataset_args.frontend == "ssl" and not config.use_pruning_loss:
        name = config.dataset_args.frontend_options.upstream_args.name
        millions = sum(p.numel() for p in detector.frontend.parameters()) / 1e6
        assert "tiny" in name or (310 < millions < 320 if "large" in name or "xls" in name else 90 < millions < 96)
        assert all(not p.requires_grad
                   for p in detector.frontend.upstream.parameters()) == config.dataset_args.frontend_options.frozen


def test_no_two_configs_say_the_same():
    bodies = {}
    for path in [*CONFIGS, *ROOT.glob("conf/*.yaml")]:
        bodies.setdefault(re.sub(r"#.*", "", path.read_text()).strip(), []).append(path)
    assert [paths for paths in bodies.values() if len(paths) > 1 and len({p.parent for p in paths}) < len(paths)] == []


@pytest.mark.parametrize("readme", sorted(EGS.glob("*/*/*/README.md")),
                         ids=lambda path: str(path.parent.relative_to(EGS)))
def test_the_commands_of_a_readme_name_files_that_exist(readme):
    for name in set(re.findall(r"conf/[\w.-]+\.yaml|(?<=\./)run\w*\.sh", printed_commands(readme))):
        assert (readme.parent / name).is_file(), name


@pytest.mark.parametrize("script", SCRIPTS, ids=title)
def test_every_script_has_a_config_that_exists(script):
    names = re.findall(r"^(?:ft_)?config=(?:\${config:-)?([^\s}]+)", script.read_text(), re.MULTILINE)
    assert names and all((script.parent / name).is_file() for name in names), names
    assert corpora(script.parent) or (script.parent / "local/prepare_data.sh").is_file()
    assert all((ROOT / f"tools/prepare/{name}.py").is_file() or name in read_layouts(ROOT / "tools/layouts.yaml")
               for name in corpora(script.parent))
    assert os.access(script, os.X_OK)


def test_the_two_commands_of_the_partialspoof_table(tmp_path):
    """As printed with the published results; only sizes are added."""
    recipe = copy_checkout(tmp_path) / "egs/detection/partialspoof/ssl_mhfa"
    LAYOUTS["partialspoof"](tmp_path / "corpus")
    small = tiny_options(load_config(recipe / "conf/MHFA_wavlmplus.yaml"))
    run(recipe, "./run.sh", "--stage", "1", "--stop_stage", "2", "--corpus", str(tmp_path / "corpus"), *small)
    frozen = run(recipe, *"./run.sh --stage 3 --stop_stage 7 --config conf/MHFA_wavlmplus.yaml "
                          "--exp_dir exp/MHFA_wavlmplus_frozen".split(), *small)
    assert "== stage 7" in frozen and "minDCF" in frozen
    run(recipe, *"./run_ft.sh --stage 8 --stop_stage 8 --config conf/MHFA_wavlmplus.yaml "
                 "--ft_config conf/MHFA_wavlmplus-FT.yaml --exp_dir exp/MHFA_wavlmplus_frozen".split(), *small)
    for name in ("exp/MHFA_wavlmplus_frozen", "exp/MHFA_wavlmplus_frozen-FT"):
        results = json.loads((recipe / name / "results.json").read_text())
        assert {"eer", "min_dcf", "cllr", "act_dcf"} <= results["sets"]["eval"].keys()
    config = load_config(recipe / "exp/MHFA_wavlmplus_frozen-FT/config.yaml")
    assert not config.dataset_args.ssl_args.frozen
    assert config.model_init == "exp/MHFA_wavlmplus_frozen/models/avg_model.pt"
