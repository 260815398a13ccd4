"""The way back through a recording: gradients that are made where it reads them, and passes that are over."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.gpu.interpreter import DEVICE
from tests.gpu.test_graphs import gpu  # noqa: F401
from wedefense.frontend.ssl.products import Derived
from wedefense.gpu.graphs import Graphs
from wedefense.models.detector import _ScaleGradient
from wedefense.models.mix import mix_layers
from wedefense.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("gpu")
SHAPE = 2, 96


class Layers(torch.nn.Module):
    """Three layers (2, 12, 8), the first of which learns nothing."""

    def __init__(self, turned=False):
        """`turned`: the last layer lies in memory with its frames side by side."""
        super().__init__()
        torch.manual_seed(0)
        self.turned = turned
        self.linears = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(2))
        self.fixed, self.kept = torch.nn.Parameter(torch.tensor(0.7), requires_grad=False), Derived()
        self.graphs = Graphs(*SHAPE)

    def layers(self, wav):
        twice, found = self.kept.get((self.fixed,), "twice", lambda: self.fixed * 2), [wav.view(2, 12, 8) * 0.5]
        for linear in self.linears:
            found.append((linear(found[-1]).float() * twice).tanh())
        if self.turned:
            found[-1] = found[-1].transpose(1, 2).contiguous().transpose(1, 2)
        return found

    def forward(self, wav, recorded=True):
        return self.graphs(self, wav, self.layers) if recorded else self.layers(wav)


class Copies(TorchDispatchMode):
    """The shapes of what is copied."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.copy_.default:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def of_mixes(layers, weights):
    return sum(mix.sin().sum() for mix in mix_layers(layers, *weights[:2]))


def of_two_mixes(layers, weights):
    return of_mixes(layers, weights) + mix_layers(layers, weights[2])[0].cos().sum()


def of_a_mix_and_the_last(layers, weights):
    return of_mixes(layers, weights) + layers[-1].exp().sum()


def of_a_mix_and_views(layers, weights):
    return of_mixes(layers, weights) + of_mixes([layer.view_as(layer) for layer in layers], weights[1:])


def of_scaled_layers(layers, weights):
    return of_mixes([_ScaleGradient.apply(layer, 0.3) for layer in layers], weights)


def of_parts(layers, weights):
    return of_mixes([layer[:, :5] for layer in layers], weights)


def of_one_layer_twice(layers, weights):
    return of_mixes([layers[0], layers[2], layers[2]], weights)


def of_the_last(layers, weights):
    return layers[-1].sin().sum() * weights.square().sum()


CASES = {of_mixes: 0, of_two_mixes: 2, of_a_mix_and_the_last: 1, of_a_mix_and_views: 2, of_scaled_layers: 0,
         of_parts: 2, of_one_layer_twice: 1,
         of_the_last: 1}


def samples(number):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number)).cuda()


def weights_of_mixes():
    return torch.linspace(-1, 1, 9).view(3, 3).cuda().requires_grad_()


def gradients(module, weights):
    return {name: value.grad.clone() for name, value in [("weights", weights), *module.named_parameters()]
            if value.grad is not None}


def step(module, loss, number, low=False, recorded=True):
    """-> gradients of what learns."""
    weights = weights_of_mixes()
    module.zero_grad()
    with torch.autocast("cuda", torch.bfloat16, enabled=low):
        layers = module(samples(number), recorded)
    loss(layers, weights).backward()
    return gradients(module, weights)


def assert_same(found, expected):
    assert found.keys() == expected.keys() and len(found) == 5
    for name, value in expected.items():
        assert value.norm() > 0
        if DEVICE == "cpu":
            assert torch.equal(found[name], value), name
        else:
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", CASES, ids=lambda loss: loss.__name__)
def test_gradients_are_those_without_a_recording_and_only_sums_and_others_are_copied(loss):
    module = Layers().cuda()
    for number in range(3):
        assert_same(step(module, loss, number), step(module, loss, number, recorded=False))
    assert len(module.graphs._recorded) == 1
    with Copies() as copies:
        step(module, loss, 4)
    assert copies.shapes == [SHAPE] + [(2, 12, 8)] * CASES[loss]  # the samples, and layers


def test_a_layer_that_lies_otherwise_than_its_gradient_is_made():
    module = Layers(turned=True).cuda()
    for number in range(2):
        assert_same(step(module, of_mixes, number), step(module, of_mixes, number, recorded=False))


def test_recordings_of_two_precisions_have_places_of_their_own():
    module = Layers().cuda()
    for number, low in enumerate((False, True, False, True)):
        assert_same(step(module, of_mixes, number, low), step(module, of_mixes, number, low, recorded=False))
    assert len(module.graphs._recorded) == 2


def test_a_pass_outlives_its_recording():
    """And what its kernels read: a cache that is filled anew."""
    module, weights = Layers().cuda(), weights_of_mixes()
    loss = of_mixes(module(samples(0)), weights)
    module.graphs.clear()
    module.kept.clear()
    loss.backward()
    found = gradients(module, weights)
    assert_same(found, step(module, of_mixes, 0, recorded=False))
    assert not copy.deepcopy(module.graphs)._recorded


def test_a_way_back_is_gone_once():
    module = Layers().cuda()
    loss = of_mixes(module(samples(0)), weights_of_mixes())
    loss.backward(retain_graph=True)
    with pytest.raises(InputError, match="its own way back, has written over; set cuda_graphs: False"):
        loss.backward()
    assert_same(step(module, of_mixes, 1), step(module, of_mixes, 1, recorded=False))


def test_a_pass_that_another_has_written_over_has_no_way_back():
    module, weights = Layers().cuda(), weights_of_mixes()
    earlier = of_mixes(module(samples(0)), weights)
    later = of_mixes(module(samples(1)), weights)
    with pytest.raises(InputError, match="whose memory another pass"):
        earlier.backward()
    module.zero_grad()
    weights.grad = None
    with Copies() as copies:
        later.backward()
    assert not copies.shapes
    found = gradients(module, weights)
    assert_same(found, step(module, of_mixes, 1, recorded=False))


def test_samples_that_want_gradients_are_not_recorded():
    module = Layers().cuda()
    wav = samples(0).requires_grad_()
    of_mixes(module(wav), weights_of_mixes()).backward()
    assert wav.grad.norm() > 0 and not module.graphs._recorded
