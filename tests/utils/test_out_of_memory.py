"""A GPU whose memory does not suffice, played by functions that say so."""

import pytest
import torch

from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger, warn_once
from wedefense.utils.out_of_memory import in_halves, lacking

FULL = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is "
    "free. Including non-PyTorch memory, this process has 77.90 GiB memory in use.")
WAV, LENGTHS, KEYS = torch.arange(20.0).view(5, 4), torch.tensor([4, 3, 2, 4, 1]), list("abcde")


def run_up_to(batch: int, seen: list):
    def run(wav, lengths):
        seen.append(tuple(wav.shape))
        if len(wav) > batch:
            raise FULL
        return torch.stack([row[:length].sum() for row, length in zip(wav, lengths)])[:, None]

    return run


@pytest.mark.parametrize("batch, shapes", [
    (5, [(5, 4)]), (3, [(5, 4), (3, 4), (2, 4)]),
    (1, [(5, 4), (3, 4), (2, 4), (1, 4), (1, 3), (1, 2), (2, 4), (1, 4), (1, 1)])])
def test_a_batch_is_halved_until_it_fits(batch, shapes, monkeypatch):
    warnings, seen = [], []
    warn_once.cache_clear()
    monkeypatch.setattr(get_logger(), "warning", lambda *message: warnings.append(message))
    found = in_halves(run_up_to(batch, seen), WAV, LENGTHS, KEYS, 2)
    assert found.flatten().tolist() == [6, 15, 17, 54, 16]
    assert sorted(seen) == sorted(shapes) and len(warnings) == (batch < 5)


def test_what_cannot_be_halved_is_named():
    with pytest.raises(InputError,
                       match=r"a: 2.0 s of audio do not fit .*\(2.50 GiB more were asked for, 1.20 GiB are free\)"):
        in_halves(run_up_to(0, []), WAV, LENGTHS, KEYS, 2)
    with pytest.raises(InputError, match=r"on 5 utterances x 2.0 s .*dataloader_args.batch_size"):
        in_halves(run_up_to(4, []), WAV, LENGTHS, KEYS, 2, whole=True)
    with pytest.raises(ZeroDivisionError):
        in_halves(lambda wav, lengths: 1 / 0, WAV, LENGTHS, KEYS, 2)
    assert lacking(torch.OutOfMemoryError("HIP is full\nmore")) == "HIP is full"
