"""What the README shows of using a detector runs as it stands there."""

import glob
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment, wave
from wedefense.cli import main
from wedefense.data.spans import Span, write_spans
from wedefense.utils.tables import write_table

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Using a detector")[1].split("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the examples name: a model, recordings, a table, scores and their labels."""
    make_experiment(tmp_path, **SSL).rename(tmp_path / "mhfa")
    (tmp_path / "exp").mkdir()
    (tmp_path / "mhfa").rename(tmp_path / "exp/mhfa")
    (tmp_path / "recordings").mkdir()
    for number, name in enumerate(("clip.wav", "other.wav", "recordings/a.flac")):
        soundfile.write(tmp_path / name, wave(0.6 + 0.3 * number, 22050, 2, number), 22050)
    write_table(tmp_path / "wav.scp", {"one": str(tmp_path / "clip.wav"), "two": str(tmp_path / "other.wav")})
    write_table(tmp_path / "scores.txt", {f"u{number}": str(number) for number in range(8)})
    write_table(tmp_path / "utt2lab", {f"u{number}": "bonafide" if number > 3 else "spoof" for number in range(8)})
    write_table(tmp_path / "utt2attack", {f"u{number}": "-" if number > 3 else f"A0{number}" for number in range(8)})
    for name, sign in (("mhfa", 1), ("sls", -1)):  # scored sets, to be compared
        (tmp_path / f"exp/{name}/posteriors/eval").mkdir(parents=True)
        write_table(tmp_path / f"exp/{name}/posteriors/eval/llr.txt", {f"u{n}": str(sign * n) for n in range(8)})
    (tmp_path / "exp/sls/results.json").write_text(json.dumps({"sets": {"eval": {"eer": 0.2}}}))
    (tmp_path / "data/eval").mkdir(parents=True)
    (tmp_path / "data/eval/utt2lab").write_bytes((tmp_path / "utt2lab").read_bytes())
    spans = {"one": [Span(0, 0.2, "bonafide"), Span(0.2, 0.6, "spoof")],
             "two": [Span(0, 0.6, "bonafide"), Span(0.6, 0.9, "spoof")]}
    for name in ("dev", "data/dev"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("segments", "dev/segments", "dev.rttm", "dev_seglab_0.02.npy"):
        write_spans(tmp_path / name, spans)
    (tmp_path / "data/dev/wav.scp").write_bytes((tmp_path / "wav.scp").read_bytes())
    write_table(tmp_path / "data/dev/utt2lab", dict.fromkeys(spans, "spoof"))
    write_table(tmp_path / "dev_frames.txt", {name: " ".join(str(-n % 7) for n in range(frames))
                                              for name, frames in (("one", 30), ("two", 45))})
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "exp/mhfa/models/avg_model.pt").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands(folder, monkeypatch):
    pytest.importorskip("onnxruntime")
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) >= 8
    for line in commands:
        words = shlex.split(line, comments=True)
        if "|" in words:
            monkeypatch.setattr("sys.stdin", open(words[1], encoding="latin-1"))
            words = words[words.index("|") + 1:]
        words = [name for word in words for name in sorted(glob.glob(word)) or [word]]  # as shells do
        assert words[0] == "wedefense" and main(words[1:]) == 0, line
    exported = {path.name for path in folder.glob("exported/*")}
    assert exported == {"model.onnx", "model.int8.onnx", "export.json", "MODEL.md"}
    assert (folder / "shared/model.safetensors").is_file()
    assert (folder / "scores.csv").read_text().startswith("name,llr")


def test_the_lines_of_python(folder):
    block, = blocks("python")
    names = {"samples": wave(1.0, 44100).astype(np.float32)}
    exec(compile(block, "README.md", "exec"), names)
    score, frames = names["score"], names["frames"]
    assert score.decision in score.meaning or score.meaning.endswith(("accept", "reject"))
    assert names["embedding"].shape == (16,) and -1 <= names["likeness"] <= 1
    assert len(frames.times) == len(frames.llr) > 20
