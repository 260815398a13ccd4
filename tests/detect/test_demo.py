"""The page of `wedefense demo`: what is behind it without gradio, and, where gradio is, the page as it is served."""

import json
import re
import runpy
import sys
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import yaml

import wedefense
from tests.detect.experiments import SSL, make_experiment, wave
from wedefense import load_detector
from wedefense.bin.demo import main
from wedefense.bin.export import main as export
from wedefense.detect.attention import attention
from wedefense.detect.demo.answer import Answers, on_grid
from wedefense.detect.demo.page import demo, named_models
from wedefense.detect.demo.space import write_space
from wedefense.detect.score import Score, Window
from wedefense.detect.share import About
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One that scores frames and is calibrated, and one that does neither, nor has any attention."""
    folder = tmp_path_factory.mktemp("demo")
    mhfa = load_detector(make_experiment(folder / "mhfa", **SSL))
    plain = load_detector(make_experiment(folder / "plain", dataset_args__frontend="fbank", model="XVEC",
                                          model_args={"embed_dim": 8}))
    return {"mhfa": replace(mhfa, calibration=Calibration((2.0,), 1.0)), "<plain>": plain}


@pytest.fixture
def clip(tmp_path):
    soundfile.write(path := tmp_path / "a <b> & c.wav", wave(3.1), 16000)
    return str(path)


def shown(html):
    """The text of a page, without its pictures."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", " PICTURE ", html, flags=re.DOTALL))


def test_the_page_says_what_score_and_locate_say_beside_one_another(models, clip):
    together, one, two = Answers(models)(clip, 0.2, 0.1)
    scores = {name: model.score(clip, prior=0.2) for name, model in models.items()}
    for (name, model), part in zip(models.items(), (one, two), strict=True):
        score, text = scores[name], shown(part)
        assert f"verdict {score.decision}" in part and score.meaning[1:] in text
        assert f"LLR {score.llr:.3f}" in text and f"below {score.threshold:.3f}" in text and "20 % are spoofs" in text
        assert ("calibrated: llr = 2 x score" in text) == (model.calibration is not None)
    found = models["mhfa"].locate(clip, smooth=0.1)
    assert f"{found.fake_seconds:.2f} of 3.10 s called fake in" in shown(one) and "frames of 20 ms" in shown(one)
    assert "not calibrated: trust the order" in shown(two) and "windows of 2 s" in shown(two)
    assert one.count("<svg") == 2 and two.count("<svg") == 1 and "XVEC has no attention" in two
    same = len({score.decision for score in scores.values()}) == 1
    assert ("both say" if same else "they disagree") in together
    assert "a &lt;b&gt; &amp; c.wav" in together and "&lt;plain&gt;" in two and "<b>" not in together + one + two
    assert str(models["mhfa"].weights.parent) not in together + one + two
    names = [set(re.findall(r' id="([^"]+)"', part)) for part in (one, two)]  # within the pictures
    assert all(names) and not names[0] & names[1]


def test_bad_recordings_are_told_in_one_line(models, tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "nothing.wav").touch()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "three_hours.flac", np.zeros(3 * 3600 * 1000, np.int16), 1000)
    answers = Answers(models)
    for name, reason in ((None, "Choose a file"), ("text.txt", "not readable: .*ffmpeg"),
                         ("nothing.wav", "an empty file"), ("empty.wav", "no samples in it"),
                         ("three_hours.flac", r"lasts 3:00:00 h, and this page takes up to 5:00 min")):
        told, *parts = answers(name and str(tmp_path / name), 0.05)
        assert re.search(reason, told) and told.count("<p") == 1 and "\n" not in told and parts == ["", ""]
        assert str(tmp_path) not in told


def test_a_model_that_fails_does_not_take_the_other_along(models, clip, caplog, monkeypatch):
    broken = replace(models["<plain>"])
    monkeypatch.setattr(broken, "score_files", lambda *_, **__: 1 / 0)
    told, one, two = Answers({"mhfa": models["mhfa"], "broken": broken})(clip, 0.05)
    assert "verdict" in one and shown(two).strip().startswith("broken: no answer, ZeroDivisionError")
    assert "division by zero" in caplog.text  # for who runs the server
    assert shown(Answers(models)(clip, 7.0)[1]).startswith(" mhfa: p_spoof: must lie between")


def test_windows_of_a_long_recording_are_listed_and_attention_is_of_the_lowest(models, tmp_path):
    model = replace(models["mhfa"], input_policy=replace(models["mhfa"].input_policy, whole=1.0, window=1.0))
    soundfile.write(tmp_path / "long.wav", wave(2.5), 16000)
    score = model.score(tmp_path / "long.wav")
    _, part = Answers({"model": model})(str(tmp_path / "long.wav"), 0.05)
    assert len(score.windows) > 2 and f"The {len(score.windows)} windows" in part
    assert all(f"{window.llr:.3f}" in part for window in score.windows)
    assert f"the window with the lowest score, from {score.lowest.start:.1f} s" in part


def test_attention_is_that_of_the_forward_pass(models, tmp_path):
    model, wav = models["mhfa"], wave(0.7).astype(np.float32)
    found = attention(model, model.open("x", wav, 16000), 0.0, 0.7)
    backend = model.detector.backend
    assert found.layers.keys() == {"keys", "values"}
    np.testing.assert_allclose(found.layers["keys"], backend.weights_k.softmax(0).detach().numpy())
    assert found.frames.shape[0] == 4 and abs(found.frames.shape[1] - 35) <= 1
    np.testing.assert_allclose(found.frames.sum(axis=1), 1, atol=1e-5)
    short = attention(model, model.open("x", wav[:480], 16000), 0.0, 0.03)  # repeated up to what the encoder needs
    assert short.frames.shape[1] <= 2
    assert attention(models["<plain>"], model.open("x", wav, 16000), 0.0, 0.7) is None


def test_windows_on_a_grid_by_hand():
    windows = (Window(0.0, 1.0, 2.0), Window(0.5, 1.5, 4.0), Window(0.8, 1.8, -6.0))
    score = Score("x", 0.0, 0.5, "spoof", "", 0.5, 0.0, False, 0.0, 1.8, 1.8, windows)
    frames = on_grid(score, 0.5)
    assert frames.times.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert frames.llr.tolist() == [2.0, 3.0, -1.0, -6.0]  # at 0.25, 0.75, 1.25 and 1.75 s


def test_what_cannot_be_shown_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="2 side by side; 3 are given"):
        named_models(["a", "b", "c"])
    for name in ("x/exp", "y/x/exp"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match="both are called x/exp"):
        named_models([str(tmp_path / "x/exp"), str(tmp_path / "y/x/exp")])
    assert named_models(["owner/model"]) == {"owner/model": "owner/model"}
    with pytest.raises(InputError, match="go with one --model"):
        main(["--model", "a", "--model", "b", "--revision", "main"])
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    for call in (lambda: main(["--model", "a"]), lambda: demo("a")):
        with pytest.raises(InputError, match=r"the demo needs the package gradio: pip install 'wedefense\[demo\]'"):
            call()


def test_a_space_runs_the_detector_that_went_along(models, clip, tmp_path, monkeypatch):
    exp, out = models["mhfa"].weights.parents[1], tmp_path / "space"
    for _ in range(2):  # the second time over the first
        assert export([str(exp), "--format", "space", "--out", str(out), "--license", "mit"]) == 0
    assert {path.name for path in out.iterdir()} == {"app.py", "requirements.txt", "README.md", "model"}
    front = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert front["sdk"] == "gradio" and front["app_file"] == "app.py" and front["license"] == "mit"
    assert "models" not in front and len(front["short_description"]) <= 60
    (line,) = (out / "requirements.txt").read_text().splitlines()
    assert line == f"wedefense[demo]=={wedefense.__version__}"
    assert not [path for path in out.rglob("*") if path.is_file() and str(exp.parents[1]).encode() in path.read_bytes()]
    served = {}
    monkeypatch.setattr(wedefense, "demo", served.update, raising=False)
    runpy.run_path(str(out.rename(tmp_path / "elsewhere") / "app.py"))
    ((name, path),) = served.items()
    assert name == "mhfa/exp" and load_detector(path).score(clip).raw == models["mhfa"].score(clip).raw


def test_a_space_of_a_hub_s_detector_names_it(models, tmp_path, monkeypatch):
    lines, readme = write_space(models["mhfa"], "owner/tiny", tmp_path / "a", About(), "git+https://host/x", "v1")
    assert lines == ["`app.py`, `requirements.txt` (wedefense[demo] @ git+https://host/x)"]
    assert "models:\n- owner/tiny\n" in readme.read_text() and not (tmp_path / "a/model").exists()
    served = {}
    monkeypatch.setattr(wedefense, "demo", served.update, raising=False)
    runpy.run_path(str(tmp_path / "a/app.py"))
    assert served == {"owner/tiny@v1": "owner/tiny@v1"}
    _, readme = write_space(models["mhfa"], "xlsr_sls_v2", tmp_path / "b", About())
    assert "Licence of its weights: none that we know of" in readme.read_text()
    exp = models["mhfa"].weights.parents[1]
    with pytest.raises(InputError, match="an experiment lies here"):
        write_space(models["mhfa"], str(exp), exp, About())
    with pytest.raises(InputError, match="--package with space"):
        export([str(exp), "--package", "git+https://host/x", "--out", str(tmp_path)])


def test_the_served_page_asks_no_other_machine_for_anything(models, clip, monkeypatch):
    gradio = pytest.importorskip("gradio")
    client = pytest.importorskip("gradio_client")
    served = []
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda blocks: served.append(blocks))
    path = str(models["mhfa"].weights.parents[1])
    assert main(["--model", path, "--device", "cpu"]) == 0
    (blocks,) = served
    try:
        html = urllib.request.urlopen(blocks.local_url).read().decode()
        assert blocks.local_url.startswith("http://127.0.0.1:") and not blocks.share_url
        loaded = re.findall(r"<(?:script|link)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)", html)
        assert not [url for url in loaded if "127.0.0.1" not in url]
        config = json.loads(urllib.request.urlopen(f"{blocks.local_url}config").read())
        assert not config["analytics_enabled"]
        told, part = client.Client(blocks.local_url, verbose=False, analytics_enabled=False).predict(
            client.handle_file(clip), 0.05, 0.0, api_name="/listen")
        score = load_detector(path).score(clip)
        assert f"verdict {score.decision}" in part and f"LLR {score.llr:.3f}" in part
        with pytest.raises(InputError, match="cannot be served at 127.0.0.1, port"):
            main(["--model", path, "--port", str(blocks.server_port), "--device", "cpu"])
    finally:
        blocks.close()
