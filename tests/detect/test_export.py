"""Exports equal their source at every length, and say so when they cannot."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from tests.corpus import make_list
from tests.detect.agreement import experiment, runner, tiny_whisper
from tests.detect.experiments import SSL, make_experiment, wave
from tests.utils.test_files import files_of_at_most
from wedefense import load_detector
from wedefense.bin.export import main
from wedefense.config.frontend import S3prlOptions, SSLOptions, UpstreamOptions, WhisperOptions
from wedefense.data.labels import Labels
from wedefense.detect import export as module
from wedefense.detect.export import export
from wedefense.detect.export_modules import exportable_frontend
from wedefense.frontend.ssl.architecture import BlockShape
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.ssl.zoo import MODELS
from wedefense.frontend.whisper import WhisperFrontend
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError

SECONDS = (0.3, 2.7, 0.01, 5.2)


def same_frames(outputs, model, wavs, resolution=None):
    for wav, row, count in zip(wavs, *outputs, strict=True):
        expected = model.frame_scores(wav, 16000, resolution=resolution).llr
        assert count == len(expected) and not row[count:].any()
        np.testing.assert_allclose(row[:count], expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("frontend, backend, style", [
    ("wavlm_large_tiny", "SSL_BACKEND_SLS", "torchscript"), ("fbank", "SSL_BACKEND_MHFA", "onnx"),
    ("fbank", "SSL_BACKEND_RAPTOR", "onnx")])
def test_a_file_gives_the_outputs_of_python_in_any_batch(frontend, backend, style, tmp_path):
    model = load_detector(experiment(tmp_path, frontend, backend))
    run = runner(export(model, tmp_path / "out", style)[1].path)
    wavs = [wave(seconds, seed=number).astype(np.float32) for number, seconds in enumerate(SECONDS)]
    lengths = np.array([len(wav) for wav in wavs])
    padded = np.full((len(wavs), lengths.max()), 9.0, dtype=np.float32)
    for row, wav in zip(padded, wavs):
        row[:len(wav)] = wav
    llr, embedding, _, *frames = run(padded, lengths)
    assert len(frames) == 2 * (backend == "SSL_BACKEND_MHFA")
    if frames:
        same_frames(frames, model, wavs)
    scores = model.score(wavs, 16000)
    np.testing.assert_allclose(llr, [score.llr for score in scores], atol=1e-4)
    np.testing.assert_allclose(embedding, model.embed(wavs, 16000), atol=1e-4 * max(1, np.abs(embedding).max()))
    for wav, score in zip(wavs, scores):
        assert run(wav[None], np.array([len(wav)]))[0][0] == pytest.approx(score.llr, abs=1e-4)


@pytest.mark.parametrize("samples", [8000, 8040, 8320])
def test_the_frames_of_s3prl_are_as_many_in_a_file_of_onnx(samples, tmp_path):
    """Of lengths that are no multiple of a frame's the last one is begun; a division that cuts had left it out."""
    ssl = {"upstream_args": {"name": "wavlm_tiny"}, "s3prl_frames": True}
    model = load_detector(make_experiment(tmp_path, **SSL | {"dataset_args__ssl_args": ssl}))
    run = runner(export(model, tmp_path / "out", "onnx")[1].path)
    wav = wave(1.0)[:samples].astype(np.float32)
    assert run(wav[None], np.array([len(wav)]))[0][0] == pytest.approx(model.score(wav, 16000).llr, abs=1e-4)


@pytest.mark.parametrize("utterance, style", [("head", "onnx"), ("min", "torchscript")])
def test_heads_of_segments_export_with_the_numbers_of_python(utterance, style, tmp_path):
    pytest.importorskip("onnxruntime")
    model = load_detector(make_experiment(tmp_path, **SSL, localization_args={"resolutions": [20, 80],
                                                                              "utterance": utterance}))
    written = export(model, tmp_path / "out", style)
    wavs = [wave(seconds, seed=number).astype(np.float32) for number, seconds in enumerate((0.01, 1.7))]
    padded = np.zeros((2, 30000), np.float32)
    for row, wav in zip(padded, wavs):
        row[:len(wav)] = wav
    llr, _, _, *frames = runner(written[1].path)(padded, np.array([len(wav) for wav in wavs]))
    same_frames(frames[:2], model, wavs, 20)
    same_frames(frames[2:], model, wavs, 80)
    np.testing.assert_allclose(llr, [score.llr for score in model.score(wavs, 16000)], atol=1e-4)
    description = json.loads((tmp_path / "out" / "export.json").read_text())
    assert description["outputs"][3:] == ["frames_20ms", "frame_counts_20ms", "frames_80ms", "frame_counts_80ms"]
    assert "frame i from i x 20 ms on" in description["frames"]


def test_int8_leaves_the_head_as_it_is(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    exp = make_experiment(tmp_path, **SSL, projection_args__project_type="linear")
    export(load_detector(exp), tmp_path / "out", "onnx", int8=True)
    graph = onnx.load(str(tmp_path / "out/model.int8.onnx")).graph
    small = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    assert len([name for name in small if "frontend" in name or "onnx::MatMul" in name]) > 10, small
    float_ones = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    assert any("projection" in name for name in float_ones) and not any("projection" in name for name in small)
    read_by = [(node.op_type, name) for node in graph.node for name in node.input]
    assert all("Integer" in kind for kind, name in read_by if name in small)
    assert "detector.backend.pooling_fc.weight" in float_ones  # which the scores of frames read too


def test_pruned_encoders_export_too():
    tiny = MODELS["wavlm_tiny"].architecture
    blocks = (BlockShape((1, 3), 128), BlockShape((), 40), BlockShape((0, 2, 3), 0))
    convs = tuple((channels - 3, kernel, stride) for channels, kernel, stride in tiny.conv_layers)
    torch.manual_seed(0)
    architecture = replace(tiny, blocks=blocks, conv_layers=convs, conv_output_scale=True)
    frontend = SSLFrontend(SSLOptions(), architecture=architecture).eval()
    wav, lengths = torch.randn(2, 16000), torch.tensor([16000, 7000])
    with torch.no_grad():
        ours, exportable = frontend(wav, lengths), exportable_frontend(frontend)(wav, lengths)
    assert torch.equal(ours.lengths, exportable.lengths)
    for one, other in zip(ours.layers, exportable.layers):
        torch.testing.assert_close(one, other[:, :one.shape[1]], atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [(0.05, 2.5), (30.0,)])
def test_whisper_exports_up_to_the_30_seconds_of_its_positions(seconds, tmp_path):
    options = WhisperOptions(upstream_args=UpstreamOptions(name=str(tiny_whisper(tmp_path / "whisper"))))
    frontend = WhisperFrontend(options).eval()
    lengths = torch.tensor([round(16000 * length) for length in seconds])
    wav = torch.randn(len(seconds), int(lengths.max()) + 6000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, exportable = frontend(wav, lengths), exportable_frontend(frontend)(wav, lengths)
    assert torch.equal(ours.lengths, exportable.lengths) and len(ours.layers) == len(exportable.layers) == 3
    for one, other in zip(ours.layers, exportable.layers):
        torch.testing.assert_close(one, other[:, :one.shape[1]], atol=1e-4, rtol=0)


def test_the_command_writes_files_measures_and_a_card(tmp_path, capsys, monkeypatch):
    exp = make_experiment(tmp_path, projection_args__project_type="arc_margin", **SSL)
    Calibration((1.5,), 0.5).save(exp / "calibration.json")
    listed = make_list(tmp_path / "data", "dev", utterances=8)
    assert main([str(exp), "--out", str(tmp_path / "out"), "--int8", "--data", str(listed)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("EER") == 3 and "model.int8.ts" in printed
    description = json.loads((tmp_path / "out" / "export.json").read_text())
    whole, small = description["files"]
    assert whole["largest_difference"] < 1e-4 < small["largest_difference"] < 0.5
    assert description["calibration"].startswith("llr = 1.5 x score + 0.5")
    assert description["labels"] == ["bonafide", "spoof"]
    assert (tmp_path / "out" / "model.int8.ts").stat().st_size < 0.8 * (tmp_path / "out" / "model.ts").stat().st_size
    wav = wave(1.0).astype(np.float32)
    llr = runner(tmp_path / "out" / "model.ts")(wav[None], np.array([len(wav)]))[0]
    assert llr[0] == pytest.approx(load_detector(exp).score(wav, 16000).llr, abs=1e-4)  # calibrated
    card = (tmp_path / "out" / "MODEL.md").read_text()
    assert "model.int8.ts" in card and "bonafide 30, spoof 70" in card and "Limits" in card and "Not evaluated" in card
    monkeypatch.chdir(tmp_path / "out")
    soundfile.write("recording.wav", wav, 16000, subtype="FLOAT")
    names = {}
    exec(card.split("```python\n")[1].split("```")[0], names)  # the card's own lines
    assert names["llr"][0] == pytest.approx(float(llr[0]), abs=1e-6) and "onnx" not in card.split("## Data")[0]
    assert capsys.readouterr().out.splitlines()[-1] in ("spoof", "bona fide")


def test_a_model_without_bona_fide_has_embeddings(tmp_path):
    exp = make_experiment(tmp_path, labels=Labels(("anna", "ben", "eve"), (1, 1, 1)))
    path = export(load_detector(exp), tmp_path / "out", "torchscript")[1].path
    wav = wave(1.0).astype(np.float32)
    llr, embedding, _ = runner(path)(wav[None], np.array([len(wav)]))
    assert llr[0] == 0
    np.testing.assert_allclose(embedding[0], load_detector(exp).embed(wav, 16000), atol=1e-4)


def test_8_bit_weights_where_pytorch_makes_none(tmp_path, monkeypatch):
    model = load_detector(make_experiment(tmp_path))
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(InputError, match="no longer has torch.ao.quantization.* --format onnx --int8 does without"):
        export(model, tmp_path / "out", "torchscript", int8=True)


def let_it_differ(model, monkeypatch):
    """What is exported from its source."""
    with torch.no_grad():
        exportable = module.Exportable(model)
        next(exportable.detector.projection.parameters()).add_(0.01)
    monkeypatch.setattr(module, "Exportable", lambda _: exportable)


def test_an_export_that_differs_is_refused_and_not_written(tmp_path, monkeypatch):
    model = load_detector(make_experiment(tmp_path))
    let_it_differ(model, monkeypatch)
    with pytest.raises(InputError, match="not exported, its torchscript form differs"):
        export(model, tmp_path / "out", "torchscript")
    assert not list((tmp_path / "out").iterdir())


def test_a_calibration_of_a_large_scale_is_no_difference(tmp_path, monkeypatch):
    """Scores that lie close together are calibrated by a large scale, and their rounding is multiplied by it."""
    exp = make_experiment(tmp_path)
    score = load_detector(exp).score(wave(1.0), 16000).llr
    Calibration((20_000.0,), -20_000.0 * score).save(exp / "calibration.json")  # LLRs about 0
    model = load_detector(exp)
    assert export(model, tmp_path / "out", "torchscript")[1].difference < 1e-5
    let_it_differ(model, monkeypatch)
    with pytest.raises(InputError, match="not exported"):
        export(model, tmp_path / "other", "torchscript")


@pytest.mark.parametrize("style, ending", [("torchscript", "ts"), ("onnx", "onnx")])
def test_a_full_disk_says_nothing_of_the_model(tmp_path, style, ending):
    """PyTorch's writer of TorchScript had ended the process, and left what it had."""
    pytest.importorskip("onnxruntime")
    model = load_detector(make_experiment(tmp_path, **SSL))
    with files_of_at_most(10_000), pytest.raises(InputError, match=rf"model\S*{ending}: cannot be written .File too"):
        export(model, tmp_path / "out", style)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_too_large_for_onnx_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(module, "_ONNX_BYTES", 1000)
    with pytest.raises(InputError, match="over 2 GB"):
        export(load_detector(make_experiment(tmp_path)), tmp_path / "out", "onnx")


def test_a_front_end_that_exporters_do_not_know_is_refused(tmp_path):
    model = load_detector(make_experiment(tmp_path))
    model.detector.frontend = type("S3prlFrontend", (torch.nn.Module,), {"Options": S3prlOptions})()
    with pytest.raises(InputError, match="S3prlFrontend cannot be exported"):
        module.Exportable(model)
