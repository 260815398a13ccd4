"""How fast audio arrives: utterances a second from the training loader, and what a crop costs its workers."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tools.bench.timing import wait_for
from tools.gpu.outside import need
from tools.gpu.sections import Check

OPTIONS = {  # name -> what is set beside the default, on files of this kind
    "flac": ("flac", {}), "wav": ("wav", {}), "noise": ("flac", {"augment": ({"type": "noise"},)}),
    "reverb": ("flac", {"augment": ({"type": "reverb"},)}), "speed": ("flac", {"speed_perturb": True}),
    "rawboost": ("flac", {"rawboost": True, "rawboost_args": {"algo": 5}})}


def loader(check: Check, emit: Callable) -> None:
    """Crops of 3 s of files that are made here; every batch goes to the device, as in training."""
    need("soundfile")
    from tools.bench.audio import make_corpus, make_recordings, write_list

    count, batch = (24, 4) if check.tiny else (512, 128)
    with tempfile.TemporaryDirectory() as temporary:
        folder, lists = Path(temporary), {}
        for kind in ("flac", "wav"):
            (folder / kind).mkdir()
            lists[kind] = write_list(folder / kind, make_corpus(folder / kind, count, kind), "raw")
        recordings = make_recordings(folder)
        for name, (kind, options) in OPTIONS.items():
            emit("loader", what=name, workers=check.workers,
                 **rate(lists[kind], options, recordings, batch, check.workers, torch.device(check.device)))


def rate(listed: Path, options: dict, recordings: dict, batch_size: int, workers: int, device: torch.device) -> dict:
    from tools.bench.audio import RATE, SEED, cpu_seconds
    from wedefense.config.data import DataLoaderOptions, DatasetOptions
    from wedefense.data.ahead import ahead
    from wedefense.data.augment.pipeline import Pipeline
    from wedefense.data.loader import train_loader

    data = DatasetOptions(frontend="ssl", num_frms=150, sample_num_per_epoch=batch_size * workers * 4, **options)
    reader = train_loader(listed, "raw", data, DataLoaderOptions(batch_size, workers, device.type == "cuda"), seed=SEED,
                          pipeline=Pipeline.from_options(data, RATE, device=device.type, **recordings))
    for epoch in range(2):  # in the first the workers start and the files come into memory
        reader.set_epoch(epoch)
        started, cpu, read = time.perf_counter(), cpu_seconds(), 0
        for batch in ahead(reader, device):
            read += len(batch)
        wait_for(device)
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    return {"utterances_s": round(read / seconds), "cpu_ms_a_crop": round(1e3 * cpu / read, 3)}
