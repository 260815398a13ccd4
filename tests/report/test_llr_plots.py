import numpy as np
import pytest

from tests.report.pages import drawn
from wedefense.detect.frames import FrameScores
from wedefense.detect.score import Score, Window
from wedefense.report.llr_plots import windows_figure
from wedefense.utils.errors import InputError


def steps(figure):
    """(below the threshold, all) as (values, edges)."""
    return [patch.get_data()[:2] for patch in figure.axes[0].patches]


def test_windows_over_time_and_where_they_overlap_their_mean():
    figure = windows_figure([0, 2, 3], [2, 4, 5], [1.0, -2.0, 4.0], 0.5, "name")
    below, all_of = steps(figure)
    assert all_of[1].tolist() == [0, 2, 3, 4, 5] and all_of[0].tolist() == [1, -2, 1, 4]
    assert below[0].tolist() == [0.5, -2, 0.5, 0.5]
    assert "-2.000 to 4.000, the lowest at 2.00 s; 1.00 s lie below the threshold 0.5" in figure.get_label()
    assert {"threshold 0.5", "seconds", "LLR (higher: more bona fide)"} <= set(drawn(figure))


def test_a_score_and_frames_plot_themselves(tmp_path):
    score = Score("deep/clip.wav", 1.0, 0.02, "bonafide", "x", 0.05, -0.64, True, 1.0, 4.0, 4.0,
                  (Window(0, 2, 3.0), Window(2, 4, -1.0)))
    figure = score.plot()
    assert figure.axes[0].get_title("left") == "clip.wav: bonafide, LLR 1.000, P(spoof) 2 %"
    assert steps(figure)[1][0].tolist() == [3, -1] and "below the threshold -0.64" in figure.get_label()
    assert score.plot(tmp_path / "a.svg").read_text().startswith("<?xml")
    assert score.plot(str(tmp_path / "a.png")).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"a.bmp: a picture's name ends in .png, .svg, .pdf"):
        score.plot(tmp_path / "a.bmp")
    frames = FrameScores(np.array([0, 0.02, 0.04]), np.array([1.0, -1.0, 2.0]), 0.02)
    values, edges = steps(frames.plot(threshold=0.5))[1]
    assert values.tolist() == [1, -1, 2] and edges == pytest.approx([0, 0.02, 0.04, 0.06])
    assert frames.plot(tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
