"""Run by the tests on each rank: gradients of recorded sections over the ranks, and those of each rank by itself.

    python recorded_ranks.py OUT

What a GPU would play back is recorded from a CPU's operations, so that autograd's own engine goes back through it.
"""

import contextlib
import sys
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.emulation.cuda import HARDWARE
from tests.emulation.device import Emulation
from tests.emulation.recording import Recording, recorded
from tests.gpu.test_recordings import PATTERNS, Blocks, of_all
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


class Step(nn.Module):
    """As `TrainStep`, of samples, the blocks that are left out, and whether to record."""

    def __init__(self):
        super().__init__()
        self.blocks, self.weights = Blocks(low=True, ends=True), nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))

    def forward(self, batch) -> tuple[Tensor, Tensor]:
        loss = of_all(self.blocks(*batch), self.weights)
        return loss, loss.detach()


def gradients(step: Step, module: nn.Module, batch) -> dict[str, Tensor]:
    step.zero_grad()
    module(batch)[0].backward()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
            for name, value in step.named_parameters()}


def main(out: str) -> None:
    world = distributed.start([0, 1], "cpu")
    step, order, results = Step(), [], []
    parallel = over_ranks(step, world, "none", compiled=False)
    for name, parameter in step.named_parameters():
        if ".blocks." in name:
            parameter.register_post_accumulate_grad_hook(lambda parameter, name=name: order.append(name.split(".")[2]))
    come_back = Played.come_back

    def noted(self, turn, number, given):
        order.append(number)
        return come_back(self, turn, number, given)

    with mock.patch.object(Played, "come_back", noted):
        for number, patterns in enumerate(zip(PATTERNS, PATTERNS[::-1])):
            wav = torch.randn(2, 96, generator=torch.Generator().manual_seed(number + 100 * world.rank))
            batch = wav, patterns[world.rank]
            order.clear()
            found = gradients(step, parallel.module, (*batch, True))
            results.append((found, [*order], gradients(step, step, (*batch, False))))
    gathered = distributed.gather(results)
    if world.is_main:
        torch.save(gathered, out)
    distributed.stop()


if __name__ == "__main__":
    Emulation.current = SimpleNamespace(recording=None)
    with contextlib.ExitStack() as patches:
        for name, stand_in in {**HARDWARE, "CUDAGraph": Recording, "graph": recorded}.items():
            patches.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        patches.enter_context(mock.patch.object(torch.cuda, "is_available", lambda: False))
        patches.enter_context(Recorder())
        main(sys.argv[1])
    if is_rank():
        end_rank(0)
