"""Under autocast blocks compute in bfloat16, and what they add to stays in float32."""

from dataclasses import replace

import pytest
import torch

from tests.frontend.ssl.test_encoder import FAMILIES, encoder_of
from tests.pruning import helpers
from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.packing import Packing

COUNTS = [60, 47]


@pytest.mark.parametrize("family", helpers.FAMILIES)
@pytest.mark.parametrize("gradients", [True, False])
def test_layers_come_out_in_float32(family, gradients):
    encoder = helpers.encoder_of(family).train(gradients)
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(gradients):
        layers = encoder(helpers.batch(), helpers.LENGTHS).layers
    assert {layer.dtype for layer in layers} == {torch.float32}
    with torch.no_grad():
        exact = encoder(helpers.batch(), helpers.LENGTHS).layers
        assert not torch.equal(exact[-1], layers[-1])  # it was another precision
        encoder.to(torch.bfloat16)
        assert {layer.dtype for layer in encoder(helpers.batch(), helpers.LENGTHS).layers} == {torch.bfloat16}


def errors(family: str) -> list[float]:
    """Of every layer of a deep encoder's blocks, relative to float32."""
    shape = replace(FAMILIES[family], blocks=full_blocks(24, 4, 96), dim=48, total_heads=4)
    transformer, packing = encoder_of(shape).encoder.transformer, Packing.of(COUNTS, torch.device("cpu"))
    x = torch.randn(sum(COUNTS), 48).bfloat16()  # as the projection before the blocks hands it over
    with torch.no_grad():
        exact = transformer(x.float(), packing)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = transformer(x, packing)
    return [float((one.double() - other.double()).norm() / other.double().norm()) for one, other in zip(mixed, exact)]


@pytest.mark.parametrize("family, base", [("large", "base"), ("wavlm_large", "wavlm")])
def test_the_error_of_a_deep_norm_first_model_grows_no_faster_than_that_of_base(family, base):
    deep, usual = errors(family), errors(base)
    assert deep[-1] / deep[1] <= usual[-1] / usual[1]
    assert 1e-4 < deep[-1] < 0.006  # 0.012 with the sum in bfloat16
