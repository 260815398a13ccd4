"""Batches on their way to a device: the ring they lie in, and the order of events, told by a stream that dawdles."""

import dataclasses
import gc
import os

import pytest
import torch
from corpora import CROPS, loading

from wedefense.data import ahead as module
from wedefense.data.ahead import ahead
from wedefense.data.batch import Batch
from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.shared_buffers import Parcel, Ring

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
GPU = torch.device("cuda", 0)


class DawdlingStream:
    """Copies in order, as late as a stream may: when the host waits for one."""

    def __init__(self, device):
        self.queue, self.events = [], []

    def send(self, batch):
        moved = dataclasses.replace(batch, wav=torch.full_like(batch.wav, torch.nan))
        self.events.append("send")
        self.queue.append((moved, batch))
        return moved, Arrival(self, len(self.queue))

    def receive(self, batch, arrival):
        self.events.append("receive")
        return batch


class Arrival:
    def __init__(self, stream, place):
        self.stream, self.place = stream, place

    def synchronize(self):
        self.stream.events.append(f"wait {self.place - 1}")
        for place in range(self.place):
            if self.stream.queue[place]:
                moved, batch = self.stream.queue[place]
                moved.wav.copy_(batch.wav)
                self.stream.queue[place] = None


class Cudart:
    """What the ring asks of CUDA."""

    def __init__(self, error=0):
        self.error, self.registered, self.unregistered = error, [], []

    def cudaHostRegister(self, address, size, flags):
        self.registered.append(address)
        return self.error

    def cudaHostUnregister(self, address):
        self.unregistered.append((address, os.getpid()))
        return 0


@pytest.fixture
def cuda(monkeypatch):
    """A machine whose GPU is made of the above; memory of tensors is ordinary."""
    cudart = Cudart()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(module, "SideStream", DawdlingStream)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: empty(*shape, **options))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    yield cudart
    gc.collect()  # rings end while this CUDA stands in for the real one


@pytest.mark.parametrize("workers, prefetch", [(0, 1), (1, 1), (2, 1), (1, 3), (3, 2)])
def test_lent_memory_stays_until_its_copy_arrives(voices, cuda, workers, prefetch):
    options = dataclasses.replace(CROPS, sample_num_per_epoch=120)
    plain = list(train_loader(voices.raw_list(), "raw", options, loading(2)))
    loader = train_loader(voices.raw_list(), "raw", options, loading(2, workers, prefetch_factor=prefetch))
    for _ in range(2):
        moved = list(ahead(loader, GPU))
        assert len(moved) == len(plain) == 60
        for one, other in zip(plain, moved):
            assert one.keys == other.keys and torch.equal(one.wav, other.wav)
    assert len(cuda.registered) == (workers > 0)


def test_each_batch_is_sent_before_the_step_of_the_one_before(cuda):
    class Loader:
        def lent(self):
            for value in range(3):
                stream.events.append(f"ask {value}")
                yield Batch(["u"], torch.full((1, 2), float(value)), torch.tensor([2]), torch.tensor([0]))

    stream = DawdlingStream(GPU)
    for _ in module._ahead(Loader().lent(), stream):
        stream.events.append("step")
    assert stream.events == ["ask 0", "send", "ask 1", "send", "receive", "step", "wait 0",
                             "ask 2", "send", "receive", "step", "wait 1", "receive", "step", "wait 2"]


@pytest.mark.parametrize("full", ["send", "receive"])
def test_a_batch_without_room_comes_on_the_host_in_memory_of_its_own(cuda, full):
    class Loader:
        memory = torch.zeros(2, 1, 2)  # of two batches, one after the other

        def lent(self):
            for value in range(4):
                self.memory[value % 2] = value
                yield Batch(["u"], self.memory[value % 2], torch.tensor([2]), torch.tensor([0]))

    class FullStream(DawdlingStream):
        def _fails(self, name, batch):
            if name == full and batch.wav[0, 0] == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")

        def send(self, batch):
            self._fails("send", batch)
            return super().send(batch)

        def receive(self, batch, arrival):
            arrival.synchronize()
            self._fails("receive", batch)
            return super().receive(batch, arrival)

    stream, found = FullStream(GPU), []
    for batch in module._ahead(Loader().lent(), stream):
        found.append(batch.wav)
    assert [wav[0, 0].item() for wav in found] == [0, 1, 2, 3]
    assert found[1].untyped_storage().data_ptr() != Loader.memory.untyped_storage().data_ptr()


def test_an_epoch_that_is_left_waits_for_the_copy_under_way(voices, cuda):
    loader = train_loader(voices.raw_list(), "raw", CROPS, loading(4, 2, prefetch_factor=1))
    plain = list(train_loader(voices.raw_list(), "raw", CROPS, loading(4)))
    batches = ahead(loader, GPU)
    first, second = next(batches), next(batches)
    batches.close()
    assert torch.equal(first.wav, plain[0].wav) and not second.wav.isnan().all()
    loader.set_epoch(0, 3)
    rest = list(ahead(loader, GPU))
    assert [batch.keys for batch in rest] == [batch.keys for batch in plain[3:]]
    assert all(torch.equal(one.wav, other.wav) for one, other in zip(rest, plain[3:]))


def test_evaluation_goes_ahead_too(voices, cuda):
    make = lambda workers: eval_loader(voices.raw_list(), "raw", CROPS, loading(4, workers), max_seconds=1.9)
    loader = make(2)
    for _ in range(2):
        for one, other in zip(make(0), ahead(loader, GPU), strict=True):
            assert one.keys == other.keys and torch.equal(one.lengths, other.lengths)
    moved = list(ahead(loader, GPU))
    assert all(torch.equal(one.wav, other.wav) for one, other in zip(make(0), moved, strict=True))
    del loader, moved
    gc.collect()
    assert sorted(address for address, _ in cuda.unregistered) == sorted(cuda.registered)
    assert {pid for _, pid in cuda.unregistered} == {os.getpid()}


def test_without_locked_memory_a_batch_is_copied(voices, cuda, monkeypatch, logged):
    cuda.error = 2
    loader = train_loader(voices.raw_list(), "raw", CROPS, loading(4, 1))
    moved, plain = list(ahead(loader, GPU)), list(train_loader(voices.raw_list(), "raw", CROPS, loading(4)))
    assert all(torch.equal(one.wav, other.wav) for one, other in zip(plain, moved, strict=True))
    assert "cannot be page-locked (CUDA error 2)" in logged.text
    del loader
    gc.collect()
    assert cuda.unregistered == []


def test_pin_memory_may_be_off(voices, cuda):
    loader = train_loader(voices.raw_list(), "raw", CROPS, loading(4, 1, pin_memory=False))
    assert len(list(ahead(loader, GPU))) == 5 and cuda.registered == []


def test_a_lent_batch_lies_in_the_ring_and_a_given_one_does_not(cuda):
    ring = Ring(1, 1, 8, lends=True)
    batch = Batch(["u"], torch.zeros(1, 8), torch.tensor([8]), torch.tensor([0]))
    parcel = Parcel(dataclasses.replace(batch, wav=None), (0, 1), (1, 8))
    ring._audio[0, 1] = 1
    before = ring.lend(parcel)
    ring.lock()
    lent, given = ring.lend(parcel), ring.unpack(parcel)
    ring._audio[0, 1] = 2
    assert (before.wav == 1).all() and (given.wav == 1).all() and (lent.wav == 2).all()


def test_on_the_cpu_batches_are_the_loaders_own():
    class Loader:
        def __iter__(self):
            return iter(batches)

    batches = [object(), object()]
    assert list(ahead(Loader(), torch.device("cpu"))) == batches
