"""Every precision of a GPU against the CPU's float32, in every family and back-end, alone and in a padded batch.

Without a GPU the emulated one computes, which knows float32 and bfloat16.
"""

import pytest
import torch

from tests.gpu.interpreter import DEVICE, gpu  # noqa: F401
from tests.models.test_backends import NAMES, build, noise, trained_a_little
from tests.pruning.helpers import FAMILIES, LENGTHS, batch, encoder_of
from wedefense.frontend.features import LayerFeatures
from wedefense.utils.precision import resolve

pytestmark = pytest.mark.filterwarnings("ignore")
BOUNDS = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 5e-2}  # of the whole, by norm
KNOWN = [*BOUNDS] if DEVICE == "cuda" else ["float32", "bfloat16"]



def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double().cpu(), other.double().cpu()
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("precision", KNOWN)
@pytest.mark.parametrize("family", FAMILIES)
def test_layers(gpu, family, precision):  # noqa: F811
    encoder, wav, bound = encoder_of(family), batch(), BOUNDS[precision]
    with torch.no_grad():
        expected = encoder(wav, LENGTHS)
        encoder, wav = encoder.to(gpu), wav.to(gpu)
        with resolve(precision, gpu).scope():
            together = encoder(wav, LENGTHS.to(gpu))
            alone = encoder(wav[1:2, :int(LENGTHS[1])], LENGTHS[1:2].to(gpu))
    assert together.lengths.tolist() == expected.lengths.tolist()
    for here, there, one in zip(expected.layers, together.layers, alone.layers, strict=True):
        assert there.dtype == torch.float32
        assert distance(there, here) < bound
        assert distance(there[1:2, :one.shape[1]], one) < bound


@pytest.mark.parametrize("precision", KNOWN)
@pytest.mark.parametrize("name", NAMES)
def test_embeddings(gpu, name, precision):  # noqa: F811
    model, x, bound = trained_a_little(build(name)), noise([70, 3, 41, 24]), BOUNDS[precision]
    with torch.no_grad():
        expected = model(x)
        model = model.to(gpu)
        there = LayerFeatures([layer.to(gpu) for layer in x.layers], x.lengths.to(gpu))
        one = LayerFeatures([layer[2:3, :41] for layer in there.layers], there.lengths[2:3])
        with resolve(precision, gpu).scope():
            together, alone = model(there), model(one)
    assert distance(together, expected) < bound
    assert distance(together[2:3], alone) < bound
