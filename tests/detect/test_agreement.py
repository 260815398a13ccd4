"""Whatever way a score is made, it is the same; `python -m tests.detect.agreement` prints the differences as a table."""

import pytest

from tests.detect.agreement import LONG, RECORDINGS, TINY_SSL, difference, experiment, make_recordings
from wedefense.models.options import BACKENDS

WAYS = ("command", "torchscript", "onnx")
TOLERANCE = 1e-4
PAIRS = [*((frontend, backend) for frontend in ("fbank", "wavlm_tiny") for backend in BACKENDS.names()),
         *((frontend, "SSL_BACKEND_MHFA") for frontend in ("lfcc", "whisper", *TINY_SSL) if frontend != "wavlm_tiny")]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return make_recordings(tmp_path_factory.mktemp("short"), RECORDINGS)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return make_recordings(tmp_path_factory.mktemp("long"), (LONG,))


@pytest.mark.parametrize("way", WAYS)
def test_ways_agree(way, short, tmp_path):
    assert difference(experiment(tmp_path, "wavlm_tiny", "SSL_BACKEND_MHFA"), way, short) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("frontend, backend", PAIRS)
def test_every_back_end_and_front_end_agrees(frontend, backend, way, short, long, tmp_path):
    assert difference(experiment(tmp_path, frontend, backend), way, [*short, *long]) < TOLERANCE
