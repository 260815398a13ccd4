"""A detector pushed to a hub and pulled by its id and a revision: the same scores, a card that hubs can read."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

import wedefense
from tests.detect.experiments import SSL, make_experiment, wave
from tests.hub import TOKEN, hub  # noqa: F401, a fixture
from tests.report.test_model_card import evaluated
from wedefense import LoadedDetector, from_pretrained, load_detector
from wedefense.bin.info import main as info
from wedefense.bin.push import main as push
from wedefense.bin.score import main as score
from wedefense.cli import main as run
from wedefense.config.loader import load_config
from wedefense.report.hub_card import base_model
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    exp = make_experiment(tmp_path_factory.mktemp("mhfa"), **SSL)
    Calibration((2.0,), 1.0).save(exp / "calibration.json")
    evaluated(exp)
    return exp


@pytest.fixture
def clip(tmp_path):
    soundfile.write(path := tmp_path / "clip.wav", wave(1.5), 16000)
    return str(path)


def test_pushed_and_pulled_by_id_and_revision_it_scores_the_same(hub, exp, clip, tmp_path, monkeypatch):  # noqa: F811
    model = load_detector(exp)
    url = model.push_to_hub("somebody/tiny", token=TOKEN, license="cc-by-4.0", datasets=["somebody/corpus"])
    first = url.rsplit("/", 1)[1]
    assert url == f"{hub.url}/somebody/tiny/commit/{first}" and hub.repos["somebody/tiny"].refs["main"] == first
    other = make_experiment(tmp_path / "other")  # no calibration, no shape of a front-end: none stays behind
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert push([str(other), "somebody/tiny", "--message", "Another"]) == 0
    assert push([str(exp), "somebody/tiny", "--branch", "trial/1", "--license", "mit"]) == 0
    monkeypatch.delenv("HF_TOKEN")

    pulled = from_pretrained("somebody/tiny", revision=first)
    wav = wave(2.0)
    assert pulled.score(wav, 16000).llr - model.score(wav, 16000).llr == 0.0
    assert np.abs(pulled.embed(wav, 16000) - model.embed(wav, 16000)).max() == 0.0
    assert load_detector("somebody/tiny@trial/1").score(wav, 16000).llr == model.score(wav, 16000).llr
    newest = LoadedDetector.from_pretrained("somebody/tiny")
    assert newest.calibration is None and newest.score(wav, 16000).llr == load_detector(other).score(wav, 16000).llr
    assert first in str(pulled.weights)  # what it is says which commit it is of

    out = str(tmp_path / "scores.txt")
    assert score(["--model", "somebody/tiny", "--revision", first, clip, "--format", "scores", "--out", out]) == 0
    expected = model.score(clip).llr
    assert float((tmp_path / "scores.txt").read_text().split()[-1]) == pytest.approx(expected, abs=1e-6)
    hub.close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (f"somebody/tiny@{first}", "somebody/tiny@trial/1"):
        assert load_detector(name).score(clip).llr == expected
    with pytest.raises(InputError, match="not in the cache .* forbids fetching it"):
        load_detector("somebody/tiny@v7")


def test_the_card_holds_what_hubs_read(hub, exp):  # noqa: F811
    load_detector(exp).push_to_hub("somebody/tiny", token=TOKEN, license="cc-by-4.0", datasets=["somebody/corpus"])
    repo = hub.repos["somebody/tiny"]
    content = repo.commits[repo.refs["main"]]
    assert {*content} == {".gitattributes", "README.md", "config.yaml", "label2id", "frontend.json", "calibration.json",
                          "model.safetensors"}
    card = huggingface_hub.ModelCard(content["README.md"].decode())
    data, results = card.data, json.loads((exp / "results.json").read_text())["sets"]
    assert (data.library_name, data.pipeline_tag, data.license, data.datasets, data.model_name) == (
        "wedefense", "audio-classification", "cc-by-4.0", ["somebody/corpus"], "tiny")
    found = {(row.dataset_name, row.metric_type): row for row in data.eval_results}
    eer = found["eval", "eer"]
    assert eer.metric_value == pytest.approx(100 * results["eval"]["eer"], abs=0.01) and eer.metric_name == "EER %"
    assert eer.metric_args["level"] == 0.95
    assert eer.metric_args["interval"] == pytest.approx(
        [100 * limit for limit in results["eval"]["confidence"]["eer"]], abs=0.01)
    assert ("eval calibrated", "cllr") in found and set(data.metrics) >= {"eer", "min_dcf", "cllr"}
    assert 'wedefense.load_detector("somebody/tiny")' in card.text and "## Limits" in card.text
    assert "score --model somebody/tiny" in card.text and "FOLDER" not in card.text


def test_the_encoder_that_training_began_with_is_named_as_hubs_call_it(tmp_path):
    def of(**data):
        (tmp_path / "c.yaml").write_text(json.dumps({"dataset_args": data}))
        return base_model(load_config(tmp_path / "c.yaml"))

    assert of(frontend="ssl", ssl_args={"upstream_args": {"name": "wavlm-base-plus"}}) == "microsoft/wavlm-base-plus"
    assert of(frontend="whisper", whisper_args={"upstream_args": {"name": "whisper_base"}}) == "openai/whisper-base"
    assert of(frontend="conformer", conformer_args={"upstream_args": {"name": "stt_en_conformer_ctc_large"}}) == (
        "nvidia/stt_en_conformer_ctc_large")
    assert of(frontend="ssl", ssl_args={"upstream_args": {"name": "x", "path_or_url": "some/model@v1"}}) == "some/model"
    assert of(frontend="ssl", ssl_args={"upstream_args": {"name": "wavlm_tiny"}}) is None
    assert of(frontend="fbank") is None


def test_an_onnx_file_is_put_beside_it_if_asked_for_and_goes_with_its_model(hub, tmp_path):  # noqa: F811
    pytest.importorskip("onnxruntime")
    model = load_detector(make_experiment(tmp_path))
    model.push_to_hub("somebody/fbank", token=TOKEN, onnx=True)
    repo = hub.repos["somebody/fbank"]
    files = repo.commits[repo.refs["main"]]
    assert {"model.onnx", "export.json"} <= {*files} and b'InferenceSession("model.onnx")' in files["README.md"]
    model.push_to_hub("somebody/fbank", token=TOKEN)
    assert not {"model.onnx", "export.json"} & {*repo.commits[repo.refs["main"]]}


def test_bars_that_move_the_cursor_go_to_terminals_alone(hub, tmp_path, capsys, monkeypatch):  # noqa: F811
    model = load_detector(make_experiment(tmp_path))
    model.push_to_hub("somebody/fbank", token=TOKEN)
    load_detector("somebody/fbank")
    assert "README.md" not in capsys.readouterr().err
    assert not huggingface_hub.utils.are_progress_bars_disabled()  # for others in this process


def test_who_may_not_push_is_told_what_a_token_needs(hub, exp, monkeypatch):  # noqa: F811
    with pytest.raises(InputError, match=r"'somebody/tiny': pushing needs a token; make a token that may write at "):
        push([str(exp), "somebody/tiny"])
    hub.add("another/tiny", {"README.md": b"mine"})
    with pytest.raises(InputError, match="answered 40[13] .*; make a token that may write at "):
        load_detector(exp).push_to_hub("another/tiny", token="hf_another")
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    with pytest.raises(InputError, match="forbids to push"):
        load_detector(exp).push_to_hub("somebody/tiny", token=TOKEN)


def test_info_of_a_hub_s_detector_and_a_file_that_is_here_has_no_revision(hub, exp, capsys):  # noqa: F811
    load_detector(exp).push_to_hub("somebody/tiny", token=TOKEN)
    assert info(["somebody/tiny", "--revision", "main"]) == 0
    assert "MHFA" in capsys.readouterr().out
    with pytest.raises(InputError, match="is here, and only what a hub has is of a revision"):
        load_detector(exp, revision="main")


def test_the_page_about_sharing_runs_as_it_stands(hub, tmp_path, monkeypatch):  # noqa: F811
    pytest.importorskip("onnxruntime")
    section = README.split("## Sharing a detector")[1].split("\n## ")[0]
    bash, python = (re.search(rf"^```{kind}\n(.*?)^```", section, re.M | re.S)[1] for kind in ("bash", "python"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    Path("exp").mkdir()
    make_experiment(tmp_path / "made").rename(tmp_path / "exp/mhfa")
    soundfile.write("clip.wav", wave(0.6), 16000)
    for line in bash.splitlines():
        assert run(shlex.split(line, comments=True)[1:]) == 0, line
    exec(compile(python, "README.md", "exec"), {"wedefense": wedefense})
    assert (tmp_path / "shared/README.md").is_file()
    assert {"main", "trial"} == {*hub.repos["owner/my-detector"].refs}
