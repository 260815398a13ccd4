"""`wedefense adapters`: what a detector's adapters are, a folder of PEFT of them, and a detector without any."""

import logging
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from tests.detect.experiments import wave
from tests.train.test_adapters import KINDS, adapters
from tests.train.test_frozen_encoder import ALONE, config_of, trained
from wedefense import load_detector
from wedefense.bin.adapters import main
from wedefense.bin.average import main as average
from wedefense.bin.info import main as info
from wedefense.detect.adapters import write_peft
from wedefense.detect.export import export
from wedefense.detect.share import About, share
from wedefense.frontend.ssl.adapters import is_adapter
from wedefense.frontend.ssl.formats.peft import CONFIG, WEIGHTS
from wedefense.train.run import build_trainer
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module", params=["lora", "dora"])
def experiment(tmp_path_factory, request):
    into = trained(tmp_path_factory.mktemp("lora"), num_avg=1, scheduler_args__initial_lr=0.05,
                   **adapters(request.param))
    average(["--config", str(into.config)])
    return into


def test_what_is_told_of_them(experiment, capsys):
    main([str(experiment)])
    lines = capsys.readouterr().out.splitlines()
    assert "RA of rank 2, scale 2, on q_proj, v_proj, output_dense of all blocks" in lines[0]
    assert "% of the encoder's" in lines[1] and lines[2].startswith("block  0 changed by  q_proj ") and len(lines) == 5
    assert all(float(word) > 0 for word in lines[2].replace("%", "").split()[-3::2] if word[0].isdigit())
    info([str(experiment)])
    shown = " ".join(capsys.readouterr().out.split())
    count = 3 * (2 * 2 * (64 + 64) + 2 * (64 + 128)) + ("DoRA" in lines[0]) * 3 * 3 * 64
    assert f"of all blocks: {count:,} parameters" in shown and f"{count:,} parameters" in lines[1]


def test_merged_it_scores_the_same_and_has_none(experiment, tmp_path, capsys):
    wav = wave(1.2)
    main([str(experiment), "--merged", str(tmp_path / "merged")])
    said = capsys.readouterr().out
    assert "loaded back, it gives the same outputs" in said and "differ from those before by at most " in said
    merged = load_detector(tmp_path / "merged")
    assert not any(map(is_adapter, merged.detector.state_dict()))
    assert merged.score(wav, 16000).llr == pytest.approx(load_detector(experiment).score(wav, 16000).llr, abs=1e-5)
    with pytest.raises(InputError, match="model.safetensors: has no adapters"):
        main([str(tmp_path / "merged")])
    config = config_of(tmp_path, model_init=str(tmp_path / "merged/model.safetensors"), ssl={"frozen": False})
    state = build_trainer(config, ALONE).detector.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in merged.detector.state_dict().items())


def test_a_folder_of_peft_begins_another_training(experiment, tmp_path, capsys):
    main([str(experiment), "--peft", str(tmp_path / "peft")])
    assert capsys.readouterr().out.splitlines()[-2:] == [str(tmp_path / "peft" / name) for name in (CONFIG, WEIGHTS)]
    main([str(tmp_path / "peft")])
    printed = capsys.readouterr().out
    own = yaml.safe_load(printed)["adapters"]
    assert own["path"] == str(tmp_path / "peft") and printed.startswith("# ") and "over wavlm_tiny" in printed
    info([str(tmp_path / "peft")])
    shown = " ".join(capsys.readouterr().out.split())
    assert "of rank 2, scale 2, on q_proj, v_proj, output_dense of blocks 0, 1, 2" in shown
    assert f"to begin with it wedefense adapters {tmp_path / 'peft'}" in shown
    config = config_of(tmp_path, ssl={"frozen": False, "adapters": own}, num_epochs=1)
    begun = build_trainer(config, ALONE).detector.frontend.state_dict()
    for name, tensor in load_detector(experiment).detector.frontend.state_dict().items():
        torch.testing.assert_close(begun[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "peft"), "--merged", str(tmp_path / "x")])


def test_a_folder_of_peft_over_an_encoder_that_was_trained_before_warns(experiment, tmp_path, caplog,
                                                                                 monkeypatch):
    monkeypatch.setattr(logging.getLogger("wedefense"), "propagate", True)  # which mains switch off
    model = load_detector(experiment)
    write_peft(model, tmp_path / "one")
    assert not caplog.text
    model.config = replace(model.config, model_init="exp/whole/avg_model.pt")
    write_peft(model, tmp_path / "two")
    assert "its encoder began as that of exp/whole/avg_model.pt, and not as wavlm_tiny came" in caplog.text


def test_a_shared_config_opens_no_adapter_elsewhere(experiment, tmp_path):
    """A folder that nobody may read, and one that is no adapter: the weights hold what there is."""
    share(load_detector(experiment), tmp_path / "shared", About())
    assert "RA of rank 2, scale 2, on q_proj" in (tmp_path / "shared/README.md").read_text()
    config = tmp_path / "shared/config.yaml"
    told = yaml.safe_load(config.read_text())
    expected = load_detector(tmp_path / "shared").score(wave(1.0), 16000).llr
    for place in ("/proc/1/root", str(tmp_path)):
        told["dataset_args"]["ssl_args"]["adapters"]["path"] = place
        config.write_text(yaml.safe_dump(told))
        assert load_detector(tmp_path / "shared").score(wave(1.0), 16000).llr == expected


def test_a_check_without_peft_names_the_extra(experiment, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"--check needs the package peft: pip install 'wedefense\[peft\]'"):
        main([str(experiment), "--peft", str(tmp_path / "peft"), "--check", str(tmp_path)])
    with pytest.raises(SystemExit):
        main([str(experiment), "--check", str(tmp_path)])


@pytest.mark.parametrize("style", ["torchscript", "onnx"])
def test_what_is_exported_has_them_in_its_weights(experiment, tmp_path, style):
    pytest.importorskip("onnxruntime")
    written = export(load_detector(experiment), tmp_path, style)
    assert written[1].difference < 1e-4


def test_bottlenecks_are_exported_and_shared_but_not_merged(tmp_path):
    into = trained(tmp_path, num_avg=1, num_epochs=1, name="wavlm_large_tiny", **adapters("bottleneck"))
    average(["--config", str(into.config)])
    model = load_detector(into)
    assert export(model, tmp_path / "out", "torchscript")[1].difference < 1e-4
    with pytest.raises(InputError, match="bottlenecks of 4 units in all blocks are no change of weights"):
        main([str(into), "--merged", str(tmp_path / "merged")])
    with pytest.raises(InputError, match="adapters.type: PEFT has no form for bottlenecks"):
        main([str(into), "--peft", str(tmp_path / "peft")])
    assert KINDS["bottleneck"]["dim"] == model.detector.frontend.upstream.encoder.transformer.layers[
        0].bottlenecks[0].down.out_features
