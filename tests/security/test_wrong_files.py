"""Files in the place of others: each is used for what it holds, or refused by name, and never with a traceback."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from tests.corpus import make_list, write_config
from tests.detect.experiments import SSL, make_experiment, make_pruned
from wedefense import load_detector
from wedefense.bin import average, embed, frames, history, info, llr, logits, score, train
from wedefense.cli import run
from wedefense.config.loader import load_config
from wedefense.experiment.records import read_history, read_results
from wedefense.train import run as train_run
from wedefense.train.transfer import initialised
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    exp = make_experiment(root, **SSL)
    make_pruned(root / "pruned", exp)
    make_list(root, "train", utterances=8)
    soundfile.write(root / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16000)
    return root


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "root")


def weights(root):
    return torch.load(root / "exp/models/avg_model.pt")


USABLE = {
    "last.ckpt": lambda root, path: torch.save({"weights": weights(root), "optimizer": {}, "epoch": 1}, path),
    "a state dict in a dict": lambda root, path: torch.save({"state_dict": weights(root)}, path),
    "the older format": lambda root, path: torch.save(weights(root), path, _use_new_zipfile_serialization=False),
    "safetensors": lambda root, path: save_file({k: v.contiguous() for k, v in weights(root).items()}, path),
}
OTHERS = {
    "empty": lambda root, path: path.touch(),
    "an empty dict": lambda root, path: torch.save({}, path),
    "a list": lambda root, path: torch.save([1, 2], path),
    "numbers": lambda root, path: torch.save({"a": 1, "b": 2.0}, path),
    "a tensor": lambda root, path: torch.save(torch.zeros(3), path),
    "other keys": lambda root, path: torch.save({1: torch.zeros(3), 2: torch.zeros(2)}, path),
    "other tensors": lambda root, path: torch.save({"a": torch.zeros(3)}, path),
    "a pruned encoder": lambda root, path: shutil.copy(root / "pruned/pytorch_model.bin", path),
    "text": lambda root, path: path.write_text("hello"),
    "half": lambda root, path: path.write_bytes((root / "exp/models/avg_model.pt").read_bytes()[:5000]),
    "a folder": lambda root, path: path.mkdir(),
    "a pipe": lambda root, path: os.mkfifo(path),
    "half a safetensors": lambda root, path: path.write_bytes(b"\x10\0\0\0\0\0\0\0{\"a\": 1}"),
    "a script": lambda root, path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path),
}


@pytest.mark.parametrize("kind", USABLE)
def test_weights_in_another_form_are_taken_as_a_model_and_to_start_from(root, kind):
    path = root / "exp/models/other.bin"
    USABLE[kind](root, path)
    own, other = load_detector(root / "exp"), load_detector(path)
    wav = 0.1 * np.ones(16000, np.float32)
    assert own.score(wav, 16000).llr == pytest.approx(other.score(wav, 16000).llr, abs=1e-6)
    config = load_config(write_config(root, **SSL, model_init=str(path)))
    detector = initialised(config, ("bonafide", "spoof"))
    assert torch.equal(detector.state_dict()["backend.pooling_fc.weight"], weights(root)["pooling_fc.weight"])


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("use", ["--model", "--model beside nothing", "--model_init", "info"])
def test_another_file_is_refused_by_name(root, kind, use):
    path = root / ("exp/models/other.bin" if use != "--model beside nothing" else "other.bin")
    OTHERS[kind](root, path)
    if (kind, use) == ("a pruned encoder", "info"):
        assert info.main([str(path)]) == 0
        return
    with pytest.raises(InputError, match="other.bin"):
        if use == "info":
            info.main([str(path)])
        elif use == "--model_init":
            initialised(load_config(write_config(root, **SSL, model_init=str(path))), ("bonafide", "spoof"))
        else:
            score.main(["--model", str(path), str(root / "a.wav")])


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"model_type": 3}', "\x1b",
                                     '{"model_type": "wavlm", "conv_dim": 5}',
                                     '{"model_type": "wavlm", "hidden_size": "x"}', "[" * 100_000, "\0",
                                     '{"model_type": "wavlm", "num_attention_heads": 0}',
                                     '{"model_type": "wavlm", "num_hidden_layers": 99999999999}',
                                     '{"model_type": "whisper"}', '{"model_type": "whisper", "d_model": "x"}'])
def test_a_broken_config_of_hugging_face(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    torch.save({"a": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=str(tmp_path)):
        info.main([str(tmp_path)])


@pytest.mark.parametrize("content", [
    "", "{", "[]", "3", '{"rows": 1}', '{"rows": [1]}', "[" * 100_000, '{"a": "\x1b"}', '{"rows": [{"epoch": "1"}]}',
    '{"rows": [{"epoch": 1, "train_loss": "x"}]}', '{"rows": [{"epoch": 1}], "best": {"epoch": 1}}',
    '{"rows": [{"epoch": 1}], "best": {"epoch": 1, "metric": "x", "value": 1}}',
    '{"rows": [{"epoch": 1}], "best": {"epoch": 1, "metric": "val_eer", "value": NaN}}'])
def test_a_broken_history_and_broken_results(root, content):
    (root / "exp/history.json").write_text(content)
    (root / "exp/results.json").write_text(content)
    torch.save(weights(root), root / "exp/models/model_1.pt")
    for read in (read_history, read_results):
        with pytest.raises(InputError, match="history.json|results.json"):
            read(root / "exp")
    with pytest.raises(InputError, match="history.json"):
        history.main([str(root / "exp")])
    with pytest.raises(InputError, match="history.json"):
        average.main(["--config", str(root / "exp/config.yaml"), "--average", "best"])


@pytest.mark.parametrize("name", ["train.log", "tensorboard", "models", "exp"])
def test_a_training_whose_outputs_cannot_be_written_ends_before_the_work(root, name, monkeypatch):
    monkeypatch.setattr(train_run, "build_trainer", lambda *_: pytest.fail("the work began"))
    exp = root / "new"
    if name == "exp":
        exp.touch()
    else:
        exp.mkdir()
        (exp / name).mkdir() if name == "train.log" else (exp / name).touch()
    config = write_config(root, exp_dir=str(exp), train_data=str(root / "train/raw.list"))
    with pytest.raises(InputError, match="cannot be written"):
        train.main(["--config", str(config), "--device", "cpu"])


def test_a_full_disk_at_stage_6(root):
    exp = str(root / "exp")
    embed.main(["--exp_dir", exp, "--set", "dev", "--data", str(root / "train/raw.list"), "--device", "cpu"])
    logits.main(["--exp_dir", exp, "--set", "dev"])
    (root / "exp/posteriors/dev/llr.txt").symlink_to("/dev/full")
    with pytest.raises(InputError, match="llr.txt: cannot be written .No space left on device"):
        llr.main(["--exp_dir", exp, "--set", "dev"])


@pytest.mark.parametrize("main, arguments", [
    (logits.main, ["--exp_dir", "{}/exp", "--set", "none"]), (llr.main, ["--exp_dir", "{}/exp", "--set", "none"]),
    (llr.main, ["--exp_dir", "{}/nothing", "--set", "dev"]), (frames.main, ["--model", "{}/exp", "{}", "--out", "{}"]),
    (score.main, ["--model", "{}/exp", "{}/a.wav", "--prior", "nan"]),
    (score.main, ["--model", "{}/exp", "{}/a.wav", "--prior", "0"]),
    (score.main, ["--model", "{}/exp", "{}/a.wav", "--cost_fa", "inf"]),
    (score.main, ["--model", "{}/exp", "{}/a.wav", "--config", "{}/none.yaml"]),
    (score.main, ["--model", "", "{}/a.wav"]), (score.main, ["--model", "{}/exp", "", "{}/a.wav"])])
def test_other_wrong_arguments(root, main, arguments):
    try:
        code = main([text.replace("{}", str(root)) for text in arguments])
    except InputError:
        code = 2
    assert code in (1, 2)


def test_the_edge_prints_one_line_and_ends_with_2(root, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["wedefense", "score", "--model", str(root / "nothing"), str(root / "a.wav")])
    with pytest.raises(SystemExit) as ended:
        run()
    printed = capsys.readouterr()
    assert ended.value.code == 2 and not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1


def test_json_written_by_hand(root):
    (root / "exp/calibration.json").write_text(json.dumps({"kind": "calibration", "scales": [1e308], "bias": 1e308}))
    scores, failures = load_detector(root / "exp").score_files({"a": root / "a.wav"})
    assert not scores and "finite" in failures["a"] or np.isfinite(scores[0].llr)
