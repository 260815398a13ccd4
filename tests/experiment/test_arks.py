"""Kaldi's vectors, read back."""

import tracemalloc

import numpy as np

from wedefense.experiment.arks import read_scp, write_ark
from wedefense.utils.tables import write_table


def test_vectors_lie_in_memory_once(tmp_path):
    """Those of the million utterances of a cohort had lain there twice."""
    expected = np.random.default_rng(1).normal(size=(500, 4000)).astype(np.float32)
    entries = write_ark(tmp_path / "a.ark", ((f"utterance{n}", row) for n, row in enumerate(expected)))
    write_table(tmp_path / "a.scp", entries)
    tracemalloc.start()
    try:
        keys, vectors = read_scp(tmp_path / "a.scp")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert keys == list(entries) and np.array_equal(vectors, expected)
    assert peak < 1.2 * expected.nbytes
