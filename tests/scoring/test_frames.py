"""From recordings to frame scores to the segment EER, by the commands."""

import json

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment, wave
from wedefense import load_detector
from wedefense.bin.evaluate import main as evaluate
from wedefense.bin.frames import main
from wedefense.metrics.segments import read_frame_scores


def test_frames_of_a_table_against_segment_labels(tmp_path, capsys):
    exp = make_experiment(tmp_path, **SSL)
    for i, seconds in enumerate((0.8, 1.2)):
        soundfile.write(tmp_path / f"{i}.wav", wave(seconds, seed=i), 16000)
    (tmp_path / "wav.scp").write_text("".join(f"u{i} {tmp_path / f'{i}.wav'}\n" for i in range(2)))
    assert main(["--model", str(exp), str(tmp_path / "wav.scp"), "--out", str(tmp_path / "frames"), "--device",
                 "cpu"]) == 0
    assert "2 utterances, a score every 0.02 s" in capsys.readouterr().out
    found = read_frame_scores(tmp_path / "frames")
    assert found["u1"] == pytest.approx(load_detector(exp).frame_scores(tmp_path / "1.wav").llr, rel=1e-3)
    np.save(tmp_path / "x_seglab_0.16.npy", {"u0": np.array([1, 0, 0, 1, 1]), "u1": np.array([1, 1, 0, 0, 1, 1, 1, 1])})
    assert evaluate(["--segments", "0.02", "--scores", str(tmp_path / "frames"), "--keys",
                     str(tmp_path / "x_seglab_0.16.npy"), "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["n_bonafide"], result["n_spoof"]) == (9, 4) and 0 <= result["range_eer"] <= 1
