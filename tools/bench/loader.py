"""Utterances per second of the training loader with two workers, against plain soundfile reading of the same
crops by two processes. Both are measured in turn, several times, in one run; files come from the page cache.
The second ratio compares the processor time of all their processes (Linux), which other programs disturb less.
`--cache memory` holds the recordings decoded; the warm-up fills it. Where there is a GPU, batches go there, one ahead.

    python tools/bench/loader.py [--audio flac|wav] [--data_type raw|shard] [--cache none|memory] [--utterances 400]
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as every command does: read when torch is imported

import soundfile
import torch

from tools.bench.audio import CROP, RATE, SEED, cpu_seconds, make_corpus, write_list
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.ahead import ahead
from wedefense.data.loader import train_loader
from wedefense.utils.random import generator

WORKERS = 2


def read_plainly(records: list[dict], epochs: int, repeats: int, barrier, seconds) -> None:
    """The same crops as the loader's; their starts are drawn before any clock runs."""
    crops = [[(r["wav"], int(generator(SEED, epoch, r["key"], repeat).integers(round(r["dur"] * RATE) - CROP + 1)))
              for repeat in range(repeats) for r in records] for epoch in range(epochs)]
    barrier.wait()
    for epoch in range(epochs):
        barrier.wait()
        started, cpu = time.perf_counter(), time.process_time()
        for path, start in crops[epoch]:
            with soundfile.SoundFile(path) as sound:
                sound.seek(start)
                assert len(sound.read(CROP, dtype="float32")) == CROP
        seconds.put((time.perf_counter() - started, time.process_time() - cpu))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", choices=["flac", "wav"], default="flac")
    parser.add_argument("--data_type", choices=["raw", "shard"], default="raw")
    parser.add_argument("--cache", choices=["none", "memory"], default="none")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--utterances", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=0, help="crops of each utterance in a round (0: about 2 s)")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.repeats = arguments.repeats or (2 if arguments.audio == "flac" else 10)
    with tempfile.TemporaryDirectory() as folder:
        records = make_corpus(Path(folder), arguments.utterances, arguments.audio)
        listed = write_list(Path(folder), records, arguments.data_type)
        rounds = compare(records, listed, arguments)
    plain, ours, by_time, by_cpu = (statistics.median(column) for column in zip(
        *((p[0], o[0], o[0] / p[0], p[1] / o[1]) for p, o in rounds)))
    print(f"{arguments.audio}, {arguments.data_type}, cache {arguments.cache}, to {arguments.device}: "
          f"plain soundfile {plain:.0f} utt/s, loader {ours:.0f} utt/s, ratio {by_time:.2f}, "
          f"by processor time {by_cpu:.2f} (medians of {arguments.rounds} rounds; target 0.85)")


def compare(records, listed, arguments) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """For each round after a warm-up, (utterances per second, processor seconds) of plain reading and of the loader."""
    count, device = len(records) * arguments.repeats, torch.device(arguments.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    options = DatasetOptions(frontend="ssl", num_frms=150, sample_num_per_epoch=count, cache=arguments.cache)
    loader = train_loader(listed, arguments.data_type, options,
                          DataLoaderOptions(batch_size=arguments.batch_size, num_workers=WORKERS), seed=SEED)
    barrier, seconds = multiprocessing.Barrier(WORKERS + 1), multiprocessing.Queue()
    readers = [multiprocessing.Process(
        target=read_plainly, daemon=True,
        args=(records[i::WORKERS], arguments.rounds + 1, arguments.repeats, barrier, seconds))
        for i in range(WORKERS)]
    for reader in readers:
        reader.start()
    barrier.wait()
    rounds = []
    for epoch in range(arguments.rounds + 1):
        loader.set_epoch(epoch)
        started, cpu = time.perf_counter(), cpu_seconds()
        read = sum(len(batch) for batch in ahead(loader, device))
        wait()
        ours = read / (time.perf_counter() - started), cpu_seconds() - cpu
        barrier.wait()
        times = [seconds.get() for _ in readers]
        rounds.append(((count / max(t for t, _ in times), sum(c for _, c in times)), ours))
    return rounds[1:]


if __name__ == "__main__":
    main()
