"""Recordings on the emulated device: played back on the same memory, with what a GPU does not look after as faults."""

import pytest
import torch

from tests.corpus import make_list, write_config
from tests.emulation.cuda import emulated_cuda
from wedefense.config.loader import load_config
from wedefense.gpu.graphs import Graphs
from wedefense.gpu.recordings import Recording
from wedefense.train.run import build_trainer
from wedefense.utils.distributed import World


@pytest.fixture
def cuda():
    with emulated_cuda(records=True) as emulation:
        yield emulation


def record(function):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = function()
    return graph, out


def test_launches_are_played_back_on_the_same_memory(cuda):
    x = torch.arange(6.0).to(cuda.device)

    def run():
        y = x.view(2, 3).t().contiguous()  # a view, then memory of its own
        y[0].mul_(10)                      # in place, through a view
        return y, torch.rand(3, device=cuda.device), torch.empty(2, device=cuda.device).copy_(x[4:])

    graph, (y, drawn, copied) = record(run)
    first = drawn.cpu().clone()
    x.add_(1)
    graph.replay()
    assert y.cpu().tolist() == [[10, 40], [2, 5], [3, 6]] and copied.cpu().tolist() == [5, 6]
    assert not torch.equal(drawn.cpu(), first)


def test_gradients_are_recorded(cuda):
    weight = torch.ones(3, requires_grad=True, device=cuda.device)
    layer = torch.nn.Module()
    layer.weight, layer.forward = torch.nn.Parameter(weight.detach()), lambda x: ((layer.weight * x).sin(),)
    played = Recording(layer, torch.zeros(3).to(cuda.device), grad=True)
    for x in (torch.tensor([1.0, 2, 3]), torch.tensor([0.5, 0, -1])):
        layer.zero_grad()
        played(x.to(cuda.device))[0].sum().backward()
        torch.testing.assert_close(layer.weight.grad.cpu(), x * (layer.weight.detach().cpu() * x).cos())
        with torch.no_grad():
            layer.weight.mul_(2)


def test_a_way_back_to_parameters_themselves_is_a_fault(cuda):
    """They may have been met by a pass that still lives, on a stream that is not recorded."""
    weight = torch.nn.Parameter(torch.ones(3, device=cuda.device))
    leaf = weight.detach().requires_grad_()
    record(lambda: torch.autograd.grad([leaf * 2], [leaf], [torch.ones_like(leaf)]))
    with pytest.raises(AssertionError, match="goes back to parameters"):
        record(lambda: torch.autograd.grad([weight * 2], [weight], [torch.ones_like(weight)]))


def test_memory_that_is_gone_is_a_fault(cuda):
    x, kept = torch.ones(2).to(cuda.device), [torch.full((2,), 3.0).to(cuda.device)]
    graph, out = record(lambda: x * kept[0])
    graph.replay()
    assert out.cpu().tolist() == [3, 3]
    part = kept.pop()[:1]  # of the same memory
    graph.replay()
    del part
    with pytest.raises(AssertionError, match="reads memory that nobody else holds any more, of tensors .*2"):
        graph.replay()


@pytest.mark.parametrize("run", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: x.nonzero(),
                                 lambda x: torch.ones(2).to(x.device, non_blocking=True)],
                         ids=["item", "copy back", "shape", "copy"])
def test_what_meets_the_host_cannot_be_recorded(cuda, run):
    x = torch.ones(2).to(cuda.device)
    with pytest.raises(RuntimeError, match="while a stream records"):
        record(lambda: run(x))
    assert cuda.recording is None


PRUNING = {"use_pruning_loss": True, "target_sparsity": 0.5, "distillation": {"layers": 1.0}}


def weights_of_a_run(folder, monkeypatch, records, frozen, layer_drop=0.0, **changes):
    """After two epochs with a validation each, which drops what has been recorded."""
    folder.mkdir()
    lists = {name: str(make_list(folder, name, utterances=4)) for name in ("train", "dev")}
    ssl = {"upstream_args": {"name": "wavlm_tiny"}, "frozen": frozen, "freeze_extractor": not frozen,
           "layer_drop": layer_drop}
    config = load_config(write_config(
        folder, train_data=lists["train"], val_data=lists["dev"], dataset_args__frontend="ssl",
        dataset_args__ssl_args=ssl, dataset_args__num_frms=5, dataloader_args__batch_size=2,
        dataloader_args__pin_memory=True, dataloader_args__num_workers=0, enable_amp=True, grad_clip=1.0, num_epochs=2,
        cuda_graphs=records, **changes))
    (folder / "exp/models").mkdir(parents=True)
    record, times = Graphs._record, []
    monkeypatch.setattr(Graphs, "_record", lambda self, *args: times.append(self.shape) or record(self, *args))
    with emulated_cuda(kernels=True, records=True) as cuda:
        monkeypatch.setattr("wedefense.train.trainer.Trainer._save", lambda self, path, state: None)
        trainer = build_trainer(config, World(0, 1, 0, cuda.device))
        trainer._train_epochs(None)
        teachers = int("distillation" in changes)  # whose weights stay as they are
        assert times == [(2, 1600)] * ((2 + teachers) if records else 0)
        return {name: value.cpu() for name, value in trainer.detector.state_dict().items()}


@pytest.mark.parametrize("frozen, changes", [
    (True, {}), pytest.param(False, {}, marks=pytest.mark.slow),
    pytest.param(False, {"accum_grad": 2}, marks=pytest.mark.slow),
    pytest.param(False, {"layer_drop": 0.5}, marks=pytest.mark.slow),
    pytest.param(False, PRUNING, marks=pytest.mark.slow)], ids=str)
def test_a_run_is_the_same_with_recordings(tmp_path, monkeypatch, frozen, changes):
    recorded = weights_of_a_run(tmp_path / "recorded", monkeypatch, True, frozen, **changes)
    plain = weights_of_a_run(tmp_path / "plain", monkeypatch, False, frozen, **changes)
    rounding = 1e-5 if "layer_drop" in changes else 0.0  # gradients of layers are summed in another order
    for name, value in recorded.items():
        torch.testing.assert_close(value, plain[name], rtol=rounding, atol=rounding, msg=name)
