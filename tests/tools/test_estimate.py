"""Time to a table: the count of a training's work, measured rates, and what is refused."""

import gc
import json
import re
import shlex
import weakref

import pytest
import torch
import yaml

import tools.estimate as estimate
from tools.estimate import EGS, counted, main, published_rows, trainings
from tools.rates import Rates, crop_ms, named, of_check
from wedefense.config.loader import load_config
from wedefense.utils.errors import InputError

FROZEN = EGS / "detection/partialspoof/ssl_mhfa/conf/MHFA_wavlmplus.yaml"
CROPS = 25_380 * 20
COMMANDS = {path.parent.relative_to(EGS).as_posix(): re.search(r"`python tools/estimate\.py ([^`]*)`", text)[1]
            for path in sorted(EGS.rglob("README.md")) if "| scoring, bfloat16 |" in (text := path.read_text())}


def speed_rows(values):
    return {"tables": {"speed": [{"system": "ours", "precision": "bfloat16", "TFLOP_s": values},
                                 {"system": "s3prl", "precision": "bfloat16", "TFLOP_s": 1.0},
                                 {"system": "transformers", "words": "not installed"}]}}


@pytest.fixture
def measured(tmp_path):
    """A check as tools/gpu_check.sh writes it, with round figures."""
    costs = {"flac": 1.0, "wav": 0.5, "noise": 3.0, "reverb": 5.0, "speed": 2.0, "rawboost": 4.0}
    content = {"about": {"date": "2026-01-02", "device": "cuda", "tiny": False}, "sections": {
        "versions": {"tables": {"versions": [{"what": "GPU", "value": "A GPU"}, {"what": "torch", "value": "2.11"}]}},
        "frozen": speed_rows(200.0), "full": speed_rows(300.0), "evaluation": speed_rows(250.0),
        "loader": {"tables": {"loader": [{"what": name, "cpu_ms_a_crop": ms} for name, ms in costs.items()]}}}}
    path = tmp_path / "gpu_check.json"
    path.write_text(json.dumps(content))
    return path


def lines(capsys):
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in capsys.readouterr().out.splitlines()
            if line.startswith("|")]


def test_a_recipe_by_the_rates_of_a_check(measured, capsys):
    assert main(["detection/partialspoof/ssl_mhfa", "--config", "MHFA_wavlmplus", "--measured", str(measured)]) == 0
    out = capsys.readouterr().out
    assert "Measured (2026-01-02, A GPU, 2.11), bfloat16:" in out
    work = counted(FROZEN, ())
    assert work.crops == CROPS and work.frozen and work.seconds == 3 and work.suffix == "wav"
    computing = 2 * CROPS * (work.forward + work.backward) / 200e12 / 3600
    loading = CROPS * 0.5e-3 / 6 / 3600  # six workers in the config, wav, no augmentation
    row = [cell.strip() for cell in out.splitlines()[-1].strip("| ").split("|")]
    assert row[:3] == ["MHFA_wavlmplus", "20", "0.51"]
    assert row[3:6] == [f"{computing:.2g}", f"{loading:.2g}", f"{max(computing, loading):.2g}"]
    assert row[6] == f"{250e12 * 3 / 2 / work.forward:,.0f}"


def test_loading_that_was_not_measured_is_said_and_may_come_from_another_check(measured, tmp_path, capsys):
    options = ["detection/partialspoof/ssl_mhfa", "--config", "MHFA_wavlmplus"]
    without = json.loads(measured.read_text())
    del without["sections"]["loader"]
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(without))
    main([*options, "--measured", str(measured)])
    whole = capsys.readouterr().out
    main([*options, "--measured", str(bare)])
    out = capsys.readouterr().out
    assert "Loading was not measured: hours are those of computing." in out and "not measured" not in whole
    row = [cell.strip() for cell in out.splitlines()[-1].strip("| ").split("|")]
    assert row[4] == "-" and row[5] == row[3]
    main([*options, "--measured", str(bare), "--loading", str(measured)])
    assert capsys.readouterr().out == whole
    with pytest.raises(InputError, match="--loading: give rates of computing too"):
        main([*options, "--loading", str(measured)])


def test_the_light_count_is_that_of_the_whole_detector():
    from wedefense.models.cost import multiply_adds
    from wedefense.models.detector import build_detector

    options = ("--dataset_args.ssl_args.upstream_args.name", "wavlm_tiny")
    work = counted(FROZEN, options)
    config, classes, architecture = estimate.described(FROZEN, options)
    detector = build_detector(config, classes, architecture)
    assert work.forward == multiply_adds(detector, 3.0)
    full = counted(FROZEN.with_name("MHFA_wavlmplus-FT.yaml"), options)
    assert not full.frozen and full.backward == 2 * full.forward and 0 < work.backward < full.backward
    assert full.crops == 25_380 * 5
    adapted = counted(FROZEN.with_name("MHFA_wavlmplus-FT.yaml"), (*options, "--dataset_args.ssl_args.adapters.type",
                                                                   "lora"))
    assert not adapted.frozen and 2 * adapted.backward == full.backward + work.backward


@pytest.mark.parametrize("recipe", ["detection/mini", "egs/detection/mini/"])
def test_the_mini_recipe_trains_on_what_it_makes(recipe, capsys):
    assert main([recipe, "--config", "xvector"]) == 0
    row, = lines(capsys)[2:]
    assert row[0] == "xvector" and row[4:6] == ["30", "< 0.01"]
    path = EGS / "detection/mini/local/minicorpus/plan.py"
    plan = dict(re.findall(r'^(?:    )?"?(BONAFIDE|train)"? ?[=:] (.+?),?$', path.read_text(), re.MULTILINE))
    genuine = yaml.safe_load(plan["BONAFIDE"])["train"]
    assert "for attack in KNOWN" in plan["train"] and "(22, 13)" in plan["train"]
    assert estimate.MINI[0] == genuine + 5 * (22 + 13) == estimate.training_set(EGS / "detection/mini/conf/sls.yaml")[0]


@pytest.mark.parametrize("recipe", [pytest.param(name, marks=[] if "lfcc" in name else pytest.mark.slow)
                                    for name in COMMANDS])  # encoders take their time
def test_the_table_of_a_readme_is_what_its_command_says(recipe, capsys):
    assert main(shlex.split(COMMANDS[recipe])) == 0
    table = "\n".join(line for line in capsys.readouterr().out.splitlines() if line.startswith("|"))
    assert table.count("\n") > 1 and table in (EGS / recipe / "README.md").read_text(), table


def test_what_has_no_such_encoder_is_not_named_after_it(capsys):
    """A network on filter banks would come once for each encoder, with the same numbers."""
    assert main(["sv/voxceleb/ssl_ca_mhfa", "--config", "ecapa", "--upstream", "wavlm_base_plus", "wavlm_large"]) == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[1].strip() for row in rows] == ["ecapa"]


class _Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, wav, lengths, labels):
        return (wav * self.scale).exp()


def test_what_is_kept_is_counted_and_let_go():
    """The way back through exp keeps its result, and one detector after the other has to fit."""
    detector = _Scaled()
    parameter = weakref.ref(detector.scale)
    assert estimate.kept_bytes(detector, 100) == 2 * 400  # of a crop: the samples, and the result
    del detector
    gc.collect()
    assert parameter() is None


def test_own_recordings_count_as_stage_1_found_them(monkeypatch, tmp_path):
    monkeypatch.setattr(estimate, "EGS", tmp_path)
    config = tmp_path / "detection/own/conf/resnet.yaml"
    with pytest.raises(InputError, match="own/data/train/wav.scp: no such file; stage 1 of the recipe writes it"):
        estimate.training_set(config)
    folder = config.parents[1] / "data/train"
    folder.mkdir(parents=True)
    (folder / "wav.scp").write_text("a a.flac\nb b.flac\nc c.flac\n")
    (folder / "utt2lab").write_text("a bonafide\nb spoof\nc spoof\n")
    assert estimate.training_set(config) == (3, 2, "flac")


def test_workers_share_the_loading(measured):
    rates, work = of_check(measured), counted(FROZEN, ())
    assert work.loading(rates, 12) == work.loading(rates, None) / 2
    assert work.loading(Rates({}, rates.tflops, {}), None) is None


def test_augmentation_costs_what_it_was_measured_to(measured):
    rates = of_check(measured)
    assert rates.cpu_ms["flac"] == 1.0

    def ms(suffix, *options):
        return crop_ms(rates, load_config(FROZEN, list(options)).dataset_args, suffix)

    assert ms("flac") == 1.0 and ms("wav") == 0.5 and ms("mp3") is None
    assert ms("flac", "--dataset_args.aug_prob", "0.5") == 1.0 + 0.5 * (2.0 + 4.0) / 2
    assert ms("flac", "--dataset_args.speed_perturb", "True") == 2.0
    assert ms("wav", "--dataset_args.rawboost", "True") == 0.5 + 3.0
    assert ms("flac", "--dataset_args.num_frms", "300") == 2.0


def test_rates_become_an_entry_of_the_file_and_are_read_back(measured, tmp_path, capsys):
    assert main(["--measured", str(measured), "--as", "h100"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "rates.yaml"
    path.write_text(text)
    assert yaml.safe_load(text)["h100"]["tflops"]["bfloat16"] == {"frozen": 200.0, "full": 300.0, "evaluation": 250.0}
    assert named("h100", path) == of_check(measured)


def test_every_row_of_every_table(measured, capsys, monkeypatch):
    tables = {table for table, _ in published_rows()}
    published = {path.stem for path in (EGS.parent / "wedefense").rglob("published_tables/*.yaml")}
    assert tables == published - {"antispoofing_arena", "published_detectors"}  # whose systems no recipe trains
    wanted = {key: steps for key, steps in published_rows().items() if key[0] == "partialspoof_finetuned"
              and "+" in key[1]}
    monkeypatch.setattr(estimate, "published_rows", lambda: wanted)
    assert main(["--all", "--measured", str(measured)]) == 0
    table = lines(capsys)
    assert table[0] == list(estimate.ALL_TITLES)
    rows = {row[1]: row for row in table[2:]}
    assert rows["WavLM-base+ FT 2 stages"][3:5] == ["2", f"{(CROPS + 25_380 * 5) / 1e6:.2f}"]
    once = CROPS + 25_380 * (5 + 10)  # the frozen experiment stands in two rows
    assert rows["each experiment once"][3:5] == ["3", f"{once / 1e6:.1f}"]


def test_options_of_a_row_reach_its_config_and_folds_count():
    tiny = "--dataset_args.ssl_args.upstream_args.name wavlm_tiny"
    (one,) = trainings("sv/voxceleb/ssl_ca_mhfa", f"run.sh --config conf/MHFA_wavlmplus.yaml --gpus [0] {tiny} "
                                                  '--num_epochs 2 --eval_sets "vox1 vox2_test"')
    assert one.crops == 1_092_009 * 2
    assert len(trainings("er/iemocap/ssl_ca_mhfa", f"run.sh --config conf/mhfa.yaml {tiny}")) == 5


@pytest.mark.parametrize("options, message", [
    (["--device", "abacus"], "has no rates measured on it"), (["--measured", "nowhere.json"], "not a gpu_check.json"),
    (["--as", "h100"], "--measured gpu_check.json"), (["detection/none"], "no recipe of egs"), ([], "or give --all")])
def test_what_cannot_be_told_is_refused_with_the_cure(options, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        main(options)


def test_miniatures_and_missing_sections_give_no_rates(measured):
    content = json.loads(measured.read_text())
    del content["sections"]["full"]
    measured.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no rate was measured for 'full' in bfloat16.*--sections ceilings,full"):
        of_check(measured).speed("bfloat16", "full")
    measured.write_text(json.dumps(content | {"about": {"tiny": True}}))
    with pytest.raises(InputError, match="in miniature"):
        of_check(measured)
