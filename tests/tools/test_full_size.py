"""The frozen row at full size, at a thousandth of it."""

import re

import numpy as np
import pytest

from tools.bench.full_size import LONGEST, MEAN, SHORTEST, durations, main, source
from wedefense.utils.errors import InputError


def test_durations_have_the_stated_mean_or_are_the_corpus_own(tmp_path):
    drawn = durations("train", 25_380, None)
    assert drawn.mean() == pytest.approx(MEAN, rel=0.01) and SHORTEST <= drawn.min() < drawn.max() <= LONGEST
    assert np.array_equal(drawn, durations("train", 25_380, None)) and drawn[0] != durations("eval", 1, None)[0]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/utt2dur").write_text("".join(f"u{i} {i}.5\n" for i in range(101)))
    assert durations("train", 101, tmp_path).tolist() == [i + 0.5 for i in range(101)]
    assert durations("train", 3, tmp_path).tolist() == [0.5, 50.5, 100.5]


def test_sources_are_audio_of_their_own():
    one, other = source(0), source(1)
    assert one.dtype == np.int16 and len(one) == len(other) and not np.array_equal(one, other)
    assert all(500 < np.abs(wav.astype(int)).mean() < 20_000 for wav in (one, other))


def test_a_thousandth_of_the_row(tmp_path, capsys):
    assert main(["--device", "cpu", "--share", "0.001", "--epochs", "1", "--model", "wavlm_tiny", "--num_workers", "1",
                 "--folder", str(tmp_path / "kept"), "--dataloader_args.batch_size", "8"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"train 0\.0\d h, eval 0\.0\d h of flac, log-normal durations, mean 3.45 s", output)
    assert len(re.findall(r"epoch 1: [\d.]+ s, [\d.]+ audio h / s", output)) == 1
    assert "embedding eval: 71 files in " in output
    assert len(list((tmp_path / "kept/audio/train").glob("*.flac"))) == 25
    labels = (tmp_path / "kept/data/train/utt2lab").read_text()
    assert labels.count("bonafide") == 3 and labels.count("spoof") == 22


def test_the_time_is_bounded_and_what_ended_by_then_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tools.bench.full_size.make_set", lambda *_: 1.0)
    options = ["--model", "wavlm_tiny", "--minutes", "0.001", "--folder", str(tmp_path / "kept")]
    assert main(["--device", "cpu", *options]) == 0
    output = capsys.readouterr().out
    assert "s outside the epochs that ended; 1.00 h of files" in output and "embedding" not in output
    assert "  stopped after 0.001 minutes, in epoch 1" in output


@pytest.mark.parametrize("options, message", [
    (["--share", "0"], "--share must be above 0"), (["--folder", "."], "exists"),
    (["--share", "0.001", "--model", "wavml"], "unknown")])
def test_what_cannot_be_is_refused(options, message, monkeypatch):
    monkeypatch.setattr("tools.bench.full_size.make_set", lambda *_: 1.0)
    with pytest.raises(InputError, match=message):
        main(options)
