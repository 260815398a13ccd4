"""Time and memory of opening long lists: raw.list, its table of labels, the order of an epoch, with and without levels.

    python tools/bench/lists.py [--lines 1000000] [--ranks 1]

Each measurement is of a process of its own, of so many at once as there are ranks; memory is the most that one took,
less what Python takes to start.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from wedefense.config.sampling import parse_levels
from wedefense.data.drawing import Drawing, read_column
from wedefense.data.loader import labelled_source
from wedefense.data.sampler import TrainSampler

LEVELS = ({"column": "corpus", "weights": {"a": 3.0, "b": 1.0}}, {"column": "label"})


def write(folder: Path, lines: int) -> Path:
    """raw.list, utt2lab and utt2corpus of so many utterances, with paths as long as usual."""
    with open(folder / "raw.list", "w") as raw, open(folder / "utt2lab", "w") as labels, \
            open(folder / "utt2corpus", "w") as corpora:
        for number in range(lines):
            key, label = f"speaker{number % 5000:04d}/utterance_{number:08d}", "spoof" if number % 10 else "bonafide"
            record = {"key": key, "wav": f"/data/corpora/some_corpus/flac/{key}.flac", "lab": label, "dur": 3.25}
            raw.write(json.dumps(record) + "\n")
            labels.write(f"{key} {label}\n")
            corpora.write(f"{key} {'b' if number % 4 == 0 else 'a'}\n")
    return folder / "raw.list"


def opened(path: Path, *_):
    return labelled_source(path, "raw", None)


def relabelled(path: Path, *_):
    return labelled_source(path, "raw", path.parent / "utt2lab")


def epoch(path: Path, rank: int, ranks: int, levels=()):
    """The first batch of an epoch."""
    source = relabelled(path)
    places = np.arange(len(source))
    parsed = parse_levels(levels)
    drawing = Drawing([read_column(level.column, source.entries, places) for level in parsed], parsed, 0)\
        if levels else None
    return next(iter(TrainSampler(places, len(places), 64, rank=rank, world_size=ranks, drawing=drawing)))


def mixture(path: Path, rank: int, ranks: int):
    return epoch(path, rank, ranks, LEVELS)


def nothing(*_):
    return None


def measured(task: Callable, path: Path, ranks: int) -> tuple[float, float]:
    """(seconds, MiB) of processes that do nothing else, the most of any rank."""
    context, receivers, processes = multiprocessing.get_context("spawn"), [], []
    for rank in range(ranks):
        receiver, sender = context.Pipe(duplex=False)
        processes.append(context.Process(target=_measure, args=(task, path, rank, ranks, sender)))
        processes[-1].start()
        sender.close()
        receivers.append(receiver)
    seconds, mib = zip(*(receiver.recv() for receiver in receivers))
    for process in processes:
        process.join()
    return max(seconds), max(mib)


def _measure(task: Callable, path: Path, rank: int, ranks: int, sender) -> None:
    started = time.process_time()
    task(path, rank, ranks)
    scale = 1 if sys.platform == "darwin" else 1024
    sender.send((time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        path = write(Path(temporary), options.lines)
        size = path.stat().st_size / 2**20
        _, start = measured(nothing, path, options.ranks)
        print(f"{options.lines:,} lines, a raw.list of {size:.0f} MiB; processor seconds and memory of each rank of "
              f"{options.ranks}")
        for name, task in (("raw.list", opened), ("with utt2lab", relabelled), ("first batch of an epoch", epoch),
                           ("the same, drawn by two levels", mixture)):
            seconds, mib = measured(task, path, options.ranks)
            print(f"{name:<30} {seconds:7.1f} s {mib - start:8.0f} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
