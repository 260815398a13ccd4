import os
import pickle

import numpy as np
import pytest

from wedefense.metrics.classification import classification_metrics, confusion_table
from wedefense.metrics.detection import detection_metrics
from wedefense.metrics.segments import Range, range_eer, ranges_from_labels, read_seglab, segment_metrics
from wedefense.utils.errors import InputError

LABELS = {"u1": np.array([1, 1, 0, 0, 1]), "u2": np.array([1, 1, 1, 0])}


def test_seglab_files_are_read_without_running_code(tmp_path):
    path = tmp_path / "dev_seglab_0.16.npy"
    np.save(path, {name: values.astype("<U1") for name, values in LABELS.items()})
    read = read_seglab(path)
    assert {name: values.tolist() for name, values in read.items()} == {k: v.tolist() for k, v in LABELS.items()}

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.save(path, {"u1": Evil()})
    with pytest.raises(InputError, match="no place in a label file"):
        read_seglab(path)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps(LABELS))
    with pytest.raises(InputError, match="not a seglab file"):
        read_seglab(path)
    np.save(path, {"u1": np.array([0, 2])})
    with pytest.raises(InputError, match="other than 0 and 1 in 1 utterance: u1"):
        read_seglab(path)
    for empty in (np.array([], dtype=np.int64), np.array(1)):
        np.save(path, {"u1": np.array([0, 1]), "u2": empty})
        with pytest.raises(InputError, match="no row of labels for 1 utterance: u2"):
            read_seglab(path)


def test_segments_at_three_resolutions():
    labels = {"u": [1, 0, 1]}
    # Same resolution; one label more than frames is cut.
    same = segment_metrics({"u": [3.0, 1.0]}, labels, 0.2, 0.2)
    assert same == detection_metrics([3.0], [1.0])
    # Frames twice as fine: the minimum of each pair, the odd frame by itself.
    fine = segment_metrics({"u": [3.0, 2.0, -1.0, 4.0, 1.0]}, labels, 0.1, 0.2)
    assert fine == detection_metrics([2.0, 1.0], [-1.0])
    # Frames twice as coarse: repeated.
    coarse = segment_metrics({"u": [3.0, 1.0]}, labels, 0.4, 0.2)
    assert coarse == detection_metrics([3.0, 1.0], [3.0])
    with pytest.raises(InputError, match="multiple"):
        segment_metrics({"u": [1.0]}, labels, 0.03, 0.2)
    with pytest.raises(InputError, match="u: its frame scores last 0.06 s and its labels 0.60 s"):
        segment_metrics({"u": [3.0, 2.0, 1.0]}, labels, 0.02, 0.2)
    with pytest.raises(InputError, match="1 utterance without frame scores: u2"):
        segment_metrics({"u1": [1.0]}, LABELS, 0.2, 0.2)


def test_ranges_from_labels():
    assert ranges_from_labels(LABELS["u1"], 0.5) == [(0, 1, True), (1, 2, False), (2, 2.5, True)]
    assert ranges_from_labels(LABELS["u1"], 0.5, seconds=2.2) == [(0, 1, True), (1, 2, False), (2, 2.2, True)]
    assert ranges_from_labels(LABELS["u1"], 0.5, seconds=1.9) == [(0, 1, True), (1, 1.9, False)]


def test_range_eer_by_hand():
    # 0.3 s bona fide, 0.5 s spoof; frames of 0.2 s score 4, 3, 1, 2.
    # Stretches: 0.2 s bona fide at 4, 0.1 s bona fide and 0.1 s spoof at 3, 0.2 s spoof at 1, 0.2 s spoof at 2.
    # At threshold 3: frr 1/3, far 0; at 2: frr 0, far 1/5 -> the nearest is 2, EER 1/10.
    point = range_eer({"u": [4, 3, 1, 2]}, {"u": [Range(0, 0.3, True), Range(0.3, 0.8, False)]}, 0.2)
    assert point.value == pytest.approx(0.1, abs=1e-12) and point.threshold == 2


def test_range_eer_equals_the_segment_eer_of_a_very_fine_grid():
    rng = np.random.default_rng(0)
    scores, ranges, fine = {}, {}, {}
    for name in "abc":
        edges = np.concatenate(([0], np.sort(rng.choice(np.arange(1, 1000), 5, replace=False)), [1000]))
        ranges[name] = [Range(s / 1000, e / 1000, bool(i % 2)) for i, (s, e) in enumerate(zip(edges, edges[1:]))]
        fine[name] = np.repeat([int(r.is_bonafide) for r in ranges[name]], np.diff(edges))
        frames = fine[name].reshape(50, 20).mean(axis=1)
        scores[name] = frames + rng.normal(0, 1, 50)
    expected = segment_metrics(scores, fine, 0.020, 0.001)
    point = range_eer(scores, ranges, 0.020)
    assert point.value == pytest.approx(expected.eer, abs=1e-9) and point.threshold == expected.eer_threshold


def test_the_last_frame_lasts_to_the_end():
    ranges = {"u": [Range(0, 0.1, True), Range(0.1, 0.25, False)]}
    assert range_eer({"u": [1.0, 0.0]}, ranges, 0.1).value == 0
    with pytest.raises(InputError, match="all of one class"):
        range_eer({"u": [1.0, 0.0]}, {"u": [Range(0, 0.2, True)]}, 0.1)


def test_classification_by_hand():
    labels, guesses = ["ang", "ang", "hap", "sad"], ["ang", "hap", "hap", "hap"]
    result = classification_metrics(labels, guesses, ["ang", "hap", "neu", "sad"])
    assert result.accuracy == 0.5 and result.unweighted_accuracy == pytest.approx((0.5 + 1 + 0) / 3)
    assert result.recalls == {"ang": 0.5, "hap": 1.0, "sad": 0.0}
    assert result.confusion.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert confusion_table(result).splitlines()[2].split() == ["ang", "2", "50.0", "50.0", "0.0", "0.0"]
    with pytest.raises(InputError, match="unknown class 'hapy', did you mean 'hap'"):
        classification_metrics(["hapy"], ["hap"], ["ang", "hap"])
    with pytest.raises(InputError, match="1 labels and 2 predictions"):
        classification_metrics(["a"], ["a", "b"])


def test_classification_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 4, (2, 300)).tolist()
    result = classification_metrics(labels, guesses)
    assert result.accuracy == pytest.approx(metrics.accuracy_score(labels, guesses), abs=1e-12)
    assert result.unweighted_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, guesses), abs=1e-12)
    assert result.macro_f1 == pytest.approx(metrics.f1_score(labels, guesses, average="macro"), abs=1e-12)
    assert np.array_equal(result.confusion, metrics.confusion_matrix(labels, guesses))
