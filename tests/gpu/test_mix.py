"""Weighted sums of layers in one pass; on a CPU by Triton's interpreter."""

import pytest
import torch

from tests.gpu.interpreter import DEVICE
from wedefense.frontend.features import CentredFeatures
from wedefense.gpu.mix import Mix
from wedefense.models.mix import mix_features


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=str)
@pytest.mark.parametrize("mixes", [1, 2, 3])
def test_mixes_and_gradients(mixes, dtype, bound):
    torch.manual_seed(0)
    layers = [torch.randn(3, 70, 50, device=DEVICE).to(dtype).requires_grad_() for _ in range(5)]
    weights = torch.rand(mixes, 5, device=DEVICE, requires_grad=True)
    here = Mix.apply(weights, *layers)
    there = [sum(w * layer.float() for w, layer in zip(row, layers)) for row in weights]
    given = [weights, *layers]
    gradients = torch.randn(mixes, 3, 70, 50, device=DEVICE).to(dtype).unbind()
    found = torch.autograd.grad(here, given, gradients)
    expected = torch.autograd.grad(there, given, [gradient.float() for gradient in gradients])
    for one, other in zip([*here, *found], [*there, *expected], strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=bound, atol=10 * bound)
    assert all(one.dtype == dtype for one in (*here, *found[1:]))


def test_frozen_layers_get_no_gradient():
    layers = [torch.randn(4, 9, 8, device=DEVICE) for _ in range(3)]
    weights = torch.rand(2, 3, device=DEVICE, requires_grad=True)
    sum(mix.sum() for mix in Mix.apply(weights, *layers)).backward()
    torch.testing.assert_close(weights.grad[0], torch.stack([layer.sum() for layer in layers]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dim", [40, 64])
def test_centred_mixes_are_those_of_plain_torch(monkeypatch, dim):
    torch.manual_seed(0)
    layers = [torch.randn(2, 7, dim, device=DEVICE, requires_grad=True) for _ in range(3)]
    weights = torch.rand(2, 3, device=DEVICE, requires_grad=True)
    gradients = torch.randn(2, 2, 7, dim, device=DEVICE).unbind()
    found = []
    for kernels in ("0", "1" if DEVICE == "cuda" else "interpret"):
        monkeypatch.setenv("WEDEFENSE_KERNELS", kernels)
        mixes = mix_features(CentredFeatures(layers, torch.tensor([7, 7])), *weights.unbind())
        found.append([*mixes, *torch.autograd.grad(mixes, [weights, *layers], gradients)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    assert found[1][0].mean(2).abs().max() < 1e-6
