"""Augmentation inside the loader: the same sound whoever makes it, none of it in evaluation."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.augment.pipeline import Pipeline
from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.shards import write_shard

RATE = 16000
STEPS = ({"type": "rawboost", "prob": 0.7, "algo": 4}, {"type": "telephone", "prob": 0.3},
         {"type": "codec", "prob": 0.5})
OPTIONS = DatasetOptions(frontend="ssl", num_frms=20, speed_perturb=True, aug_prob=0.8, augment=STEPS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """24 utterances as a raw.list and a shard.list, noises in a tar and a folder of rooms."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)

    def add(name, samples):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(samples), RATE)
        return str(path)

    rows = [(f"u{i}", "ab"[i % 2], add(f"u{i}.wav", 5000 + 300 * i), (5000 + 300 * i) / RATE) for i in range(24)]
    (folder / "raw.list").write_text("".join(
        json.dumps({"key": key, "lab": lab, "wav": wav, "dur": dur}) + "\n" for key, lab, wav, dur in rows))
    for number in range(3):
        write_shard(folder / f"{number}.tar", rows[8 * number:8 * number + 8])
    (folder / "shard.list").write_text("".join(f"{folder / str(n)}.tar\n" for n in range(3)))
    write_shard(folder / "noises.tar", [(f"noise-{i}", "noise", add(f"noise-{i}.wav", 9000), None) for i in range(3)])
    for i in range(2):
        add(f"rooms/room-{i}.wav", 800)
    return folder


def sounds(corpus, data_type="raw", epoch=3, workers=0, ranks=1):
    """key -> samples of one epoch, over all ranks."""
    pipeline = Pipeline.from_options(OPTIONS, RATE, str(corpus / "rooms"), str(corpus / "noises.tar"))
    found = {}
    for rank in range(ranks):
        loader = train_loader(corpus / f"{data_type}.list", data_type, OPTIONS,
                              DataLoaderOptions(batch_size=4, num_workers=workers), seed=7, rank=rank,
                              world_size=ranks, pipeline=pipeline)
        loader.set_epoch(epoch)
        for batch in loader:
            for key, wav in zip(batch.keys, batch.wav.numpy()):
                assert key not in found
                found[key] = wav.copy()
    return found


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_any_workers_and_ranks_hear_the_same(corpus):
    alone = sounds(corpus)
    assert len(alone) == 24
    for data_type, workers, ranks in (("raw", 1, 1), ("raw", 2, 1), ("raw", 4, 1), ("raw", 0, 2), ("raw", 2, 2),
                                      ("shard", 2, 1)):
        again = sounds(corpus, data_type, workers=workers, ranks=ranks)
        assert again.keys() == alone.keys()
        assert all(np.array_equal(again[key], alone[key]) for key in alone), (data_type, workers, ranks)
    other = sounds(corpus, epoch=4)
    assert not any(np.array_equal(other[key], alone[key]) for key in alone)


def test_evaluation_hears_what_was_recorded(corpus):
    heard = []
    for batch in eval_loader(corpus / "raw.list", "raw", OPTIONS, DataLoaderOptions(batch_size=4, num_workers=0)):
        for key, wav, length in zip(batch.keys, batch.wav.numpy(), batch.lengths):
            recorded = soundfile.read(corpus / f"{key}.wav", dtype="float32")[0]
            assert np.allclose(wav[:length], recorded, atol=1 / 32768)
            heard.append(key)
    assert sorted(heard) == sorted(json.loads(line)["key"] for line in open(corpus / "raw.list"))


def test_a_tone_ends_where_the_speed_puts_it(tmp_path):
    """1 kHz becomes 900 and 1100 Hz, and the utterance longer and shorter."""
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE), RATE)
    (tmp_path / "raw.list").write_text(json.dumps({"key": "tone", "wav": str(tmp_path / "tone.wav"),
                                                   "lab": "a"}) + "\n")
    options = DatasetOptions(frontend="ssl", whole_utt=True, speed_perturb=True, sample_num_per_epoch=24)
    loader = train_loader(tmp_path / "raw.list", "raw", options, DataLoaderOptions(batch_size=24, num_workers=0),
                          pipeline=Pipeline.from_options(options, RATE))
    (batch,) = loader
    heard = set()
    for wav, length in zip(batch.wav.numpy(), batch.lengths.tolist()):
        spectrum = np.abs(np.fft.rfft(wav[:length] * np.hanning(length), 4 * RATE))
        heard.add((length, spectrum.argmax() / 4))
    assert heard == {(32000, 1000), (35556, 900), (29091, 1100)}


def test_cropped_at_any_speed(corpus):
    options = dataclasses.replace(OPTIONS, aug_prob=0.0, augment=())
    loader = train_loader(corpus / "raw.list", "raw", options, DataLoaderOptions(batch_size=4, num_workers=0),
                          pipeline=Pipeline.from_options(options, RATE))
    assert {wav.shape for batch in loader for wav in batch.wav} == {(6400,)}
