"""The table of names: what s3prl calls a model is what the table fetches, and seeded models are always the same."""

import hashlib
import re
from pathlib import Path

import pytest

from wedefense.frontend.ssl.formats.read import find_checkpoint
from wedefense.frontend.ssl.zoo import ALIASES, MODELS, find_model
from wedefense.utils.errors import InputError


def s3prl_urls() -> dict[str, str]:
    """Name -> URL as s3prl's own sources have it."""
    s3prl = pytest.importorskip("s3prl")
    urls = {}
    for family in ("wav2vec2", "hubert", "wavlm", "data2vec", "unispeech_sat"):
        text = (Path(s3prl.__file__).parent / "upstream" / family / "hubconf.py").read_text()
        for name, body in re.findall(r"^def (\w+)\((.*?)(?=^def |\Z)", text, re.S | re.M):
            found = re.findall(r'"(https://[^"]+)"', body)
            if found:
                urls[name] = found[-1]
    return urls


def test_every_name_of_s3prl_fetches_s3prl_s_file():
    urls = s3prl_urls()
    assert len(urls) > 25
    for name, model in MODELS.items():
        if model.urls:
            assert urls[name] == model.urls[0]


def test_names_are_found_however_they_are_spelt():
    assert find_model("WavLM-Base-Plus") is MODELS["wavlm_base_plus"]
    assert find_model("microsoft/wavlm-large") is MODELS["wavlm_large"]
    assert find_model("wavlm_bas") is None
    assert set(ALIASES.values()) <= MODELS.keys()
    with pytest.raises(InputError, match="unknown SSL model 'wavlm_bas', did you mean 'wavlm_base'"):
        find_checkpoint("wavlm_bas")


def test_architectures_are_of_the_published_sizes():
    """Millions of parameters, and frames of 20 ms in all of them."""
    from wedefense.frontend.ssl.formats.read import expected_shapes

    sizes = {"wav2vec2_base_960": 94.37, "wavlm_base_plus": 94.38, "wavlm_large": 315.45, "xlsr_53": 315.44,
             "xls_r_1b": 962.5, "xls_r_2b": 2159.26, "data2vec_base_960": 93.16, "hubert_large_ll60k": 315.43}
    for name, millions in sizes.items():
        shapes = expected_shapes(MODELS[name].architecture)
        assert sum(shape.numel() for shape in shapes.values()) / 1e6 == pytest.approx(millions, abs=0.006)
    assert {model.architecture.stride for model in MODELS.values()} == {320}


def test_seeded_weights_are_the_same_everywhere():
    digest = hashlib.sha256()
    checkpoint = find_checkpoint("wavlm_tiny")
    for name, value in checkpoint.state_dict.items():
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    assert digest.hexdigest()[:16] == "c353f2cb5d41ef73"
    other = find_checkpoint("wavlm_tiny").state_dict
    assert all((value == other[name]).all() for name, value in checkpoint.state_dict.items())
