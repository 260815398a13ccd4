"""A config that came with a model names known architectures and files of its own folder, and nothing else."""

import json
import shutil

import numpy as np
import pytest
import yaml

from tests.detect.experiments import SSL, make_experiment, make_pruned
from wedefense.api import from_pretrained, load_detector, load_experiment
from wedefense.bin import benchmark, embed, export, frames, info, locate, logits, prune, push, score
from wedefense.frontend import s3prl
from wedefense.utils import download
from wedefense.utils.errors import InputError

REFUSED = "names known parts and files of its folder alone; if it is your own, say so with --trust"
WAV = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("whole"), **SSL)


@pytest.fixture
def shared(whole, tmp_path, monkeypatch):
    """A folder somebody shared; whoever fetches or lets s3prl load fails the test."""
    def never(*_, **__):
        raise AssertionError("something was fetched or loaded by s3prl")

    monkeypatch.setattr(download, "_download", never)
    monkeypatch.setattr(s3prl, "load_expert", never)
    return shutil.copytree(whole, tmp_path / "shared")


def change(folder, recorded: bool = False, **data) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in data.items():
        section = config["dataset_args"] if key in ("frontend", "ssl_args", "s3prl_args", "whisper_args") else config
        section[key] = section[key] | value if isinstance(value, dict) and isinstance(section.get(key), dict) else value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if not recorded:
        (folder / "frontend.json").unlink()


ATTACKS = {
    "an s3prl upstream by URL": {"frontend": "s3prl", "s3prl_args": {"upstream_args": {
        "name": "distiller_url", "path_or_url": "http://127.0.0.1:1/x.pt"}}},
    "an s3prl upstream by path": {"frontend": "s3prl", "s3prl_args": {"upstream_args": {
        "name": "distiller_local", "path_or_url": "evil.pt"}}},
    "an s3prl upstream by name": {"frontend": "s3prl", "s3prl_args": {"upstream_args": {"name": "apc"}}},
    "a URL": {"ssl_args": {"upstream_args": {"name": "wavlm_base", "path_or_url": "http://127.0.0.1:1/x.pth"}}},
    "a URL as a name": {"ssl_args": {"upstream_args": {"name": "http://127.0.0.1:1/x.pt"}}},
    "a hub id": {"ssl_args": {"upstream_args": {"name": "wavlm_base", "path_or_url": "some/model"}}},
    "a hub id as a name": {"ssl_args": {"upstream_args": {"name": "some/model"}}},
    "a path outside": {"ssl_args": {"upstream_args": {"name": "wavlm_base", "path_or_url": "../outside.pt"}}},
    "an absolute path": {"ssl_args": {"upstream_args": {"name": "wavlm_base", "path_or_url": "/etc/passwd"}}},
    "a link that leads outside": {"ssl_args": {"upstream_args": {"name": "wavlm_base", "path_or_url": "link.pt"}}},
    "whisper elsewhere": {"frontend": "whisper", "whisper_args": {"upstream_args": {"name": "../outside.pt"}}},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_front_end_from_elsewhere(shared, attack):
    (shared / "link.pt").symlink_to("../outside.pt")
    (shared.parent / "outside.pt").write_bytes(b"x")
    (shared / "evil.pt").write_bytes(b"x")
    change(shared, **ATTACKS[attack])
    for load in (load_detector, load_experiment):
        with pytest.raises(InputError, match=f"config.yaml: upstream_args.(name|path_or_url): .*{REFUSED}"):
            load(shared)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if "s3prl" in attack])
def test_a_recorded_shape_does_not_open_the_door_to_s3prl(shared, attack):
    change(shared, recorded=True, **ATTACKS[attack])
    with pytest.raises(InputError, match=REFUSED):
        load_detector(shared)


def test_a_download_folder_is_not_chosen_by_a_config(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("WEDEFENSE_CACHE", str(tmp_path / "cache"))
    asked = []
    monkeypatch.setattr(download, "_download", lambda url, part, token: asked.append((url, part)) or part.touch())
    change(shared, ssl_args={"download_dir": str(tmp_path / "site-packages"), "upstream_args": {"name": "wavlm_base"}})
    with pytest.raises(InputError):
        load_detector(shared)
    (url, part), = asked
    assert url.startswith("https://huggingface.co/s3prl/") and part.parent == tmp_path / "cache"
    assert not (tmp_path / "site-packages").exists()


def test_paths_of_the_machine_it_was_trained_on_are_idle_where_the_shape_is_recorded(shared):
    change(shared, recorded=True, ssl_args={"download_dir": "/nowhere", "upstream_args": {
        "name": "wavlm_tiny", "path_or_url": "/data/of/somebody/wavlm.pt"}})
    model = load_detector(shared)
    options = model.config.dataset_args.ssl_args
    assert options.upstream_args.path_or_url is None and options.download_dir is None
    assert np.isfinite(model.score(0.1 * np.ones(16000, np.float32), 16000).llr)


def test_a_file_of_the_folder_may_be_named(shared):
    make_pruned(shared / "encoder", shared)
    change(shared, ssl_args={"upstream_args": {"name": "wavlm_tiny", "path_or_url": "encoder/pytorch_model.bin"}})
    assert load_detector(shared).labels.names == ("bonafide", "spoof")


@pytest.mark.parametrize("key, value", [
    ("model", "somebody.code:Backend"), ("projection_args", {"project_type": "package.module:Class"}),
    ("dataset_args", {"frontend": "a.b:C"})])
def test_code_is_not_named(shared, key, value):
    change(shared, recorded=True, **{key: value})
    with pytest.raises(InputError, match=f"config.yaml:.* names code; .*{REFUSED}"):
        load_detector(shared)


TRAINED_BY = {
    "loss": "somebodys_code:Loss", "loss_args": {"gamma": 2.0, "classes": ["a", "b"]}, "mode": "somebodys_mode",
    "optimizer": "somebodys_code:Optimizer", "optimizer_args": {"rho": 0.1}, "scheduler": "somebodys_code.rates:Cosine",
    "scheduler_args": {"initial_lr": 0.1, "final_lr": 0.001},
    "dataset_args": {"augment": [{"type": "noise", "prob": 0.5}, {"type": "somebodys_code:Gain", "decibels": [-3, 0]},
                                 {"type": "one_of", "steps": [{"type": "somebodys_code:Gain"}]}]}}


@pytest.mark.parametrize("there", [False, True])
def test_what_only_trained_it_is_neither_needed_nor_imported(shared, tmp_path, monkeypatch, there):
    """Nor lost: the folder is shared on with what it says of its training."""
    if there:
        (tmp_path / "somebodys_code.py").write_text("raise SystemExit('imported')\n")
        monkeypatch.syspath_prepend(tmp_path)
    expected = load_detector(shared).score(WAV, 16000).llr
    change(shared, recorded=True, **TRAINED_BY)
    model = load_detector(shared)
    assert model.score(WAV, 16000).llr == expected
    assert load_experiment(shared).config.loss == "somebodys_code:Loss"
    assert export.main([str(shared), "--format", "hub", "--out", str(tmp_path / "out")]) == 0
    before, after = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (shared, tmp_path / "out"))
    assert {key: after[key] for key in TRAINED_BY} == {key: before[key] for key in TRAINED_BY}
    card = (tmp_path / "out/README.md").read_text()
    assert "It has parts that lie neither" not in card and "learning rate 0.1 to 0.001" in card
    assert load_detector(shared, trust=True).score(WAV, 16000).llr == expected


@pytest.mark.parametrize("change_to, said", [
    ({"model": "gone.code:Backend"}, "model: back-end 'gone.code:Backend': there is no module 'gone'; install its "
                                     "package, or name the folder that holds it in PYTHONPATH"),
    ({"model": "lacking:Backend"}, r"model: back-end 'lacking:Backend': its module cannot be imported \(No module "
                                   r"named 'nowhere'\); install what it needs"),
    ({"model": "loudest"}, r"model: unknown back-end 'loudest'.*; or install the package that declares it"),
    ({"projection_args": {"project_type": "gone:Head"}}, "projection_args.project_type: projection 'gone:Head': there"),
    ({"dataset_args": {"frontend": "gone:Ears"}}, "dataset_args.frontend: front-end 'gone:Ears': there is no module")])
def test_what_scores_and_is_not_here_is_named(shared, tmp_path, monkeypatch, change_to, said):
    (tmp_path / "lacking.py").write_text("import nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    change(shared, recorded=True, **change_to)
    with pytest.raises(InputError, match=rf"config.yaml:\d+: {said}"):
        load_detector(shared, trust=True)


def test_other_files_are_not_laid_under_it(shared):
    text = (shared / "config.yaml").read_text()
    (shared / "config.yaml").write_text(f"base: [../../secret.yaml]\n{text}")
    with pytest.raises(InputError, match=f"config.yaml: base: leads to other files; .*{REFUSED}"):
        load_detector(shared)


def test_a_cut_model_s_config_is_that_of_the_folder_around_it(shared):
    make_pruned(shared / "cut", shared)
    change(shared, recorded=True, **ATTACKS["an s3prl upstream by URL"])
    with pytest.raises(InputError, match=REFUSED):
        load_detector(shared / "cut")


@pytest.mark.parametrize("main, arguments", [
    (score.main, ["--model", "{}", "{}/label2id"]), (frames.main, ["--model", "{}", "{}/label2id", "--out", "x"]),
    (export.main, ["{}", "--out", "x"]), (logits.main, ["--exp_dir", "{}", "--sets", "dev"]),
    (embed.main, ["--exp_dir", "{}", "--sets", "dev", "--data", "x"]), (prune.main, ["--exp_dir", "{}"]),
    (prune.main, ["--exp_dir", "x", "--model", "{}", "--target_sparsity", "0.3"]),
    (locate.main, ["--model", "{}", "{}/label2id"]), (info.main, ["{}"]), (push.main, ["{}", "owner/model"]),
    (embed.main, ["--model", "{}", "{}/label2id", "--out", "x"])],
    ids=["score", "frames", "export", "logits", "embed", "prune", "prune --model", "locate", "info", "push",
         "embed recordings"])
def test_every_command_holds_a_model_to_it_and_takes_trust(shared, main, arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    change(shared, recorded=True, **ATTACKS["an s3prl upstream by URL"])
    arguments = [text.replace("{}", str(shared)) for text in arguments]
    with pytest.raises(InputError, match=REFUSED):
        main(arguments)
    try:  # trusted, it goes on, and fails on something else; info tells what there is
        main([*arguments, "--trust"])
        told = capsys.readouterr().out
        assert main is info.main and "as a detector" in told
    except InputError as error:
        told = str(error)
    assert told and REFUSED not in told


def test_what_takes_no_trust_holds_a_model_to_it_too(shared, tmp_path):
    change(shared, recorded=True, **ATTACKS["an s3prl upstream by URL"])
    (tmp_path / "set").mkdir()
    (tmp_path / "set/wav.scp").write_text("a a.wav\nb b.wav\n")
    (tmp_path / "set/utt2lab").write_text("a spoof\nb bonafide\n")
    with pytest.raises(InputError, match=REFUSED):
        benchmark.main(["--model", str(shared), "--sets", str(tmp_path / "set"), "--out", str(tmp_path / "out")])
    for load in (from_pretrained, load_detector):
        with pytest.raises(InputError, match=REFUSED):
            load(str(shared))


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"family": "wavlm"}', '{"blocks": "x"}', "[" * 100_000])
def test_a_broken_shape(shared, text):
    (shared / "frontend.json").write_text(text)
    with pytest.raises(InputError, match="frontend.json"):
        load_detector(shared)


@pytest.mark.parametrize("key, value", [
    ("dim", 0), ("dim", -64), ("dim", 2**40), ("total_heads", 0), ("total_heads", 7), ("pos_conv_groups", 0),
    ("pos_conv_kernel", 2**40), ("conv_layers", []), ("conv_layers", [[32, 0, 5]]), ("conv_layers", [[2**40, 10, 5]]),
    ("rel_buckets", -1), ("layer_drop", 2.0), ("normalize_eps", float("nan")), ("hidden_dropout", float("nan")),
    ("blocks", [{"heads": [0, 0], "ff_dim": 4}]), ("blocks", [{"heads": [99], "ff_dim": 4}]),
    ("blocks", [{"heads": [0], "ff_dim": 2**40}]), ("blocks", [{"heads": [0], "ff_dim": 8}] * 5000)])
def test_an_impossible_shape(shared, key, value):
    content = json.loads((shared / "frontend.json").read_text())
    (shared / "frontend.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(InputError, match="frontend.json"):
        load_detector(shared)
