import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from wedefense.bin.config import main
from wedefense.config.explain import commented, meaning
from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.utils.errors import InputError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob("egs/*/*/conf/*.yaml"))


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("num_avg: 3\ndataset_args:\n  num_frms: 80\n")
    (tmp_path / "c.yaml").write_text("base: base.yaml\ndataset_args: {frontend: lfcc}\nmodel: ResNet18\n")
    monkeypatch.chdir(tmp_path)
    return "c.yaml"


def printed(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", CONFIGS[::5], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_printed_loads_again_as_the_same(path, tmp_path):
    config = load_config(path)
    (tmp_path / "printed.yaml").write_text(text := commented(config))
    again = load_config(tmp_path / "printed.yaml")
    assert commented(again) == text and max(map(len, text.splitlines())) <= 120
    used = config.dataset_args.frontend_section
    assert again.model_args == config.model_args and getattr(again.dataset_args, used) == getattr(
        config.dataset_args, used)


def test_only_what_is_in_use_is_printed(config, capsys):
    text = printed(capsys, "--config", config)
    tree = yaml.safe_load(text)
    assert {key for key in tree["dataset_args"] if key in ("ssl_args", "lfcc_args", "fbank_args")} == {"lfcc_args"}
    assert "num_frms: 80  # frames of a training crop\n" in text and "rawboost_args" not in text
    assert "target_sparsity" not in text and "gpus: [0]" in text
    assert "rawboost_args" in printed(capsys, "--config", config, "--dataset_args.rawboost", "true")


def test_a_key_is_explained(config, capsys):
    explained = printed(capsys, "--config", config, "--explain", "dataset_args.num_frms")
    assert explained.splitlines() == [
        "dataset_args.num_frms: 80", "  meaning  frames of a training crop", "  type     a whole number",
        "  default  150", "  set by   base.yaml:3"]
    text = printed(capsys, "--config", config, "--explain", "average", "--average", "best")
    assert "average: best" in text and "one of last, best" in text and "command line: --average" in text
    assert "nobody: it is the default" in printed(capsys, "--config", config, "--explain", "grad_clip")
    section = printed(capsys, "--config", config, "--explain", "dataset_args.shuffle_args")
    assert "  shuffle_size: 2500  # how far" in section
    with pytest.raises(InputError, match="no 'num_frm' in dataset_args, did you mean 'num_frms'"):
        main(["--config", config, "--explain", "dataset_args.num_frm"])


def test_every_key_of_every_section_can_be_explained(config, capsys):
    for field in dataclasses.fields(Config):
        assert printed(capsys, "--config", config, "--explain", field.name).startswith(("#", field.name))


def test_comments_go_on_below_and_stand_above():
    assert meaning(Config, "keep_last").startswith("epochs whose weights stay, the last ones")
    assert meaning(Config, "keep_last").endswith("best_model.pt and avg_model.pt always stay")
    data = type(Config().dataset_args)
    assert meaning(data, "cache").startswith("memory: 16-bit") and "levels" not in meaning(data, "shuffle")


def test_two_configs_are_set_side_by_side(config, capsys, tmp_path):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/config.yaml").write_text("base: ../c.yaml\nnum_avg: 5\ndataset_args: {frontend: fbank}\n")
    lines = printed(capsys, "--diff", config, "exp").splitlines()
    assert "num_avg: 3 -> 5" in lines and "dataset_args.frontend: lfcc -> fbank" in lines
    assert any(line.startswith("dataset_args.fbank_args.") and ": - -> " in line for line in lines)
    assert not any("num_frms" in line for line in lines)
    assert printed(capsys, "--diff", config, config) == "no difference\n"
    with pytest.raises(InputError, match="--seed"):
        main(["--diff", config, config, "--seed", "3"])


def test_configs_are_compared_where_the_code_of_what_only_trains_is_not(config, capsys, tmp_path):
    for name, gamma in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.yaml").write_text(f"base: c.yaml\nloss: gone:Focal\nloss_args: {{gamma: {gamma}}}\n")
    assert printed(capsys, "--diff", "one.yaml", "two.yaml") == "loss_args: {gamma: 1} -> {gamma: 2}\n"
    (tmp_path / "two.yaml").write_text("base: c.yaml\nmodel: gone:Backend\n")
    with pytest.raises(InputError, match="two.yaml:2: model: back-end 'gone:Backend': there is no module 'gone'"):
        main(["--diff", "one.yaml", "two.yaml"])


@pytest.mark.parametrize("frontend", ["lfcc", "ssl", "s3prl", "whisper", "conformer"])
def test_no_torch_is_loaded(config, frontend):
    code = ("import sys; from wedefense.bin.config import main; "
            f"main(['--config', 'c.yaml', '--dataset_args.frontend', '{frontend}']); sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("section", ["ssl", "huggingface"])
def test_a_name_of_no_encoder_is_refused_before_training(config, section, capsys):
    chosen = ["--config", config, "--dataset_args.frontend", section]
    name = f"--dataset_args.{section}_args.upstream_args."
    with pytest.raises(InputError, match=f"dataset_args.{section}_args.upstream_args.name: unknown SSL model 'wavlm_bas"
                                         "_plus', did you mean 'wavlm_base_plus'"):
        main([*chosen, f"{name}name", "wavlm_bas_plus"])
    Path("my_encoder").mkdir()
    for known in ("wavlm-large", "facebook/wav2vec2-base", "https://here/a.pt", "elsewhere/a.pt", "a.pt", "my_encoder"):
        assert f"name: {known}" in printed(capsys, *chosen, f"{name}name", known)
    assert "wavlm_bas" in printed(capsys, *chosen, f"{name}name", "wavlm_bas", f"{name}path_or_url", "a.pt")
    assert "wavlm_bas" in printed(capsys, *chosen, f"{name}name", "wavlm_bas", "--model_init", "a.pt")
    assert printed(capsys, *chosen, f"{name}name", "wavlm_bas", "--print", "num_gpus") == "1\n"  # stages that score
    assert "lfcc" in printed(capsys, "--config", config, f"{name}name", "wavlm_bas")  # of a front-end not in use


@pytest.mark.parametrize("section, name, said", [
    ("s3prl", "distilhuber", "unknown s3prl upstream 'distilhuber', did you mean 'distilhubert'"),
    ("whisper", "whisper_bas", "unknown Whisper model 'whisper_bas', did you mean 'whisper_base'"),
    ("conformer", "conformer_ctc", "no Conformer, did you mean 'stt_en_conformer_ctc_large'")])
def test_names_of_no_model_are_refused_for_other_front_ends_too(config, section, name, said, monkeypatch, capsys):
    """Names of s3prl's upstreams stand in its sources, which are read and not run."""
    Path("s3prl/upstream/distiller").mkdir(parents=True)
    Path("s3prl/__init__.py").write_text("raise RuntimeError('imported')\n")
    Path("s3prl/upstream/distiller/hubconf.py").write_text(
        "import absent\n\ndef _own(): pass\n\ndef distilhubert(): pass\n\ndef distiller_local(ckpt): pass\n")
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(sys.modules, "s3prl", raising=False)
    chosen = ["--config", config, "--dataset_args.frontend", section]
    option = f"--dataset_args.{section}_args.upstream_args."
    with pytest.raises(InputError, match=f"dataset_args.{section}_args.upstream_args.name: .*{said}"):
        main([*chosen, f"{option}name", name])
    known = {"s3prl": ("distilhubert", "wavlm_base", "wavlm_local"),
             "whisper": ("Whisper-base", "openai/whisper-base", "./a_folder"),
             "conformer": ("nvidia/stt_en_conformer_ctc_large", "https://here/a.nemo")}[section]
    for each in known:
        assert f"name: {each}" in printed(capsys, *chosen, f"{option}name", each)
    given = [*chosen, f"{option}name", name, f"{option}path_or_url", "a.pt"]
    if section == "s3prl":  # its classes are named whatever file they read
        with pytest.raises(InputError, match=said):
            main(given)
        monkeypatch.setattr("wedefense.frontend.names.s3prl_folder", lambda: None)  # nobody knows without s3prl
        assert name in printed(capsys, *chosen, f"{option}name", name)
    else:
        assert name in printed(capsys, *given)
