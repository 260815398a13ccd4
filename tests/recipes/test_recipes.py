"""Every recipe: its configs built at full size, its commands, files and rows; the commands printed with the results.

Every config's step and stages are in test_walk.py, failures in test_stops.py."""

import json
import os
import re
import shlex
from collections import Counter
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
        name = config.dataset_args.frontend_args.upstream_args.name
        millions = sum(p.numel() for p in detector.frontend.parameters()) / 1e6
        assert "tiny" in name or (310 < millions < 320 if "large" in name or "xls" in name else 90 < millions < 96)
        assert all(not p.requires_grad
                   for p in detector.frontend.upstream.parameters()) == config.dataset_args.frontend_args.frozen


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
    assert all((ROOT / f"tools/prepare/{name}.py").is_file() for name in corpora(script.parent))
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


def table_rows():
    lines = (EGS / "rows.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("|") for line in lines if line and not line.startswith("#")]


def test_every_row_of_the_map_names_a_published_row_and_files_that_exist():
    from wedefense.report import published

    for table, row, recipe, experiment, command in table_rows():
        published.load(table).row(row)
        script, *arguments = command.split()
        for name in [script, *(word for word in arguments if word.startswith("conf/"))]:
            assert (EGS / recipe / name).is_file(), (row, name)
        assert experiment.startswith(arguments[arguments.index("--exp_dir") + 1]), row


def steps_of_rows():
    """(table, row, script, config as the command of a step has it), without those that are scored alone."""
    for table, row, recipe, _, command in table_rows():
        script, *words = shlex.split(command)
        options = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
        if "model" in options:
            continue
        own = re.search(r'^options="([^"]+)"', (ROOT / "tools/recipe.sh").read_text(), re.MULTILINE)[1].split()
        overrides = [f"--{name}={value}" for name, value in options.items() if name not in own]
        if "upstream" in options:
            overrides.append(f"--dataset_args.ssl_args.upstream_args.name={options['upstream']}")
        path = EGS / recipe / options["ft_config" if script == "run_ft.sh" else "config"]
        yield table, row, script, load_config(path, overrides)


# What a published run did and we would not: where a row is like this, its every step says so.
AS_PUBLISHED = {
    "partialspoof_frozen": {"ssl.frozen_dropout": True, "ssl.layer_drop": 0.0, "ssl.s3prl_frames": True, "num_avg": 2},
    "partialspoof_finetuned": {"ssl.layer_drop": 0.0, "ssl.s3prl_frames": True},
    "xlsr_sls": {"data.augment_whole": True, "ssl.freeze_extractor": False, "ssl.final_norm": False},
    "superb_deepfake": {"average": "best", "num_avg": 1},
    "superb_speaker": {"data.trim_silence": True, "data.whole_utt": True, "accum_grad": 5, "margin_update.final_margin": 0.4,
                       "projection_args.project_type": "add_margin", "data.cmvn": False},
    "ca_mhfa_parameters": {"ssl.layer_drop": 0.05, "ssl.normalize_waveform": False, "ssl.final_norm": False,
                           "data.cmvn": False, "grad_clip": 5.0, "data.eval_max_frms": 1000,
                           "projection_args.project_type": "arc_margin_intertopk_subcenter"},
}
HALF = {("WavLM-large + ECAPA-TDNN"), ("WavLM-large + ECAPA-TDNN (WeSpeaker)"), ("UniSpeech-SAT-large + ECAPA-TDNN"),
        ("WavLM-base+ + ECAPA-TDNN")}


def chosen(config, dotted: str):
    for start, section in (("ssl.", config.dataset_args.ssl_args), ("data.", config.dataset_args)):
        if dotted.startswith(start):
            return getattr(section, dotted.removeprefix(start))
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def test_every_step_of_every_row_says_what_the_published_run_did():
    counts = Counter()
    for table, row, script, config in steps_of_rows():
        counts[table] += 1
        assert config.chosen_precision == ("bfloat16" if row in HALF else "float32"), (table, row)
        for dotted, value in AS_PUBLISHED.get(table, {}).items():
            assert chosen(config, dotted) == value, (table, row, dotted)
        data = config.dataset_args
        if data.aug_prob:
            assert data.noise_args.speech_snr == (10, 30) and data.noise_args.scale_peak, (table, row)
            assert data.reverb_args.scale_peak and not data.reverb_args.realign, (table, row)
        if hasattr(config.model_args, "context"):
            assert not (config.model_args.l2_norm or config.model_args.divide_by_context), (table, row)
        if script == "run_ft.sh" and table == "partialspoof_finetuned":
            assert config.num_avg == 1
        if config.use_pruning_loss:
            assert config.clip_gates and config.constraint == "released", (table, row)
            assert config.scheduler_args.frontend_lr_ratio == 1 and config.optimizer_args["weight_decay"] == 0
    assert counts.keys() == {table for table, *_ in table_rows()} and counts["superb_speaker"] == 36


def test_the_map_holds_every_row_that_can_be_run():
    from wedefense.report import published

    left_out = {"Rank 3 T27 fusion", "Rank 4 T23 fusion", "Rank 9 T23 best single", "NEMO-large + MFA",
                "Conformer + MHFA"}
    mapped = {(table, row) for table, row, *_ in table_rows()}
    assert {row for name in published.names() for row in published.load(name).lines
            if (name, row) not in mapped} == left_out
