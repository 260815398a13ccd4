"""Scores of the frames of long recordings: windows, and what their seams leave to see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.detect.experiments import SSL, make_experiment, wave
from wedefense import load_detector
from wedefense.detect.frames import as_in_one_piece, frame_logits, frame_windows
from wedefense.detect.recordings import InputPolicy, open_recording
from wedefense.utils.errors import InputError

MHFA = {"embed_dim": 16, "head_nb": 4, "compression_dim": 8}
PARTS = InputPolicy(whole=9.0, window=9.0)  # 3 s of its own, and 3 s on either side


def test_windows_by_hand():
    policy = InputPolicy(rate=100, window=10.0)
    assert list(frame_windows(3000, 10, policy, 30.0)) == [(0, 3000, 0, None)]
    # 4 s of its own are 40 frames of 10 samples, and 30 frames around them; the last window is for 4 to 8 s
    assert list(frame_windows(3003, 10, policy, 30.0)) == [
        (0, 700, 0, 40), (100, 1000, 30, 70), (500, 1000, 30, 70), (900, 1000, 30, 70), (1300, 1000, 30, 70),
        (1700, 1000, 30, 70), (2100, 903, 30, None)]
    assert list(frame_windows(3209, 10, policy, 30.0))[-1] == (2500, 709, 30, None)


@pytest.mark.parametrize("samples", [3003, 3399, 4000, 6127])
def test_every_frame_is_in_one_window_and_heard_with_what_is_around_it(samples):
    policy, frames = InputPolicy(rate=100, window=10.0), []
    for start, length, first, last in frame_windows(samples, 10, policy, 30.0):
        assert start % 10 == 0 and start + length <= samples
        own = np.arange(start // 10, (start + length) // 10)[first:last]
        assert own[0] * 10 - start >= 300 or start == 0
        assert last is None or start + length - own[-1] * 10 >= 300
        frames += own.tolist()
    assert frames == list(range(samples // 10))


@pytest.mark.parametrize("backend, cmvn", [("SSL_BACKEND_MHFA", True), ("SSL_BACKEND_CA_MHFA", False)])
def test_parts_equal_the_whole_where_no_frame_hears_far(backend, cmvn, tmp_path):
    model = load_detector(make_experiment(tmp_path, model=backend, model_args=MHFA, dataset_args__frontend="fbank",
                                          dataset_args__cmvn=cmvn))
    recording = open_recording("x", wave(20.3), 16000, 16000)
    with torch.no_grad():
        whole = frame_logits(model.detector, recording, replace(PARTS, whole=99), model.device)
        parts = frame_logits(model.detector, recording, PARTS, model.device)
    assert as_in_one_piece(model.detector, 20 * 16000, PARTS) and len(whole) == 2028
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_an_encoder_hears_a_window_and_no_seam_is_seen(tmp_path):
    model = load_detector(make_experiment(tmp_path, **SSL))
    wav = wave(20.3)
    whole, parts = (replace(model, input_policy=policy).frame_scores(wav, 16000)
                    for policy in (replace(PARTS, whole=99), PARTS))
    assert not as_in_one_piece(model.detector, 20 * 16000, PARTS) and len(parts.llr) == len(whole.llr) == 1014
    np.testing.assert_allclose(parts.times, np.arange(1014) * 0.02)
    seams = np.array([150, 300, 450, 600]) - 1
    jumps = np.abs(np.diff(parts.llr))
    assert jumps[seams].max() < 2 * np.quantile(jumps, 0.99)
    assert np.corrcoef(parts.llr, whole.llr)[0, 1] > 0.75


def test_what_a_short_recording_is_repeated_for_has_no_frames(tmp_path):
    model = load_detector(make_experiment(tmp_path, **SSL, dataset_args__eval_frms=100))
    assert len(model.frame_scores(wave(0.5), 16000).llr) == 25
    assert len(model.frame_scores(wave(0.001), 16000).llr) == 1


LOCALIZER = {**SSL, "localization_args": {"resolutions": [20, 80]}}


def test_heads_of_segments_speak_for_frames_at_each_resolution_and_in_windows(tmp_path):
    model = load_detector(make_experiment(tmp_path, **LOCALIZER))
    wav = wave(1.3).astype(np.float32)
    with torch.no_grad():
        segments = model.detector.embed_and_locate(torch.from_numpy(wav)[None], [len(wav)])[1]
    for ms in (20, 80):
        found = model.frame_scores(wav, 16000, resolution=ms)
        assert found.shift == ms / 1000 and found.times[1] == ms / 1000
        np.testing.assert_allclose(found.llr, segments.scores(ms)[0], rtol=1e-5)
    assert np.array_equal(model.frame_scores(wav, 16000).llr, model.frame_scores(wav, 16000, resolution=20).llr)
    with pytest.raises(InputError, match="no scores of 40 ms, but of 20, 80"):
        model.frame_scores(wav, 16000, resolution=40)
    assert not as_in_one_piece(model.detector, 31 * 16000, InputPolicy())
    parts = replace(model, input_policy=PARTS).frame_scores(wave(20.3), 16000, resolution=80)
    assert len(parts.llr) == 254 and np.isfinite(parts.llr).all()
    assert parts.llr[:30] == pytest.approx(model.frame_scores(wave(20.3)[:6 * 16000], 16000, resolution=80).llr[:30])


def test_a_model_that_cuts_silence_out_has_no_times(tmp_path):
    model = load_detector(make_experiment(tmp_path, **SSL, dataset_args__trim_silence=True))
    with pytest.raises(InputError, match="cuts silence out .* no times in the recording"):
        model.frame_scores(wave(1.0), 16000)
