"""The emulated device: it computes what a CPU does, and knows what a GPU would wait for or refuse."""

import pytest
import torch
import torch.nn.functional as F

from tests.emulation.cuda import emulated_cuda


@pytest.fixture
def cuda():
    with emulated_cuda() as emulation:
        yield emulation


LARGE = 2**15  # float32 values that no copy takes along


@pytest.mark.parametrize("what, run", {
    "_local_scalar_dense": lambda x, cpu: x.sum().item(),
    "tolist": lambda x, cpu: x.tolist(),
    "nonzero": lambda x, cpu: x.nonzero(),
    "blocking copy to the host": lambda x, cpu: x.cpu(),
    "blocking copy to the device": lambda x, cpu: cpu.to(x.device),
    "blocking copy to the device ": lambda x, cpu: torch.tensor([1.0, 2.0], device=x.device),
    "pageable copy to the device": lambda x, cpu: torch.zeros(LARGE).to(x.device, non_blocking=True),
    "pageable copy to the host": lambda x, cpu: torch.empty(4).copy_(x, non_blocking=True),
    "index by a mask": lambda x, cpu: x[x > 0],
    "index by an index on the CPU": lambda x, cpu: x[torch.tensor([0, 2])],
    "add of tensors on two devices": lambda x, cpu: x + cpu,
    "cat of tensors on two devices": lambda x, cpu: torch.cat([x, cpu]),
    "gradient of prod": lambda x, cpu: x.prod(),
    "repeat_interleave": lambda x, cpu: x.repeat_interleave(torch.tensor([1, 2, 0, 3]).to(x.device, non_blocking=True)),
    "wait for an event with nothing queued behind it": lambda x, cpu: _recorded().synchronize(),
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_gpu_would_wait_for_is_a_fault(cuda, what, run):
    cpu = torch.arange(4.0)
    x = cpu.to(cuda.device)
    with cuda.watch() as seen:
        run(x, cpu)
    assert [fault.split(" in ")[0] for fault in seen.faults] == [what.strip()]
    with pytest.raises(AssertionError, match=what.strip()):
        seen.check()


def _recorded():
    event = torch.cuda.Event()
    event.record()
    return event


def test_what_a_gpu_does_not_wait_for_is_none(cuda):
    cpu, order = torch.arange(4.0), torch.tensor([2, 0])
    x = cpu.to(cuda.device)
    with cuda.watch() as seen:
        locked = torch.zeros(LARGE).pin_memory()
        locked.to(cuda.device, non_blocking=True)
        host = torch.empty(4, pin_memory=True).copy_(x, non_blocking=True)
        event = _recorded()
        picked = x[order.to(cuda.device, non_blocking=True)] + 1.5 * cpu.sum()
        event.synchronize()
        x.mul_(2)
    seen.check()
    assert host.tolist() == [0, 1, 2, 3] and x.cpu().tolist() == [0, 2, 4, 6] and picked.cpu().tolist() == [11, 9]
    assert seen.launches == {"_to_copy": 2, "copy_": 1, "index": 1, "add": 1, "mul_": 1}
    assert seen.bytes["mul_"] == 2 * 16


def test_gradients_are_those_of_the_cpu(cuda):
    """Broadcast and cast operands, attention with a mask, an LSTM; twice, so that they add up."""
    torch.manual_seed(0)
    lstm, weight, x = torch.nn.LSTM(6, 6, batch_first=True).double(), torch.randn(6), torch.randn(2, 5, 6).double()

    def run(device):
        part, w = lstm.to(device), weight.detach().to(device).requires_grad_()
        part.zero_grad()
        for _ in range(2):
            y = part(x.to(device) * w.double())[0]
            y = F.scaled_dot_product_attention(y[:, None], y[:, None], y[:, None], attn_mask=y.new_zeros(5, 5))
            y.sin().sum().backward()
        return [w.grad, *(p.grad for p in part.parameters())]
    expected = [gradient.clone() for gradient in run("cpu")]
    for ours, theirs in zip(run(cuda.device), expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs)
