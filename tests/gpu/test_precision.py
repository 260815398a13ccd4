"""Every precision of a GPU against the CPU's float32, in every family and back-end, alone and in a padded batch."""

import pytest
import torch

from tests.models.test_backends import NAMES, build, noise, trained_a_little
from tests.pruning.helpers import FAMILIES, LENGTHS, batch, encoder_of
from wedefense.frontend.features import LayerFeatures
from wedefense.utils.precision import resolve

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore"),
              pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
DEVICE = torch.device("cuda")
BOUNDS = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 5e-2}  # of the whole, by norm


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double().cpu(), other.double().cpu()
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_layers(family, precision):
    encoder, wav, bound = encoder_of(family), batch(), BOUNDS[precision]
    with torch.no_grad():
        expected = encoder(wav, LENGTHS)
        encoder, wav = encoder.to(DEVICE), wav.to(DEVICE)
        with resolve(precision, DEVICE).scope():
            together = encoder(wav, LENGTHS.to(DEVICE))
            alone = encoder(wav[1:2, :int(LENGTHS[1])], LENGTHS[1:2].to(DEVICE))
    assert together.lengths.tolist() == expected.lengths.tolist()
    for here, there, one in zip(expected.layers, together.layers, alone.layers, strict=True):
        assert there.dtype == torch.float32
        assert distance(there, here) < bound
        assert distance(there[1:2, :one.shape[1]], one) < bound


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", NAMES)
def test_embeddings(name, precision):
    model, x, bound = trained_a_little(build(name)), noise([70, 3, 41, 24]), BOUNDS[precision]
    with torch.no_grad():
        expected = model(x)
        model = model.to(DEVICE)
        there = LayerFeatures([layer.to(DEVICE) for layer in x.layers], x.lengths.to(DEVICE))
        one = LayerFeatures([layer[2:3, :41] for layer in there.layers], there.lengths[2:3])
        with resolve(precision, DEVICE).scope():
            together, alone = model(there), model(one)
    assert distance(together, expected) < bound
    assert distance(together[2:3], alone) < bound
