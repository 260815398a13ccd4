"""`cache: memory`: the samples of the files, held for all workers and ranks, as far as they fit."""

import dataclasses
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from corpora import CROPS, loading, noise

from wedefense.config.data import FilterOptions
from wedefense.data.audio import open_audio, rate_ratio, read_span, resampled_length
from wedefense.data.decoded import DecodedSource, Memory
from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.sources import RawSource
from wedefense.utils import host_memory as machine

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

ROOT = Path(__file__).parents[2]
CACHED = dataclasses.replace(CROPS, cache="memory", cache_gib=0.01)
LOSSLESS = [("WAV", "PCM_16", 1), ("WAV", "PCM_16", 2), ("FLAC", "PCM_16", 1), ("FLAC", "PCM_16", 3),
            ("AIFF", "PCM_16", 1)]
OTHERS = [("WAV", "PCM_24", 1), ("FLAC", "PCM_24", 1), ("WAV", "FLOAT", 1), ("OGG", "VORBIS", 1), ("WAV", "ULAW", 1)]


class Faster:
    """A pipeline that plays at another speed and leaves its random number in the first sample."""

    on_device = False

    def speed(self, rng):
        return float(rng.choice([0.9, 1.0, 1.1]))

    def speed_label(self, label, factor, num_classes):
        return label

    def __call__(self, wav, rng):
        wav[0] = rng.random()
        return wav


def same(one, other):
    return one.keys == other.keys and torch.equal(one.wav, other.wav) and torch.equal(one.labels, other.labels) \
        and torch.equal(one.lengths, other.lengths) and one.skipped == other.skipped


def epochs(loader, count=3, first=0):
    given = []
    for epoch in range(first, first + count):
        loader.set_epoch(epoch)
        given += list(loader)
    return given


def both(corpus, workers, options=CACHED):
    """Loaders of the same list without memory and with it."""
    return [train_loader(corpus.raw_list(), "raw", one, loading(4, workers), seed=3) for one in (CROPS, options)]


def held(loader):
    return loader._source._memory.held


@pytest.fixture
def mixture(voices):
    """The voices, and some at other rates, with more channels, and of kinds that are not kept."""
    for number, (rate, kind) in enumerate([(8000, ("WAV", "PCM_16", 2)), (44100, ("FLAC", "PCM_16", 1)),
                                           *((16000, kind) for kind in OTHERS)]):
        form, subtype, channels = kind
        wav = np.stack([noise(9000, seed=50 + channel) for channel in range(channels)], axis=1)
        path = voices.folder / f"m{number}.{form.lower()}"
        soundfile.write(path, wav, rate, subtype=subtype)
        voices.add_file(f"m{number}", path, dur=9000 / rate)
    return voices


@pytest.mark.parametrize("form, subtype, channels", LOSSLESS)
def test_whole_numbers_are_what_is_read_as_floats(form, subtype, channels):
    """Every value of 16 bits, through libsndfile's own conversion and through ours."""
    values = np.random.default_rng(0).permutation(np.arange(-2**15, 2**15)).astype(np.int16)
    values = np.stack([np.roll(values, channel) for channel in range(channels)], axis=1)
    stream = io.BytesIO()
    soundfile.write(stream, values, 16000, format=form, subtype=subtype)
    stream.seek(0)
    floats, _ = soundfile.read(stream, dtype="float32", always_2d=True)
    assert np.array_equal(floats, values.astype(np.float32) / np.float32(32768))
    memory = Memory(1, 2**20)
    stream.seek(0)
    with open_audio(stream) as sound:
        memory.keep(0, sound)
    for rate in (16000, 24000, 8000):
        stream.seek(0)
        with open_audio(stream) as sound:
            ratio = rate_ratio(sound.samplerate, rate)
            assert resampled_length(memory.get(0).frames, ratio) == resampled_length(sound.frames, ratio)
            for start, length in ((0, 500), (1234, 4000), (0, None)):
                expected = read_span(sound, ratio, start, length)
                assert np.array_equal(read_span(memory.get(0), ratio, start, length), expected)


@pytest.mark.parametrize("form, subtype, channels", OTHERS)
def test_what_would_lose_something_is_left(form, subtype, channels):
    stream = io.BytesIO()
    soundfile.write(stream, noise(4000), 16000, format=form, subtype=subtype)
    stream.seek(0)
    memory = Memory(1, 2**20)
    with open_audio(stream) as sound:
        memory.keep(0, sound)
    assert not memory.new(0) and memory.get(0) is None and memory.used == 0


@pytest.mark.parametrize("data_type", ["raw", "shard"])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_without_it(mixture, data_type, workers):
    path = mixture.raw_list() if data_type == "raw" else mixture.shard_list()
    plain, loader = (train_loader(path, data_type, options, loading(4, number), seed=3, pipeline=Faster())
                     for options, number in ((CROPS, 0), (CACHED, workers)))
    assert all(same(one, other) for one, other in zip(epochs(plain), epochs(loader), strict=True))
    assert held(loader) == 24
    for path in mixture.folder.glob("*.wav"):
        path.unlink()  # shards hold their own copies
    if data_type == "shard":
        for path in mixture.folder.glob("*.tar"):
            os.truncate(path, 0)
    later = epochs(loader, 1, first=3)
    missing = {key for batch in later for key, _ in batch.skipped}
    assert missing and missing <= {"m2", "m3", "m4", "m5", "m6"}


def test_whole_utterances_and_filters(mixture):
    options = dict(whole_utt=True, filter=True, filter_args=FilterOptions(min_num_frames=12, max_num_frames=25))
    for record in mixture.records:
        del record["dur"]
    plain, loader = (train_loader(mixture.raw_list(), "raw", dataclasses.replace(base, **options), loading(4), seed=3)
                     for base in (CROPS, CACHED))
    assert all(same(one, other) for one, other in zip(epochs(plain), epochs(loader), strict=True))


def test_an_epoch_goes_on_from_any_step(mixture):
    plain, loader = both(mixture, 2)
    epochs(loader, 1)
    for one in (plain, loader):
        one.set_epoch(1, 3)
    assert all(same(one, other) for one, other in zip(plain, loader, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_fit_is_read_from_its_file(mixture, workers, logged):
    bound = 100_000
    options = dataclasses.replace(CACHED, cache_gib=bound / 2**30)
    plain, loader = both(mixture, workers, options)
    assert all(same(one, other) for one, other in zip(epochs(plain), epochs(loader), strict=True))
    source = loader._source
    assert 0 < source._memory.held < 24 and bound - 20_000 < source._memory.used <= source._memory.size < bound + 4096
    assert logged.text.count("are held decoded in memory") == 1
    assert f"{source._memory.held} of 29 recordings" in logged.text


def test_no_more_is_used_than_is_free(voices, monkeypatch, logged):
    monkeypatch.setattr("wedefense.data.decoded.free_memory", lambda: 50_000)
    loader = train_loader(voices.raw_list(), "raw", CACHED, loading(4), seed=3)
    assert "dataset_args.cache_gib: 0.0 GiB are not free" in logged.text
    epochs(loader)
    assert 0 < loader._source._memory.used <= loader._source._memory.size < 40_000 + 4096


@pytest.mark.parametrize("kind", ["missing", "garbage", "cut short"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_recording_is_skipped_and_counted_as_ever(mixture, kind, workers):
    path = mixture.folder / "bad.flac"
    if kind != "missing":
        soundfile.write(path, noise(64_000), 16000)
        path.write_bytes(path.read_bytes()[:20_000] if kind == "cut short" else b"no audio" * 500)
    mixture.add_file("bad", path, dur=4.0)
    options = dict(sample_num_per_epoch=30)
    plain, loader = (train_loader(mixture.raw_list(), "raw", dataclasses.replace(base, **options), loading(5, workers))
                     for base in (CROPS, CACHED))
    whole = epochs(plain, 4)
    assert all(same(one, other) for one, other in zip(whole, epochs(loader, 4), strict=True))
    assert any(batch.skipped for batch in whole)


def test_memory_that_cannot_be_had_is_done_without(mixture, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    plain, loader = both(mixture, 0)
    assert all(same(one, other) for one, other in zip(epochs(plain), epochs(loader), strict=True))
    assert held(loader) == 0


def test_validation_is_held_and_scoring_is_not(mixture):
    make = lambda options, **more: eval_loader(mixture.raw_list(), "raw", options, loading(4, 2), max_seconds=2, **more)
    plain, loader, once = make(CROPS), make(CACHED, again=True), make(CACHED)
    for _ in range(2):
        assert all(same(one, other) for one, other in zip(plain, loader, strict=True))
    assert loader._dataset.source._memory.held == 24
    assert isinstance(once._dataset.source, RawSource)


def test_a_copy_for_a_spawned_worker_reads_files(voices):
    import pickle

    source = DecodedSource(RawSource(voices.raw_list()), 0.01)
    assert isinstance(pickle.loads(pickle.dumps(source)), RawSource)


def test_what_a_container_leaves(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 400\n")
    assert machine._container_room(tmp_path, "memory.max", "memory.current") == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._container_room(tmp_path, "memory.max", "memory.current") is None
    assert machine._container_room(tmp_path / "no such", "memory.max", "memory.current") is None
    assert machine.free_memory() > 0


def start(listed, *launcher, **environment):
    return subprocess.Popen(
        [sys.executable, *launcher, str(Path(__file__).with_name("ranks_share.py")), str(listed)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_ranks_share_one_memory(mixture):
    running = start(mixture.raw_list(), "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    out, err = running.communicate()
    assert running.returncode == 0, err
    lines = sorted(line.split() for line in out.splitlines() if line.startswith("rank"))
    (_, file, *first), (_, other, *second) = lines
    assert file == other and first == second == ["same", "24"]


def test_a_rank_that_cannot_reach_the_others_takes_its_share_of_the_bound(monkeypatch, logged):
    monkeypatch.setattr(machine, "gather", lambda item: [(machine._machine(), os.getpid(), -1), item])  # no such file
    size = 2**20
    memory = Memory(100, size)
    assert memory.size == size // 2 and "keeps a share of its own" in logged.text


def test_a_killed_run_leaves_nothing(mixture):
    before = set(os.listdir("/dev/shm"))
    running = start(mixture.raw_list(), STAY="1")
    pids = next(line.split()[4:] for line in running.stdout if line.startswith("rank"))
    assert len(pids) == 3
    assert any("memfd:wedefense" in os.readlink(link) for link in Path(f"/proc/{pids[0]}/fd").iterdir())
    running.kill()
    running.communicate()
    while any(map(alive, pids)):
        time.sleep(0.1)
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "wedefense" in name]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
