"""Published checkpoints, in files with their names and formats."""

import numpy as np
import pytest
import torch

from tests.detect.agreement import runner
from tests.detect.experiments import SSL, make_experiment, make_pruned, wave
from tests.peers.test_backends_sls import Published
from wedefense import load_detector
from wedefense.bin.models import main as models
from wedefense.detect.export import export
from wedefense.utils.errors import InputError

pytest.importorskip("s3prl")


@pytest.fixture(scope="module")
def sls():
    torch.manual_seed(0)
    model = Published().eval()
    model.first_bn.running_mean.fill_(0.2)
    return model


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("mhfa"), projection_args__project_type="softmax", **SSL)


@pytest.mark.parametrize("prefix, seconds", [("", 6.0), ("module.", 1.7)])
def test_sls_scores_are_the_published_ones(sls, prefix, seconds, tmp_path):
    path = tmp_path / "epoch_2.pth"
    torch.save({prefix + name: tensor for name, tensor in sls.state_dict().items()}, path)
    model, wav = load_detector(path), wave(seconds).astype(np.float32)
    score = model.score(wav, 16000)
    with torch.no_grad():  # what the authors' evaluation does
        expected = sls(torch.from_numpy(np.tile(wav, 3)[:64_600])[None])[0]
    assert score.raw == pytest.approx(float(expected[1]), abs=1e-5)
    assert score.llr == pytest.approx(float(expected[1] - expected[0]) - np.log(2322 / 2280), abs=1e-4)
    assert score.heard == pytest.approx(min(seconds, 4.0375)) and "64,600" in model.remark
    assert len(model.score(wave(9.0), 16000, window=60).windows) == 4


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_published_form_is_told_in_what_a_training_wraps_it_in(sls, key, tmp_path):
    torch.save(sls.state_dict(), tmp_path / "epoch_2.pth")
    torch.save({"epoch": 3, key: sls.state_dict(), "optimizer": {}}, tmp_path / "last.ckpt")
    wav = wave(2.0)
    wrapped, bare = (load_detector(tmp_path / name).score(wav, 16000).llr for name in ("last.ckpt", "epoch_2.pth"))
    assert wrapped == bare


def test_a_published_model_exports_with_the_input_it_was_published_for(sls, tmp_path):
    pytest.importorskip("onnxruntime")
    torch.save(sls.state_dict(), tmp_path / "epoch_2.pth")
    model = load_detector(tmp_path / "epoch_2.pth")
    run = runner(export(model, tmp_path / "out", "onnx")[1].path)
    for seconds in (1.7, 6.0):  # repeated, and cut, to 64,600 samples
        wav = wave(seconds).astype(np.float32)
        llr = run(wav[None], np.array([len(wav)]))[0]
        assert llr[0] == pytest.approx(model.score(wav, 16000).llr, abs=1e-4)


def test_a_pruned_model_scores_as_the_experiment_it_is_of(exp, tmp_path):
    wav = wave(2.0)
    expected = load_detector(exp).score(wav, 16000)
    alone = load_detector(make_pruned(tmp_path / "hub", exp))
    assert alone.score(wav, 16000).llr == pytest.approx(
        expected.llr + np.log(30 / 70) - np.log(18_797 / 163_560), abs=1e-4)
    inside = load_detector(make_pruned(exp / "pruned_model", exp))  # labels and config of its experiment
    assert inside.score(wav, 16000).llr == pytest.approx(expected.llr, abs=1e-5) and not inside.remark


@pytest.mark.parametrize("name, message", [
    ("fc0.weight", "fc0.weight"), ("fc3.bias", "projection.fc3.bias"), ("first_bn.running_var", "first_bn.running_var"),
    ("ssl_model.model.encoder.layers.1.fc1.weight", "encoder.layers.1.fc1.weightX")])
def test_a_renamed_tensor_of_sls_is_refused_by_name(sls, name, message, tmp_path):
    torch.save({key + "X" * (key == name): tensor for key, tensor in sls.state_dict().items()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=message):
        load_detector(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["att_head.weight", "weights_k", "projection.trans.0.weight",
                                  "projection.trans.2.weight",
                                  "frontend.upstream.encoder.transformer.layers.0.final_layer_norm.bias"])
def test_a_renamed_tensor_of_a_pruned_model_is_refused_by_name(exp, name, tmp_path):
    folder = make_pruned(tmp_path, exp)
    whole = torch.load(folder / "whole_pytorch_model.bin", weights_only=True)
    torch.save({key + "X" * (key == name): tensor for key, tensor in whole.items()}, folder / "whole_pytorch_model.bin")
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load_detector(folder)


def test_hub_models_are_taken_from_the_cache_by_id_and_by_name(exp, tmp_path, monkeypatch):
    monkeypatch.setenv("WEDEFENSE_CACHE", str(tmp_path))
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    make_pruned(tmp_path / "JYP2024--Wedefense_ASV2025_WavLM_Base_Pruning", exp)
    wav = wave(1.0)
    one, other = (load_detector(name).score(wav, 16000).llr for name in (
        "hybrid_pruning_wavlm_base", "JYP2024/Wedefense_ASV2025_WavLM_Base_Pruning"))
    assert one == other


def test_the_table_of_models(capsys):
    models([])
    text = capsys.readouterr().out
    for part in ("xlsr_sls_v1", "v2/epoch_16.pth", "JYP2024/Wedefense_ASV2025_WavLM_Base_Pruning", "eval 3.758",
                 "in_the_wild 7.84", "arXiv:2508.16232"):
        assert part in text
