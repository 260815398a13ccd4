"""Recorded launches: the same numbers as without, dropout included."""

from dataclasses import replace

import pytest
import torch

from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.zoo import find_model
from wedefense.gpu.graphs import Graphs

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def trained(name, graphs, frozen=False, low=False, steps=6):
    """Weights and the last layers after some steps of training."""
    torch.manual_seed(0)
    architecture = replace(find_model(name).architecture, layer_drop=0.0, blocks=full_blocks(2, 2, 256), dim=128,
                           total_heads=2)
    encoder = Encoder(architecture).cuda().train()
    encoder.requires_grad_(not frozen)
    encoder.graphs = graphs
    weight = torch.ones(architecture.num_blocks + 1, device="cuda", requires_grad=True)
    optimizer = torch.optim.SGD([weight, *(p for p in encoder.parameters() if p.requires_grad)], 1e-3)
    for step in range(steps):
        wav = torch.randn(4, 8000, generator=torch.Generator().manual_seed(step)).cuda()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=low):
            layers = encoder(wav).layers
        loss = sum(w * layer.float().sin().mean() for w, layer in zip(weight, layers))
        loss.backward()
        optimizer.step()
    return [layer.detach().clone() for layer in layers] + [p.detach().clone() for p in (weight, *encoder.parameters())]


@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("name", ["wavlm_base_plus", "wavlm_large"])
def test_training_is_the_same_with_recordings(name, frozen, low):
    graphs = Graphs()
    recorded, plain = trained(name, graphs, frozen, low), trained(name, None, frozen, low)
    assert len(graphs._recorded) == 1
    for one, other in zip(recorded, plain, strict=True):
        difference = (one - other).norm()
        assert difference <= (2e-2 if low else 1e-4) * other.norm() + 1e-5, difference / other.norm()


def test_what_is_kept_is_dropped_with_the_mode():
    graphs = Graphs()
    architecture = replace(find_model("wavlm_base_plus").architecture, layer_drop=0.0, blocks=full_blocks(1, 2, 64),
                           dim=32, total_heads=2)
    encoder = Encoder(architecture).cuda().eval()
    encoder.graphs = graphs
    wav = torch.randn(2, 8000).cuda()
    with torch.no_grad():
        found = [[layer.clone() for layer in encoder(wav).layers] for _ in range(4)]
        assert len(graphs._recorded) == 1
        for layers in found[1:]:
            for one, other in zip(layers, found[0]):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        next(encoder.parameters()).mul_(2)
        encoder.train()
        assert not graphs._recorded
