"""Batches reach a GPU as they left the loader, however late the GPU looks at them."""

import pytest
import torch

from tests.corpus import make_list
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.ahead import ahead
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
