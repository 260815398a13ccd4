"""The loaders as the trainer and the scorer see them."""

import dataclasses
import os
import re

import numpy as np
import pytest
import soundfile
import torch
from corpora import CROPS, Corpus, loading, noise

from wedefense.config.augment import RawBoostOptions
from wedefense.config.data import FilterOptions
from wedefense.data.augment.pipeline import Pipeline
from wedefense.data.batch import SkipCounter
from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.silence import GAIN
from wedefense.utils.errors import InputError, OptionError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def items(loader, epoch=0, start=0):
    """{(step, place): (key, samples)} of one epoch."""
    loader.set_epoch(epoch, start)
    return {(start + step, row): (key, wav.numpy().copy())
            for step, batch in enumerate(loader) for row, (key, wav) in enumerate(zip(batch.keys, batch.wav))}


def same(a, b):
    return a.keys() == b.keys() and all(a[k][0] == b[k][0] and np.array_equal(a[k][1], b[k][1]) for k in a)


class Shouting:
    """A pipeline that leaves its random number in the first sample."""

    on_device = False

    def speed(self, rng):
        return float(rng.choice([0.9, 1.0, 1.1]))

    def speed_label(self, label, factor, num_classes):
        return label + num_classes * (1 if factor == 0.9 else 2)

    def __call__(self, wav, rng):
        wav = wav * np.float32(0.5)
        wav[0] = rng.random()
        return wav


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_any_number_of_workers_gives_the_same_items(voices, data_type):
    path = voices.raw_list() if data_type == "raw" else voices.shard_list()
    make = lambda workers: train_loader(path, data_type, CROPS, loading(4, workers), seed=3, pipeline=Shouting())
    alone = items(make(0), epoch=3)
    assert len(alone) == 20
    for workers in (1, 2, 4):
        assert same(items(make(workers), epoch=3), alone)
    assert not same(items(make(0), epoch=4), alone)


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_ranks_share_the_steps_of_one_rank(voices, data_type):
    path = voices.raw_list() if data_type == "raw" else voices.shard_list()
    one = items(train_loader(path, data_type, CROPS, loading(8), seed=3), epoch=1)
    two = [items(train_loader(path, data_type, CROPS, loading(4), seed=3, rank=rank, world_size=2), epoch=1)
           for rank in (0, 1)]
    for step in range(2):
        together = [part[step, row] for part in two for row in range(4)]
        for row, (key, wav) in enumerate(together):
            assert key == one[step, row][0] and np.array_equal(wav, one[step, row][1])


def test_an_epoch_goes_on_from_any_step_with_persistent_workers(voices):
    loader = train_loader(voices.raw_list(), "raw", CROPS, loading(4, 2), seed=3)
    whole = items(loader, epoch=2)
    loader.set_epoch(5)
    next(iter(loader))  # an epoch that is left in the middle
    rest = items(loader, epoch=2, start=3)
    assert sorted(rest) == [(step, row) for step in (3, 4) for row in range(4)]
    assert same(rest, {place: item for place, item in whole.items() if place[0] >= 3})
    assert len(loader) == 2


def test_loading_leaves_the_global_random_numbers_alone(voices):
    state = torch.get_rng_state()
    list(train_loader(voices.raw_list(), "raw", CROPS, loading(4)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("count, ranks, batch, steps", [(22, 1, 4, 5), (22, 2, 4, 2), (22, 3, 2, 3), (45, 1, 4, 11)])
def test_steps_of_an_epoch(voices, count, ranks, batch, steps):
    options = dataclasses.replace(CROPS, sample_num_per_epoch=0 if count == 22 else count)
    loaders = [train_loader(voices.raw_list(), "raw", options, loading(batch), rank=rank, world_size=ranks)
               for rank in range(ranks)]
    assert {loader.steps_per_epoch for loader in loaders} == {steps}
    keys = [key for loader in loaders for batch_ in loader for key in batch_.keys]
    assert len(keys) == steps * batch * ranks
    uses = [keys.count(key) for key in {*keys}]
    assert max(uses) - min(uses) <= 1 and len(uses) == min(22, len(keys))


def test_a_repeated_utterance_is_cropped_anew(corpus):
    corpus.add("long", noise(40_000))
    options = dataclasses.replace(CROPS, sample_num_per_epoch=4)
    (batch,) = train_loader(corpus.raw_list(), "raw", options, loading(4))
    assert batch.keys == ["long"] * 4
    assert len({row.numpy().tobytes() for row in batch.wav}) == 4


def test_speed_changes_the_tone_and_may_change_the_label(corpus):
    for i in range(12):
        tone = np.sin(2 * np.pi * 1000 / 16000 * np.arange(12_000)) * 0.5
        corpus.add(f"u{i}", tone, "bonafide" if i % 2 else "spoof")
    (batch,) = train_loader(corpus.raw_list(), "raw", CROPS, loading(12), pipeline=Shouting())
    for key, wav, label in zip(batch.keys, batch.wav.numpy(), batch.labels.tolist()):
        peak = np.abs(np.fft.rfft(wav[1:])).argmax() * 16000 / (len(wav) - 1)
        index, own = divmod(label, 2)
        assert own == (0 if int(key[1:]) % 2 else 1)
        assert peak == pytest.approx([1000, 900, 1100][index], abs=5)
    assert len({label // 2 for label in batch.labels.tolist()}) == 3


def test_too_few_utterances_for_a_batch(voices):
    with pytest.raises(InputError, match="do not fill one batch of 64 on 1 ranks.*batch_size"):
        train_loader(voices.raw_list(), "raw", CROPS, loading(64))


def test_crops_come_from_the_file_and_short_ones_repeat(corpus):
    short, long = np.arange(1, 4001) / 32768, np.arange(1, 20_001) / 32768
    corpus.add("short", short)
    corpus.add("long", long)
    (batch,) = train_loader(corpus.raw_list(), "raw", CROPS, loading(2))
    rows = dict(zip(batch.keys, batch.wav.numpy()))
    assert np.array_equal(rows["short"], np.resize(short.astype(np.float32), 6400))
    assert np.allclose(np.diff(rows["long"]) * 32768, 1)
    assert batch.lengths.tolist() == [6400, 6400] and batch.labels.tolist() == [0, 0]


@pytest.mark.parametrize("whole", [{}, {"augment_whole": True}, {"trim_silence": True}])
def test_crops_may_be_the_beginnings(corpus, whole):
    for i in range(4):
        corpus.add(f"u{i}", np.arange(20_001, 1, -1) / 32768)
    options = dataclasses.replace(CROPS, random_crop=False, filter=True, filter_args=FilterOptions(10, 40), **whole)
    one, other = train_loader(corpus.raw_list(), "raw", options, loading(2))
    first = 20_001 / 32768 * (GAIN if whole.get("trim_silence") else 1)
    for batch in (one, other):
        assert batch.wav[:, 0].numpy() == pytest.approx([first, first]) and batch.wav.shape[1] == 6400


@pytest.mark.parametrize("known", [True, False])
def test_the_length_filter(corpus, known):
    """Without durations in the list the files tell; the epoch keeps its length in both cases."""
    for i in range(4):
        corpus.add(f"short{i}", noise(3199, i))
        corpus.add(f"fits{i}", noise(3200, i))
    ramp = np.arange(32_000) / 32768
    corpus.add("long", ramp)
    if not known:
        for record in corpus.records:
            del record["dur"]
    options = dataclasses.replace(CROPS, whole_utt=True, filter=True, sample_num_per_epoch=60,
                                  filter_args=FilterOptions(min_num_frames=10, max_num_frames=50))
    loader = train_loader(corpus.raw_list(), "raw", options, loading(10))
    assert loader.steps_per_epoch == 6
    rows = [(key, wav[:length].numpy()) for batch in loader
            for key, wav, length in zip(batch.keys, batch.wav, batch.lengths)]
    assert {key[:4] for key, _ in rows} == {"fits", "long"}
    cuts = [wav for key, wav in rows if key == "long"]
    assert {len(wav) for wav in cuts} == {16_000} and len({wav[0] for wav in cuts}) == len(cuts)
    assert all(np.allclose(np.diff(wav) * 32768, 1) for wav in cuts)


def test_labels_count_what_the_filter_leaves(voices):
    """They are the priors that training sees, and that scores are freed from."""
    for number, record in enumerate(voices.records):
        if record["lab"] == "bonafide" and number < 10:
            record["dur"] = 0.01
    short = sum(record["dur"] == 0.01 for record in voices.records)
    options = dataclasses.replace(CROPS, filter=True, filter_args=FilterOptions(min_num_frames=5))
    loader = train_loader(voices.raw_list(), "raw", options, loading(4))
    assert short and loader.label_counts == {"bonafide": 14 - short, "spoof": 8}


def test_all_filtered_out(voices):
    options = dataclasses.replace(CROPS, filter=True)
    with pytest.raises(InputError, match="all 22 utterances are shorter.*min_num_frames"):
        train_loader(voices.raw_list(), "raw", options, loading(4))


def test_labels(voices, tmp_path):
    loader = train_loader(voices.raw_list(), "raw", CROPS, loading(4))
    assert loader.labels == {"bonafide": 0, "spoof": 1}
    assert loader.label_counts == {"bonafide": 14, "spoof": 8}
    truth = {r["key"]: r["lab"] for r in voices.records}
    assert all(loader.labels[truth[key]] == label for batch in loader
               for key, label in zip(batch.keys, batch.labels.tolist()))
    with pytest.raises(InputError, match="unknown labels spoof.*known: bonafide, fake"):
        train_loader(voices.raw_list(), "raw", CROPS, loading(4), labels={"bonafide": 0, "fake": 1})
    table = tmp_path / "utt2spk"
    table.write_text("".join(f"u{i:02d} spk{i % 4}\n" for i in range(22)))
    speakers = train_loader(voices.raw_list(), "raw", CROPS, loading(4), label_table=table)
    assert sorted(speakers.labels) == ["spk0", "spk1", "spk2", "spk3"]
    table.write_text("u00 spk0\n")
    with pytest.raises(InputError, match=r"21 of 22 utterances have no label.*u01, u02, u03 and 18 more"):
        train_loader(voices.raw_list(), "raw", CROPS, loading(4), label_table=table)


def spoil(corpus, kind, key="bad"):
    path = corpus.folder / f"{key}.{'flac' if kind in ('truncated', 'garbage') else 'wav'}"
    if kind == "missing":
        pass
    elif kind == "empty":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "no bytes":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(b"not audio at all" * 500)
    elif kind == "truncated":
        soundfile.write(path, noise(64_000), 16000)
        path.write_bytes(path.read_bytes()[:20_000])
    elif kind == "nan":
        wav = noise(6400)
        wav[3000] = np.nan
        soundfile.write(path, wav, 16000, subtype="FLOAT")
    corpus.add_file(key, path, dur=0.4)
    return key


BAD = {"missing": "no such file", "empty": "no samples", "no bytes": "not readable", "garbage": "not readable",
       "truncated": "not readable|cut short", "nan": "NaN or infinite"}


@pytest.mark.parametrize("kind", BAD)
def test_bad_audio_in_training_is_replaced_and_told(voices, kind):
    spoil(voices, kind)
    options = dataclasses.replace(CROPS, sample_num_per_epoch=24)
    make = lambda workers: train_loader(voices.raw_list(), "raw", options, loading(4, workers))
    skipped = [entry for batch in make(0) for entry in batch.skipped]
    assert 1 <= len(skipped) <= 2 and {key for key, _ in skipped} == {"bad"}
    assert re.search(BAD[kind], skipped[0][1])
    if kind == "nan":
        assert same(items(make(0)), items(make(2)))
    assert all(torch.isfinite(batch.wav).all() and "bad" not in batch.keys for batch in make(0))


@pytest.mark.parametrize("kind", BAD)
def test_bad_audio_in_evaluation_stops_or_is_listed(voices, kind):
    spoil(voices, kind)
    with pytest.raises(InputError, match=f"bad: .*({BAD[kind]}).*--skip_bad"):
        list(eval_loader(voices.raw_list(), "raw", CROPS, loading(4, 1)))
    loader = eval_loader(voices.raw_list(), "raw", CROPS, loading(4), skip_bad=True)
    assert sorted(key for batch in loader for key in batch.keys) == [f"u{i:02d}" for i in range(22)]
    assert [key for key, _ in loader.skipped] == ["bad"]


def test_a_list_of_missing_files_fails_at_once_with_the_first_cause(tmp_path):
    corpus = Corpus(tmp_path)
    for i in range(2000):
        corpus.add_file(f"u{i}", f"/nowhere/u{i}.flac", dur=2.0)
    with pytest.raises(InputError, match=r"10 utterances in a row .*: u\d+: no such file: /nowhere/u") as caught:
        list(train_loader(corpus.raw_list(), "raw", CROPS, loading(4, 2)))
    assert "Traceback" not in str(caught.value)


def test_skip_counter_stops_past_one_per_cent():
    counter = SkipCounter(planned=200)
    counter.add([("a", "NaN"), ("b", "no such file: b.wav")])
    counter.check()
    counter.add([("c", "empty")])
    assert counter.exceeded
    counter.add([("d", "empty")])
    assert counter.told() == "a: NaN; b: no such file: b.wav; c: empty; and 1 more"
    with pytest.raises(InputError, match="4 of 200 .*1%.*a: NaN; b: no such file: b.wav; c: empty"):
        counter.check()


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_evaluation_gives_every_utterance_once_and_whole(voices, data_type):
    voices.add("tiny", noise(37, 99))
    path = voices.raw_list() if data_type == "raw" else voices.shard_list()
    seen = {}
    for rank in range(3):
        loader = eval_loader(path, data_type, CROPS, loading(4, 1 if rank == 0 else 0), {"bonafide": 0, "spoof": 1},
                             rank=rank, world_size=3, max_seconds=1.9)
        for batch in loader:
            assert len(batch) <= 4 and batch.wav.numel() <= 1.9 * 16000
            for key, wav, length, label in zip(batch.keys, batch.wav, batch.lengths, batch.labels):
                assert key not in seen and not wav[length:].any()
                seen[key] = wav[:length].numpy(), int(label)
    assert len(seen) == 23
    for i in range(22):
        wav, label = seen[f"u{i:02d}"]
        assert np.allclose(wav, noise(3200 + 320 * i, i), atol=1 / 32768) and label == (0 if i % 3 else 1)
    assert np.array_equal(seen["tiny"][0], np.resize(seen["tiny"][0][:37], 400))


def test_evaluation_may_hear_a_fixed_length(corpus):
    """The first `eval_frms` frames, repeated where there are fewer; at another rate too."""
    for key, samples, rate in (("short", 1000, 16000), ("long", 9000, 16000), ("slow", 9000, 8000)):
        corpus.add(key, noise(samples), rate=rate)
    options = dataclasses.replace(CROPS, eval_frms=20)
    (batch,) = eval_loader(corpus.raw_list(), "raw", options, loading(4))
    assert batch.lengths.tolist() == [6400] * 3
    rows = dict(zip(batch.keys, batch.wav.numpy()))
    assert np.allclose(rows["short"], np.resize(noise(1000), 6400), atol=1 / 32768)
    assert np.allclose(rows["long"], noise(9000)[:6400], atol=1 / 32768)
    (whole,) = eval_loader(corpus.raw_list(), "raw", CROPS, loading(4))
    assert np.allclose(rows["slow"], whole.wav[whole.keys.index("slow")][:6400], atol=1e-6)


def test_evaluation_may_hear_no_more_than_a_length(corpus):
    corpus.add("long", noise(9000))
    corpus.add("short", noise(1000))
    (batch,) = eval_loader(corpus.raw_list(), "raw", dataclasses.replace(CROPS, eval_max_frms=20), loading(4))
    assert batch.lengths.tolist() == [6400, 1000]
    assert np.allclose(batch.wav[0], noise(9000)[:6400], atol=1 / 32768)
    with pytest.raises(OptionError, match="eval_frms says already that scoring hears 20 frames"):
        dataclasses.replace(CROPS, eval_max_frms=20, eval_frms=20)


def test_whole_utterances_may_be_augmented_before_they_are_cropped(corpus):
    """RawBoost's noise follows the level of what it hears: that of the whole utterance, and not that of the crop."""
    corpus.add("u", np.concatenate([noise(6400, 1, 1e-3), noise(6400, 2, 0.3)]), subtype="FLOAT")
    options = dataclasses.replace(CROPS, random_crop=False, rawboost=True, sample_num_per_epoch=8,
                                  rawboost_args=RawBoostOptions(algo=3, SNRmin=10, SNRmax=10))
    heard = {}
    for whole in (False, True):
        chosen = dataclasses.replace(options, augment_whole=whole, augment_on="device")
        pipeline = Pipeline.from_options(chosen, 16000)
        loader = train_loader(corpus.raw_list(), "raw", chosen, loading(4), pipeline=pipeline)
        heard[whole] = torch.cat([batch.wav for batch in loader])
        assert heard[whole].shape == (8, 6400)
        assert all((batch.later is None) == whole for batch in loader._batches)
    plain = torch.from_numpy(noise(6400, 1, 1e-3))
    levels = {whole: (wav - plain).square().mean(1).sqrt() for whole, wav in heard.items()}
    assert levels[True].min() > 50 * levels[False].max()


def test_evaluation_without_labels_and_durations(corpus):
    for i in range(3):
        corpus.add_file(f"u{i}", corpus.add(f"x{i}", noise(1000 * (i + 1))), label="anything")
    corpus.records = [r for r in corpus.records if r["key"].startswith("u")]
    (batch,) = eval_loader(corpus.raw_list(), "raw", CROPS, loading(4))
    assert batch.keys == ["u2", "u1", "u0"] and batch.labels.tolist() == [-1, -1, -1]


def test_batches_that_are_kept_stay_as_they_were(voices):
    """Workers fill the same buffers again and again; many more batches than buffers, none held only for a moment."""
    options = dataclasses.replace(CROPS, sample_num_per_epoch=120)
    make = lambda workers: train_loader(voices.raw_list(), "raw", options, loading(2, workers, prefetch_factor=1))
    alone, shared = list(make(0)), list(make(2))
    assert len(alone) == 60
    for one, other in zip(alone, shared):
        assert one.keys == other.keys and torch.equal(one.wav, other.wav)


def test_a_batch_longer_than_the_buffers(corpus):
    for i, samples in enumerate((40_000, 3000, 2000)):
        corpus.add(f"u{i}", noise(samples, i))
    first, second = eval_loader(corpus.raw_list(), "raw", CROPS, loading(4, 2), max_seconds=0.5)
    assert first.keys == ["u0"] and np.allclose(first.wav[0], noise(40_000, 0), atol=1 / 32768)
    assert second.keys == ["u1", "u2"]


def test_no_files_are_left_open(voices):
    before = len(os.listdir("/proc/self/fd"))
    batches = list(train_loader(voices.raw_list(), "raw", CROPS, loading(2, 1)))
    assert len(batches) == 11 and len(os.listdir("/proc/self/fd")) - before <= 8  # pipes to the worker
