"""The way back through a recording: gradients that are made where it reads them, and passes that are over."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.gpu.interpreter import DEVICE
from tests.gpu.test_graphs import LONG, gpu  # noqa: F401
from wedefense.frontend.ssl.products import Derived
from wedefense.gpu.graphs import Graphs
from wedefense.gpu.sections import carried, next_section
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


class Faulty(Layers):
    """Fails in the last of its calls: three that warm up, one that is recorded."""

    def __init__(self, error, calls, cut=False):
        super().__init__()
        self.error, self.calls, self.cut = error, calls, cut

    def layers(self, wav):
        found, self.calls = super().layers(wav), self.calls - 1
        if self.cut:
            found[-1], _ = next_section(len(found) - 1, found[-1], None, may_be_left_out=False)
        if not self.calls:
            raise self.error
        return found

    def forward(self, wav):
        return self.graphs(self, wav, self.layers, bool if self.cut else None)


@pytest.mark.parametrize("cut", [False, True])
def test_what_cannot_be_recorded_is_told_with_its_cure(cut):
    """A library's refusal; what is wrong without a recording, and memory that is not there, are told as they are."""
    for error, calls, told in [
            (RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR\nsee"), 4, "recorded here .cuFFT error: CUFFT_INTERN"),
            (RuntimeError("shapes cannot be multiplied"), 1, "^shapes cannot"),
            (torch.OutOfMemoryError("CUDA out of memory"), 4, "^CUDA out of memory")]:
        with pytest.raises(InputError if "recorded" in told else type(error), match=told):
            Faulty(error, calls, cut).cuda()(samples(0))
        module = Layers().cuda()
        assert_same(step(module, of_mixes, 0), step(module, of_mixes, 0, recorded=False))


def test_samples_that_want_gradients_are_not_recorded():
    module = Layers().cuda()
    wav = samples(0).requires_grad_()
    of_mixes(module(wav), weights_of_mixes()).backward()
    assert wav.grad.norm() > 0 and not module.graphs._recorded


class Blocks(torch.nn.Module):
    """Four layers (2, 12, 8), those of three blocks after the first, each of which adds what a table scales.

    `low`: a block hands on its stream in bfloat16 too. `ends`: something follows the last block. `first`: from which
    block on they learn.
    """

    def __init__(self, low, ends, first=0, summed=False):
        super().__init__()
        torch.manual_seed(0)
        self.low, self.ends, self.graphs = low, ends, Graphs(*SHAPE, summed=summed)
        self.tables, self.scale = torch.nn.Parameter(torch.rand(3)), torch.nn.Parameter(torch.rand(8))
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(3))
        if first:
            for part in (self.tables, self.scale, *self.blocks[:first].parameters()):
                part.requires_grad_(False)

    def layers(self, wav, left_out=()):
        x, begun = wav.view(2, 12, 8) * self.scale, None
        tables, layers = list(map(carried, (self.tables * 2).unbind())), [x]
        for number, block in enumerate(self.blocks):
            x, begun = next_section(len(layers), x, begun, may_be_left_out=True)
            if number not in left_out:
                stream, low = begun or (x, x.bfloat16() if self.low else x)
                x = (stream + block(low.float()) * tables[number]).tanh()
                begun = (x.view_as(x), x.bfloat16()) if self.low else None
            layers.append(x)
        if self.ends:
            x, begun = next_section(len(layers) - 1, x, begun, may_be_left_out=False)
            layers[-1] = x.exp() * self.scale
        return layers

    def forward(self, wav, left_out, recorded):
        drops = (number in left_out for number in range(3))
        return self.graphs(self, wav, self.layers, drops.__next__) if recorded else self.layers(wav, left_out)


def of_the_first(layers, weights):
    return (layers[0].sin() * weights.sum()).sum() if layers[0].requires_grad else of_the_middle(layers, weights)


def of_the_middle(layers, weights):
    return (layers[2].sin() * weights.sum()).sum()


def of_all(layers, weights):
    return sum(mix.sin().sum() for mix in mix_layers(layers, *weights))


PATTERNS = [set(), {0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}, set()]


def step_of_blocks(module, loss, number, left_out, recorded, batches=1):
    module.zero_grad()
    weights = torch.linspace(-1, 1, 12).view(3, 4).cuda().requires_grad_()
    for batch in range(batches):
        layers = module(samples(number + batch), left_out, recorded)
        loss(layers, weights).backward()
    return [layer.detach().clone() for layer in layers], gradients(module, weights)


@pytest.mark.parametrize("loss", [of_the_first, of_the_middle, of_all, of_the_last], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("low, ends, first", [
    (True, False, 0), (False, True, 0), pytest.param(True, True, 2, marks=LONG),
    pytest.param(False, False, 1, marks=LONG)])
def test_sections_that_are_left_out_hand_on_what_they_get(low, ends, first, loss):
    """Both ways; and those behind the last layer that is wanted do not come back."""
    module = Blocks(low, ends, first).cuda()
    for number, left_out in enumerate(PATTERNS):
        layers, found = step_of_blocks(module, loss, number, left_out, recorded=True)
        plain, expected = step_of_blocks(module, loss, number, left_out, recorded=False)
        for one, other in zip(layers, plain, strict=True):
            torch.testing.assert_close(one.cpu(), other.cpu(), rtol=0, atol=1e-6)
        assert all((name in found) or name == "tables" and not value.any() for name, value in expected.items())
        for name, value in found.items():
            wanted = expected[name] if name in expected else torch.zeros_like(value)
            torch.testing.assert_close(value.cpu(), wanted.cpu(), rtol=1e-5, atol=1e-5, msg=name)
    recording, = module.graphs._recorded.values()
    assert len(recording.sections) == 4 + ends


@pytest.mark.parametrize("summed", [True, False])
def test_gradients_that_are_summed_over_batches_are_copies(summed):
    module = Blocks(low=True, ends=False, summed=summed).cuda()
    _, found = step_of_blocks(module, of_all, 0, (), recorded=True, batches=3)
    _, expected = step_of_blocks(module, of_all, 0, (), recorded=False, batches=3)
    same = [name for name, value in expected.items() if torch.allclose(found[name].cpu(), value.cpu(), rtol=1e-4)]
    assert (len(same) == len(expected) == 9) == summed


def steps_of_ranks(folder, *encoder):
    """-> for each step what each of two ranks found, see `recorded_ranks.py`."""
    script, out = Path(__file__).with_name("recorded_ranks.py"), folder / "out.pt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]),
                   "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
                           script, out, *encoder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(zip(*torch.load(out, weights_only=True), strict=True))


def assert_mean(first, second, one, other):
    """Both ranks hold the mean of what each has by itself."""
    assert first.keys() == one.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name])
        torch.testing.assert_close(value, (one[name] + other[name]) / 2, rtol=1e-5, atol=1e-5, msg=name)


def test_ranks_sum_gradients_of_later_sections_while_earlier_ones_go_back(tmp_path):
    """Though each leaves out blocks of its own."""
    steps = steps_of_ranks(tmp_path)
    assert len(steps) == len(PATTERNS)
    for (first, order, one), (second, other_order, other) in steps:
        assert order == other_order == [4, 3, "2", "2", 2, "1", "1", 1, "0", "0", 0]
        assert_mean(first, second, one, other)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [("wavlm_base_plus", "0", "2"), ("wavlm_large", "0.4", "0")], ids=str)
def test_ranks_have_the_mean_of_their_gradients_of_an_encoder(tmp_path, encoder):
    for (first, _, one), (second, _, other) in steps_of_ranks(tmp_path, *encoder):
        assert_mean(first, second, one, other)
        assert sum(value.norm() > 1e-4 for value in first.values()) > 40
