"""The last filter of each crop done in whole batches: what the workers would have done, from the same draws."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from corpora import loading
from torch.utils._python_dispatch import TorchDispatchMode

from wedefense.config.augment import RawBoostOptions, Setting
from wedefense.config.data import DatasetOptions
from wedefense.data import ahead as feeding
from wedefense.data.augment.later import layout, pack
from wedefense.data.augment.mixing import Room
from wedefense.data.augment.on_device import finished
from wedefense.data.augment.pipeline import Pipeline
from wedefense.data.augment.rawboost import RawBoost
from wedefense.data.batch import Batch
from wedefense.data.loader import train_loader
from wedefense.data.shared_buffers import Parcel

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
RATE, SAMPLES = 16000, 6400
CROPS = DatasetOptions(frontend="ssl", num_frms=20, sample_num_per_epoch=48)
BOOST = {"type": "rawboost", "prob": 0.8}
ENDS = {"reverb": ({"type": "reverb", "prob": 0.8}, "room"),
        "late reverb": ({"type": "reverb", "prob": 0.8, "realign": False}, "room"),
        "reverb to peak": ({"type": "reverb", "prob": 0.8, "realign": False, "scale_peak": True}, "room_to_peak"),
        "telephone": ({"type": "telephone", "prob": 0.8}, "band"),
        "low_pass": ({"type": "low_pass", "prob": 0.8}, "band"),
        **{f"rawboost {algo}": ({**BOOST, "algo": algo}, kind) for algo, kind in
           ((1, "convolutive"), (3, "stationary"), (4, "stationary"), (5, "convolutive"), (6, "stationary"),
            (7, "stationary"))}}
MIXED = ({"type": "one_of", "prob": 0.9, "steps": [{"type": "reverb"}, {**BOOST, "algo": 5}, {**BOOST, "algo": 3}]},
         {"type": "telephone", "prob": 0.3}, {"type": "codec", "prob": 0.2})


def tone_like(samples, seed):
    rng = np.random.default_rng(seed)
    return (0.3 * rng.standard_normal(samples) * np.hanning(samples)).astype(np.float32)


def response(samples, direct, seed=0):
    decay = np.exp(-np.abs(np.arange(samples) - direct) / 300)
    wav = 0.1 * np.random.default_rng(seed).standard_normal(samples) * decay
    wav[direct] = 1
    return wav.astype(np.float32)


@pytest.fixture
def recordings(tmp_path):
    """Rooms of three sizes, one of them longer than a crop, and noises."""
    for folder, wavs in (("rooms", [response(800, 9), response(5000, 700), response(16000, 40)]),
                         ("musan", [tone_like(9000, seed) for seed in range(2)])):
        (tmp_path / folder).mkdir()
        for number, wav in enumerate(wavs):
            soundfile.write(tmp_path / folder / f"{number}.wav", wav, RATE, subtype="FLOAT")
    return {"reverb_data": str(tmp_path / "rooms"), "noise_data": str(tmp_path / "musan")}


@pytest.fixture
def make(voices, recordings):
    """A training loader of these steps, each done where `augment_on` says."""
    def loader(steps, augment_on, workers=0, data_type="raw", options=CROPS, **ranks):
        options = dataclasses.replace(options, augment=steps, augment_on=augment_on)
        listed = voices.raw_list() if data_type == "raw" else voices.shard_list()
        return train_loader(listed, data_type, options, loading(4, workers, prefetch_factor=1), seed=5, **ranks,
                            pipeline=Pipeline.from_options(options, RATE, **recordings))
    return loader


def near(one, other, bound=1e-5):
    peak = other.abs().amax(1, keepdim=True)
    return bool(((one - other).abs() <= bound * peak).all())


def left(loader):
    """The kinds of what an epoch leaves to the device, one for each utterance; None where it leaves nothing."""
    kinds = []
    for batch in loader._batches:
        of_batch = [None] * len(batch)
        for group in batch.later.groups() if batch.later else ():
            for row in group.rows.tolist():
                of_batch[row] = group.layout.kind
        kinds.append(of_batch)
    return kinds


@pytest.mark.parametrize("name", list(ENDS))
def test_every_filter_equals_the_workers(make, name):
    step, kind = ENDS[name]
    options = dataclasses.replace(CROPS, speed_perturb=True)
    steps = ({"type": "noise", "prob": 0.7}, step)
    cpu, device = (make(steps, where, options=options) for where in ("cpu", "device"))
    kinds = left(device)
    assert {kind for of_batch in kinds for kind in of_batch} == {kind, None} and not any(map(any, left(cpu)))
    for one, other, of_batch in zip(device, cpu, kinds, strict=True):
        done = torch.tensor([kind is not None for kind in of_batch])
        assert one.keys == other.keys and torch.equal(one.labels, other.labels) and one.later is None
        assert near(one.wav, other.wav) and torch.equal(one.wav[~done], other.wav[~done])


@pytest.mark.parametrize("data_type", ["raw", "shard"])
@pytest.mark.parametrize("workers", [0, 2])
def test_from_any_list_and_workers(make, data_type, workers):
    cpu, device = make(MIXED, "cpu", data_type=data_type), make(MIXED, "device", workers, data_type)
    again = list(make(MIXED, "device", data_type=data_type))
    for epoch in range(2):
        device.set_epoch(epoch)
        cpu.set_epoch(epoch)
        for number, (one, other) in enumerate(zip(device, cpu, strict=True)):
            assert one.keys == other.keys and near(one.wav, other.wav)
            assert epoch or torch.equal(one.wav, again[number].wav)


def test_resumed_the_bits_are_the_same_and_ranks_hear_the_same(make):
    loader = make(MIXED, "device")
    whole = list(loader)
    loader.set_epoch(0, 5)
    assert all(torch.equal(one.wav, other.wav) for one, other in zip(loader, whole[5:], strict=True))
    once = dataclasses.replace(CROPS, sample_num_per_epoch=16)
    heard = {}
    for ranks in (1, 2):
        for rank in range(ranks):
            for batch in make(MIXED, "device", options=once, rank=rank, world_size=ranks):
                heard |= {(ranks, key): wav for key, wav in zip(batch.keys, batch.wav)}
    assert len(heard) == 32
    assert all(near(wav[None], heard[1, key][None], 1e-6) for (_, key), wav in heard.items())


def test_the_generator_goes_on_as_if_all_were_done(recordings):
    options = DatasetOptions(augment=MIXED, augment_on="device")
    chain, wav = Pipeline.from_options(options, RATE, **recordings), tone_like(SAMPLES, 1)
    for seed in range(20):
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        begun, ending = chain.begin(wav, one)
        done = chain(wav, other)
        assert one.random() == other.random()
        assert np.array_equal(begun if ending is None else ending(begun), done)


def test_what_is_left_travels_in_the_ring_and_a_whole_batch_of_it_fits(make):
    loader = make(({**BOOST, "prob": 1.0, "algo": 5},), "device", workers=2)
    parcels = list(loader._batches._parcels())
    assert len(parcels) == 12
    for parcel in parcels:
        assert isinstance(parcel, Parcel) and parcel.batch.later.data is None
        assert parcel.behind == 4 * parcel.batch.later.layouts[0].floats() > 4 * SAMPLES
    whole = dataclasses.replace(CROPS, whole_utt=True)
    cpu, device = (make(MIXED, where, options=whole) for where in ("cpu", "device"))  # the workers do it all
    assert all(torch.equal(one.wav, other.wav) for one, other in zip(device, cpu, strict=True))
    assert not any(map(any, left(device)))


def finish(endings, samples=SAMPLES):
    wavs = np.stack([tone_like(samples, seed) for seed in range(len(endings))])
    later = pack(endings, samples, torch.empty)
    batch = Batch(["u"] * len(wavs), torch.from_numpy(wavs.copy()), torch.tensor([samples] * len(wavs)),
                  torch.zeros(len(wavs), dtype=torch.int64), later=later)
    return later, finished(batch).wav, torch.from_numpy(np.stack([end(wav) for end, wav in zip(endings, wavs)]))


def test_rooms_of_any_size():
    sizes = [(400, 3), (30000, 20), (3000, 2900), (SAMPLES, 0), (2000, 513), (30000, 4000)]
    later, ours, theirs = finish([Room(response(*size, seed)) for seed, size in enumerate(sizes)])
    assert near(ours, theirs) and len(later.layouts) > 2
    assert layout(Room(response(30000, 20)), SAMPLES).width == 512 + SAMPLES  # what lies behind the crop is not sent
    assert layout(Room(response(30000, 9000)), SAMPLES) is None               # sound that comes so late is the worker's


def test_a_room_too_large_to_leave_is_done_by_the_worker(make, recordings, tmp_path):
    for number in range(3):
        soundfile.write(tmp_path / "rooms" / f"{number}.wav", response(12000, 9000), RATE, subtype="FLOAT")
    steps = ({"type": "reverb"},)
    assert not any(map(any, left(make(steps, "device"))))
    for one, other in zip(make(steps, "device"), make(steps, "cpu"), strict=True):
        assert torch.equal(one.wav, other.wav)


def test_what_exceeds_full_scale_is_scaled_down():
    loud = RawBoost(RawBoostOptions(algo=5, g_sd=20.0), Setting(RATE))
    endings = [loud.begin(tone_like(SAMPLES, 0), np.random.default_rng(seed))[1] for seed in range(3)]
    _, ours, theirs = finish(endings)
    assert near(ours, theirs) and torch.equal(ours.abs().amax(1), torch.ones(3))


def test_many_utterances_of_one_kind_and_silence():
    rooms = [Room(response(700, 5, seed)) for seed in range(70)]  # done in several pieces
    later, ours, theirs = finish(rooms, 2000)
    assert later.counts == (70,) and near(ours, theirs)
    silent = Batch(["u"], torch.zeros(1, 2000), torch.tensor([2000]), torch.tensor([0]),
                   later=pack(rooms[:1], 2000, torch.empty))
    assert torch.equal(finished(silent).wav, torch.zeros(1, 2000))


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_nothing_is_read_back(make):
    """On a device each of these would make the host wait."""
    (batch, *_) = list(make(MIXED, "device")._batches)
    with Operations() as seen:
        finished(batch)
    assert "_fft_r2c" in seen.names
    assert not {"_local_scalar_dense", "nonzero", "masked_select", "index", "equal", "is_nonzero"} & set(seen.names)


class PromptStream:
    """A side stream on which everything arrives at once, elsewhere than in the ring."""

    def __init__(self, device):
        pass

    def send(self, batch):
        return batch.moved(torch.clone), self

    def receive(self, batch, arrival):
        return batch

    def synchronize(self):
        pass


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_sent_ahead_arrive_finished(make, monkeypatch, workers):
    monkeypatch.setattr(feeding, "SideStream", PromptStream)
    loader, plain = make(MIXED, "device", workers), make(MIXED, "device")
    for one, other in zip(feeding.ahead(loader, torch.device("cuda")), plain, strict=True):
        assert one.later is None and torch.equal(one.wav, other.wav)


def test_auto_is_the_device_where_that_is_a_gpu(recordings):
    def chosen(augment_on, device):
        options = DatasetOptions(rawboost=True, augment_on=augment_on)
        return Pipeline.from_options(options, RATE, device=device).on_device
    assert [chosen(where, device) for where in ("auto", "cpu", "device") for device in ("cpu", "cuda")] == [
        False, True, False, False, True, True]
