"""Run by the tests on each rank: gradients of recorded sections over the ranks, and those of each rank by itself.

    python recorded_ranks.py OUT [MODEL LAYER_DROP BLOCKS_AT_ONCE]    # else of blocks of torch's own layers

What a GPU would play back is recorded from a CPU's operations, so that autograd's own engine goes back through it.
"""

import contextlib
import os
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

os.environ["WEDEFENSE_KERNELS"] = "interpret"

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.emulation.cuda import HARDWARE, launched
from tests.emulation.device import Emulation
from tests.emulation.recording import Recording, recorded
from tests.gpu.test_graphs import CONVOLUTIONS  # which lets Triton interpret, before any kernel is defined
from tests.gpu.test_recordings import PATTERNS, Blocks, of_all
from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.zoo import find_model
from wedefense.gpu.graphs import Graphs
from wedefense.gpu.norm_kernels import gelu_kernel
from wedefense.gpu.recordings import Recording as Played
from wedefense.train.parallel import over_ranks
from wedefense.utils import distributed
from wedefense.utils.ending import end_rank, is_rank


class Recorder(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if (recording := Emulation.current.recording) is not None:
            recording.operation(func, func._schema.name.split("::")[1], args, kwargs or {}, out)
        return out


class OfBlocks(nn.Module):
    """As `TrainStep`, of a step's number and whether to record."""

    shape = 2, 96

    def __init__(self, rank: int):
        super().__init__()
        self.left_out = PATTERNS if rank == 0 else PATTERNS[::-1]
        self.blocks, self.weights = Blocks(low=True, ends=True), nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))

    def forward(self, wav: Tensor, number: int, records: bool) -> Tensor:
        return of_all(self.blocks(wav, self.left_out[number], records), self.weights)


class OfEncoder(nn.Module):
    shape = 2, 300

    def __init__(self, name: str, layer_drop: float, at_once: int):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = Encoder(replace(find_model(name).architecture, layer_drop=layer_drop, dim=32, total_heads=2,
                                       blocks=full_blocks(3, 2, 64), conv_layers=CONVOLUTIONS)).train()
        self.encoder.encoder.transformer.blocks_recorded_at_once = at_once
        self.weights, self.graphs = nn.Parameter(torch.ones(4)), Graphs(*self.shape)

    def forward(self, wav: Tensor, number: int, records: bool) -> Tensor:
        self.encoder.graphs = self.graphs if records else None
        torch.manual_seed(int(1e4 * wav[0, 0]))
        return sum(weight * layer.sin().mean() for weight, layer in zip(self.weights, self.encoder(wav).layers))


class Step(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, batch) -> tuple[Tensor, Tensor]:
        loss = self.inner(*batch)
        return loss, loss.detach()


def gradients(step: Step, module: nn.Module, batch) -> dict[str, Tensor]:
    step.zero_grad()
    module(batch)[0].backward()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
            for name, value in step.inner.named_parameters()}


def main(out: str, *encoder: str) -> None:
    world = distributed.start([0, 1], "cpu")
    inner = OfEncoder(encoder[0], float(encoder[1]), int(encoder[2])) if encoder else OfBlocks(world.rank)
    step, order, results = Step(inner), [], []
    parallel = over_ranks(step, world, "none", compiled=False)
    for name, parameter in inner.named_parameters():
        if name.startswith("blocks.blocks."):
            parameter.register_post_accumulate_grad_hook(lambda parameter, name=name: order.append(name.split(".")[2]))
    come_back = Played.come_back

    def noted(self, turn, number, given):
        order.append(number)
        return come_back(self, turn, number, given)

    with mock.patch.object(Played, "come_back", noted):
        for number in range(4 if encoder else len(PATTERNS)):
            wav = torch.randn(inner.shape, generator=torch.Generator().manual_seed(number + 100 * world.rank))
            order.clear()
            found = gradients(step, parallel.module, (wav, number, True))
            results.append((found, [*order], gradients(step, step, (wav, number, False))))
    gathered = distributed.gather(results)
    if world.is_main:
        torch.save(gathered, out)
    distributed.stop()


if __name__ == "__main__":
    Emulation.current, launcher = SimpleNamespace(recording=None, seen=None), type(gelu_kernel)
    with contextlib.ExitStack() as patches:
        for name, stand_in in {**HARDWARE, "CUDAGraph": Recording, "graph": recorded}.items():
            patches.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        patches.enter_context(mock.patch.object(torch.cuda, "is_available", lambda: False))
        patches.enter_context(mock.patch.object(launcher, "run", launched(launcher.run, sizes=False)))
        patches.enter_context(Recorder())
        main(*sys.argv[1:])
    if is_rank():
        end_rank(0)
