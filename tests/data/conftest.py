import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from corpora import Corpus, noise


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path)


@pytest.fixture
def voices(corpus):
    """22 utterances of 0.2 to 0.62 s, two labels."""
    for i in range(22):
        corpus.add(f"u{i:02d}", noise(3200 + 320 * i, seed=i), "bonafide" if i % 3 else "spoof",
                   suffix="flac" if i % 2 else "wav")
    return corpus


@pytest.fixture
def logged(caplog, monkeypatch):
    """What is logged, whatever a main that ran before did to the logger."""
    monkeypatch.setattr(logging.getLogger("wedefense"), "propagate", True)
    caplog.set_level("DEBUG", "wedefense")
    return caplog
