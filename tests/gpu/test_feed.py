"""Batches reach a GPU as they left the loader, however late the GPU looks at them, their last filter done there."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from tests.corpus import RATE, make_list
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.ahead import ahead
from wedefense.data.augment.pipeline import Pipeline
from wedefense.data.loader import eval_loader, train_loader

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

DATA = DatasetOptions(frontend="ssl", num_frms=20, sample_num_per_epoch=160)


def loading(workers, **options):
    return DataLoaderOptions(batch_size=4, num_workers=workers, prefetch_factor=1, **options)


@pytest.mark.parametrize("workers, pin_memory", [(0, True), (1, True), (2, True), (2, False)])
def test_batches_of_a_busy_gpu_are_those_of_the_loader(tmp_path, workers, pin_memory):
    listed, device = make_list(tmp_path), torch.device("cuda", 0)
    loader = train_loader(listed, "raw", DATA, loading(workers, pin_memory=pin_memory))
    seen = []
    for batch in ahead(loader, device):
        torch.cuda._sleep(3_000_000)   # the device falls behind the host, which gives the batch up meanwhile
        seen.append(batch.wav + 0)
        assert batch.lengths.device.type == "cpu"
    assert loader._batches._ring._locked == (workers > 0 and pin_memory)
    plain = list(train_loader(listed, "raw", DATA, loading(0)))
    assert all(torch.equal(one.wav, other.cpu()) for one, other in zip(plain, seen, strict=True))


def test_evaluation_locks_and_unlocks_its_memory_time_and_again(tmp_path):
    listed, device = make_list(tmp_path), torch.device("cuda", 0)
    plain = list(eval_loader(listed, "raw", DATA, loading(0)))
    loader = eval_loader(listed, "raw", DATA, loading(2))
    for _ in range(3):
        seen = [batch.wav.cpu() for batch in ahead(loader, device)]
        assert all(torch.equal(one.wav, other) for one, other in zip(plain, seen, strict=True))
    torch.zeros(1, device=device).item()   # no error was left behind


FILTERS = ({"type": "one_of", "prob": 0.9, "steps": [{"type": "reverb"}, {"type": "low_pass"}] + [
    {"type": "rawboost", "algo": algo} for algo in (1, 3, 5)]}, {"type": "telephone", "prob": 0.2})


@pytest.mark.parametrize("workers", [0, 2])
def test_the_last_filter_is_done_on_the_gpu_and_nothing_waits(tmp_path, workers):
    (tmp_path / "rooms").mkdir()
    for number, samples in enumerate((900, 20000)):
        wav = np.random.default_rng(number).standard_normal(samples) * np.exp(-np.arange(samples) / 200)
        soundfile.write(tmp_path / "rooms" / f"{number}.wav", 0.2 * wav, RATE)
    listed, device = make_list(tmp_path), torch.device("cuda", 0)

    def make(augment_on, workers):
        options = replace(DATA, augment=FILTERS, augment_on=augment_on)
        pipeline = Pipeline.from_options(options, RATE, reverb_data=str(tmp_path / "rooms"), device="cuda")
        return train_loader(listed, "raw", options, loading(workers), pipeline=pipeline)

    loader, plain = make("auto", workers), make("cpu", 0)
    for epoch in range(2):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        seen = []
        torch.cuda.set_sync_debug_mode("error" if epoch else "default")  # the first plans its transforms
        try:
            for batch in ahead(loader, device):
                torch.cuda._sleep(3_000_000)
                seen.append(batch.wav + 0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for one, other in zip(plain, seen, strict=True):
            difference = (one.wav - other.cpu()).abs().amax(1)
            assert (difference <= 1e-5 * one.wav.abs().amax(1)).all()
