"""Cost of augmentation, everything in one run: RawBoost against numpy and scipy written straight from its
formulas (one thread each, in turn), what a worker computes for each step where it does all (augment_on: cpu) and where
it leaves the last filter to the device, and the training loader's throughput with each step on two workers.

    python tools/bench/augment.py [--rounds 15] [--utterances 300] [--steps rawboost noise ...]

Ends with 1 where an algorithm of RawBoost takes more than half of the plain program's time.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from tools.bench.audio import CROP, RATE, SEED, make_corpus, make_recordings, write_list
from tools.bench.published_rawboost import rawboost as plain_rawboost
from wedefense.config.augment import RawBoostOptions, Setting
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.augment.codecs import available
from wedefense.data.augment.later import pack
from wedefense.data.augment.pipeline import Pipeline
from wedefense.data.augment.rawboost import RawBoost
from wedefense.data.loader import train_loader

TARGET, WORKERS = 0.5, 2
STEPS = {"nothing": {}, "speed": {"speed_perturb": True},
         **{f"rawboost {algo}": {"rawboost": True, "rawboost_args": {"algo": algo}} for algo in (3, 4, 5)},
         **{name: {"augment": ({"type": name},)} for name in ("noise", "reverb", "telephone", "low_pass")},
         **{f"codec {name}": {"codec_aug": True, "codec_aug_args": {"codecs": (name,)}}
            for name, lack in available().items() if lack is None}}


def timed(function) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def compare_rawboost(rounds: int) -> bool:
    """Prints a row for each algorithm; true where all reach the target."""
    wav = (np.random.default_rng(0).standard_normal(CROP) * 0.1).astype(np.float32)
    print(f"RawBoost on {CROP / RATE:g} s, median of {rounds} rounds, ms\nalgorithm   plain    ours   ratio")
    reached = True
    for algo in range(1, 9):
        options = RawBoostOptions(algo=algo)
        step, rng = RawBoost(options, Setting(RATE)), np.random.default_rng(0)
        pairs = [(timed(lambda: plain_rawboost(wav, options, RATE, rng)), timed(lambda: step(wav, rng)))
                 for _ in range(rounds + 1)][1:]
        plain, ours = (1000 * statistics.median(times) for times in zip(*pairs))
        ratio = statistics.median(o / p for p, o in pairs)
        reached &= ratio <= TARGET
        print(f"{algo:9} {plain:7.2f} {ours:7.2f} {ratio:7.2f}")
    return reached


def compare_places(names: list[str], rounds: int, batch: int = 16) -> None:
    """Processor time of the augmentation of a crop, reading left out; both places in turn."""
    wavs = (np.random.default_rng(0).standard_normal((batch, CROP)) * 0.1).astype(np.float32)
    rows, ring = np.empty_like(wavs), torch.empty(3 * batch * CROP)

    def work(pipeline: Pipeline, seed: int, on_device: bool) -> float:
        rng, endings, started = np.random.default_rng(seed), [], time.process_time()
        for row, wav in zip(rows, wavs):
            row[:], ending = pipeline.begin(wav, rng) if on_device else (pipeline(wav, rng), None)
            endings.append(ending)
        pack(endings, CROP, lambda floats: ring[:floats])
        return 1000 * (time.process_time() - started) / batch

    with tempfile.TemporaryDirectory() as folder:
        data = make_recordings(Path(folder))
        print(f"\nprocessor time of a worker for {CROP / RATE:g} s, median of {rounds} rounds, ms\n"
              f"{'step':16} augment_on: cpu  device")
        for name in names:
            pipeline = Pipeline.from_options(DatasetOptions(**STEPS[name]), RATE, **data)
            if pipeline is not None and pipeline.steps:
                pairs = [[work(pipeline, seed, place) for place in (False, True)] for seed in range(rounds + 1)][1:]
                print(f"{name:16} {statistics.median(p for p, _ in pairs):15.2f} "
                      f"{statistics.median(p for _, p in pairs):7.2f}", flush=True)


def loader_throughput(names: list[str], utterances: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = make_corpus(Path(folder), utterances, "flac")
        listed = write_list(Path(folder), records, "raw")
        data = make_recordings(Path(folder))
        print(f"\ntraining loader, {WORKERS} workers, crops of {CROP / RATE:g} s of flac\n"
              f"{'step':16} utt/s  audio h/s  ms of a worker")
        for name in names:
            options = DatasetOptions(frontend="ssl", num_frms=150, **STEPS[name])
            loader = train_loader(listed, "raw", options, DataLoaderOptions(batch_size=16, num_workers=WORKERS),
                                  seed=SEED, pipeline=Pipeline.from_options(options, RATE, **data))
            seconds = [timed(lambda: sum(len(batch) for batch in loader)) for _ in range(2)][1]  # workers are warm
            rate = loader.steps_per_epoch * 16 / seconds
            print(f"{name:16} {rate:5.0f} {rate * CROP / RATE / 3600:10.3f} {1000 * WORKERS / rate:15.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--utterances", type=int, default=320)
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=list(STEPS), metavar="STEP")
    arguments = parser.parse_args()
    reached = compare_rawboost(arguments.rounds)
    compare_places(arguments.steps, arguments.rounds)
    loader_throughput(arguments.steps, arguments.utterances)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
