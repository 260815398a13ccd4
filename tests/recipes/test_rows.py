"""egs/rows.txt: which commands make a published row, and that they run what the published run did."""

import re
import shlex
from collections import Counter

from tests.recipes.tiny import EGS, ROOT
from wedefense.config.loader import load_config


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
    "partialspoof_localization": {"scheduler": "StepDecrease", "data.cmvn": False, "average": "best",
                                  "ssl.layer_drop": 0.0, "ssl.freeze_extractor": True},
    "xlsr_sls": {"data.augment_whole": True, "ssl.freeze_extractor": False, "ssl.final_norm": False},
    "superb_deepfake": {"average": "best", "num_avg": 1},
    "superb_speaker": {"data.trim_silence": True, "data.whole_utt": True, "accum_grad": 5,
                       "margin_update.final_margin": 0.4, "projection_args.project_type": "add_margin",
                       "data.cmvn": False},
    "ca_mhfa_parameters": {"ssl.layer_drop": 0.05, "ssl.normalize_waveform": False, "ssl.final_norm": False,
                           "data.cmvn": False, "grad_clip": 5.0, "data.eval_max_frms": 1000,
                           "projection_args.project_type": "arc_margin_intertopk_subcenter"},
}
HALF = {("voxceleb_systems", row) for row in (  # WeSpeaker's config asks for amp
    "WavLM-large + ECAPA-TDNN", "WavLM-large + ECAPA-TDNN (WeSpeaker)", "UniSpeech-SAT-large + ECAPA-TDNN",
    "WavLM-base+ + ECAPA-TDNN")}


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
        assert config.chosen_precision == ("bfloat16" if (table, row) in HALF else "float32"), (table, row)
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


def test_the_page_says_of_each_row_how_sure_we_are():
    text = (EGS / "README.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|\n ").split(" | ")]
             for line in text.split("### How sure we are")[1].splitlines() if line.startswith("| `")]
    told = Counter()
    for table, rows, sure, source, doubts in lines:
        assert sure in ("release read", "paper read", "assumed", "scored") and source and doubts
        table = table.strip("`")
        known = {row for name, row, *_ in table_rows() if name == table}
        named = known if rows == "all" else set(rows.split("; "))
        assert named <= known, named - known
        told.update((table, row) for row in named)
        scored = {row for name, row, *_, command in table_rows() if name == table and " --model " in command}
        assert (sure == "scored") == bool(named & scored), (table, rows)
    assert told == Counter({(table, row) for table, row, *_ in table_rows()})
    steps = len(table_rows())
    assert f"{len(told)} rows\ntake {steps} steps" in text


def test_the_map_holds_every_row_that_can_be_run():
    from wedefense.report import published

    left_out = {"Rank 3 T27 fusion", "Rank 4 T23 fusion", "Rank 9 T23 best single"}  # others' systems
    left_out |= {"MultiResoModel-Simple", "CFPRF", "CFPRF reproduced", "SAL WavLM-large", "SAL XLS-R"}
    others = {row for name in ("antispoofing_arena", "published_detectors")  # that no recipe here trains as they were
              for row in published.load(name).lines}
    mapped = {(table, row) for table, row, *_ in table_rows()}
    assert {row for name in published.names() for row in published.load(name).lines
            if (name, row) not in mapped} == left_out | others
