"""Whatever way a score is made, it is the same; `python -m tests.detect.agreement` prints the differences."""

import pytest

from tests.detect.agreement import RECORDINGS, TINY_SSL, WAYS, differences, experiment, make_recordings
from wedefense.config.models import BACKENDS

TOLERANCE = 1e-4
PAIRS = [*((frontend, backend) for frontend in ("fbank", "wavlm_tiny") for backend in BACKENDS.names()),
         *((frontend, "SSL_BACKEND_MHFA") for frontend in ("lfcc", "whisper", *TINY_SSL) if frontend != "wavlm_tiny")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_recordings(tmp_path_factory.mktemp("audio"))


@pytest.mark.parametrize("frontend, backend", [("wavlm_tiny", "SSL_BACKEND_MHFA"), ("lfcc", "LCNN_LSTM")])
def test_ways_agree(frontend, backend, tmp_path):
    files = make_recordings(tmp_path / "audio", RECORDINGS)
    found = differences(experiment(tmp_path, frontend, backend), files)
    assert list(found) == list(WAYS) and all(value < TOLERANCE for value in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("frontend, backend", PAIRS)
def test_every_back_end_and_front_end_agrees_from_a_third_of_a_second_to_ten_minutes(
        frontend, backend, files, tmp_path):
    if backend.endswith("c1024"):  # the code of c512; ten minutes would take it a quarter of an hour
        files = files[:len(RECORDINGS)]
    found = differences(experiment(tmp_path, frontend, backend), files)
    assert list(found) == list(WAYS) and all(value < TOLERANCE for value in found.values()), found
