"""Every front-end of the table is what `Frontend` says, down to the shortest audio that it takes."""

from typing import get_type_hints

import pytest
import torch

from tests.corpus import write_config
from tests.pruning.helpers import FAMILIES
from wedefense.config.frontend import FRONTENDS, SHORTEST, UpstreamOptions
from wedefense.config.loader import load_config
from wedefense.config.registry import imported
from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.protocol import Frontend
from wedefense.models.detector import build_detector

SHAPES = FAMILIES | {"conformer": ConformerArchitecture(num_blocks=2, dim=16, heads=2, ff_dim=32,
                                                         shortening_channels=8, mel_bins=20)}


def built(kind: str):
    row = FRONTENDS.row(kind)
    if row.self_contained:
        return FRONTENDS.load(kind)(row.options(), 16000).eval()
    return FRONTENDS.load(kind)(row.options(), 16000, architecture=SHAPES.get(kind, SHAPES["wavlm"])).eval()


@pytest.mark.parametrize("kind", FRONTENDS.names())
def test_what_every_front_end_has(kind):
    frontend = built(kind)
    assert all(hasattr(frontend, name) for name in get_type_hints(Frontend))
    least = frontend.min_samples
    with torch.no_grad():
        features = frontend(torch.randn(2, 3 * least), [3 * least, least])
    assert features.lengths.min() >= 1 and len(features.layers) == frontend.num_layers
    assert all(layer.shape[2] == frontend.feat_dim for layer in features.layers)


@pytest.mark.parametrize("kind", [kind for kind in FRONTENDS.names() if FRONTENDS.row(kind).exportable])
def test_the_form_for_exporters_says_the_same_of_itself(kind):
    frontend = built(kind)
    exportable = imported(FRONTENDS.row(kind).exportable)(frontend)
    for name in get_type_hints(Frontend):
        assert getattr(exportable, name) == getattr(frontend, name)
    assert exportable.longest > frontend.min_samples


def test_rows_agree_with_the_options_they_name():
    for row in FRONTENDS.rows().values():
        options = row.options()
        assert not row.prunable or isinstance(options.upstream_args, UpstreamOptions)
        assert row.self_contained != hasattr(options, "upstream_args")


@pytest.mark.parametrize("options, least", [
    ({"frontend": "fbank"}, SHORTEST), ({"frontend": "fbank", "fbank_args": {"frame_length": 50}}, 800),
    ({"frontend": "lfcc"}, 512)])
def test_a_detector_asks_for_what_its_front_end_needs(tmp_path, options, least):
    changes = {f"dataset_args__{name}": value for name, value in options.items()}
    assert build_detector(load_config(write_config(tmp_path, **changes)), 2).min_samples == least
