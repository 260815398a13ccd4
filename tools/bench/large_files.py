"""A corpus in a few large files: time and memory of opening and reading it, by one rank and by two, with and without
workers, from its beginning and from the middle of an epoch; and of laying parquet files with audio inside out as files.

    python tools/bench/large_files.py [--files 4] [--utterances 200000] [--kinds shard foreign parquet]

Recordings are 16-bit WAV of 1 s, 32 kB each. `shard`: tars with the index that stage 2 writes; `foreign`: tars
without; `parquet`: tools/prepare/table.py on them. Seconds of opening are those of the processor. Memory of a rank is
the most that it took, less what Python takes to start; `all` is what ranks and workers hold together, shared pages
counted once. `--keep DIR` leaves the tars there for the next time.
"""

import argparse
import io
import itertools
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import soundfile

from tools.bench.audio import RATE, SEED
from tools.prepare.table import main as read_table_corpus
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.loader import train_loader
from wedefense.data.shards import write_shard

POOL = 500  # different recordings; what comes later repeats them under other names
BATCH = 64
KINDS = ["shard", "foreign", "parquet"]
CROPS = DatasetOptions(frontend="ssl", num_frms=50)


def recordings(count: int) -> list[bytes]:
    rng = np.random.default_rng(SEED)
    made = []
    for _ in range(min(count, POOL)):
        stream = io.BytesIO()
        soundfile.write(stream, 0.1 * rng.standard_normal(RATE), RATE, format="WAV", subtype="PCM_16")
        made.append(stream.getvalue())
    return made


def name_of(number: int) -> tuple[str, str]:
    """Key and label."""
    return f"speaker{number % 500:04d}/utterance_{number:08d}", "spoof" if number % 10 else "bonafide"


def write_tars(folder: Path, pool: list[bytes], files: int, utterances: int) -> Path:
    wavs = []
    for number, content in enumerate(pool):
        wavs.append(folder / f"recording{number}.wav")
        wavs[-1].write_bytes(content)
    paths = [folder / f"part{part}.tar" for part in range(files)]
    for part, path in enumerate(paths):
        write_shard(path, ((*name_of(number), str(wavs[number % len(wavs)]), 1.0)
                           for number in range(part, utterances, files)))
    (folder / "shard.list").write_text("".join(f"{path}\n" for path in paths))
    return folder / "shard.list"


def write_parquet(folder: Path, pool: list[bytes], files: int, utterances: int) -> Path:
    import pyarrow
    from pyarrow import parquet

    for part in range(files):
        numbers = range(part, utterances, files)
        schema = pyarrow.schema([("audio", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
                                 ("label", pyarrow.string()), ("speaker", pyarrow.string())])
        with parquet.ParquetWriter(folder / f"train-{part:05d}-of-{files:05d}.parquet", schema) as writer:
            for start in range(0, len(numbers), 1000):
                rows = [_row(number, pool) for number in numbers[start:start + 1000]]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    return folder


def _row(number: int, pool: list[bytes]) -> dict:
    key, label = name_of(number)
    content = pool[number % len(pool)][:-4] + number.to_bytes(4, "little")  # no two alike
    return {"audio": {"bytes": content, "path": f"{key.replace('/', '_')}.wav"}, "label": label,
            "speaker": key.partition("/")[0]}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def shared_fairly(pid: int | str) -> float:
    """MiB of a process, each page divided by how many hold it (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def read_by_rank(shards: Path, rank: int, ranks: int, workers: int, seconds: float, barrier, sender) -> None:
    """One rank: opens, reads for so long, and then what comes first when one goes on from the middle of the epoch."""
    multiprocessing.set_start_method("fork", force=True)  # of workers, as outside of benches
    before, began = peak(), time.process_time()
    loader = train_loader(shards, "shard", CROPS, DataLoaderOptions(batch_size=BATCH, num_workers=workers), seed=SEED,
                          rank=rank, world_size=ranks)
    opened, there = time.process_time() - began, time.perf_counter()
    batches = iter(loader)
    next(batches)
    first, read = time.perf_counter() - there, 0
    barrier.wait()
    measured = time.perf_counter()
    while time.perf_counter() < measured + seconds and next(batches, None) is not None:
        read += BATCH
    taken = time.perf_counter() - measured
    barrier.wait()
    running = loader._batches._loader._iterator._workers if workers else []
    held = sum(map(shared_fairly, ["self", *(worker.pid for worker in running)]))
    barrier.wait()
    there = time.perf_counter()
    loader.set_epoch(0, loader.steps_per_epoch // 2)
    next(iter(loader))
    sender.send((opened, first, read / taken, peak() - before, held, time.perf_counter() - there))


def read_by_ranks(shards: Path, ranks: int, workers: int, seconds: float) -> str:
    """A line of the table."""
    context = multiprocessing.get_context("spawn")
    barrier, ends = context.Barrier(ranks), [context.Pipe(duplex=False) for _ in range(ranks)]
    processes = [context.Process(target=read_by_rank, args=(shards, rank, ranks, workers, seconds, barrier, sender))
                 for rank, (_, sender) in enumerate(ends)]
    for process in processes:
        process.start()
    for _, sender in ends:
        sender.close()
    found = np.array([receiver.recv() for receiver, _ in ends])
    for process in processes:
        process.join()
    opening, first, rate, most, held, middle = found.T
    return (f"{ranks} x {workers:<11} {opening.max():8.1f} s {first.max():8.1f} s {middle.max():8.1f} s "
            f"{rate.sum():8.0f} {most.max():8.0f} MiB {held.sum():8.0f} MiB")


def prepared(folder: Path, out: Path, utterances: int, sender) -> None:
    before, began = peak(), time.perf_counter()
    read_table_corpus(["--table", str(folder), "--out", str(out), "--num_workers", "1"])
    taken = time.perf_counter() - began
    sender.send(f"parquet to files by table.py: {taken:.0f} s, {utterances / taken:.0f} utterances a second, "
                f"{peak() - before:.0f} MiB")


def prepare(folder: Path, out: Path, utterances: int) -> str:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=prepared, args=(folder, out, utterances, sender))
    process.start()
    sender.close()
    found = receiver.recv()
    process.join()
    return found


def read_tars(folder: Path, kinds: list[str], options: argparse.Namespace, pool: list[bytes]) -> None:
    shards = folder / "shard.list"
    if not shards.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tars(folder, pool, options.files, options.utterances)
    size = sum(path.stat().st_size for path in folder.glob("*.tar")) / 1e9
    for kind in (kind for kind in KINDS[:2] if kind in kinds):
        print(f"{size:.1f} GB {kind}\nranks x workers {'open':>8} {'first batch':>12} {'from middle':>11} {'utt/s':>8} "
              f"{'a rank':>11} {'all':>12}")
        hidden = [path.rename(f"{path}.aside") for path in folder.glob("*.idx")] if kind == "foreign" else []
        for ranks, workers in itertools.product(options.ranks, options.workers):
            print(read_by_ranks(shards, ranks, workers, options.seconds), flush=True)
        for path in hidden:
            path.rename(path.with_suffix(""))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--utterances", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--keep", metavar="DIR", help="where the tars stay (default: they go in the end)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--seconds", type=float, default=10, help="of reading, in each line")
    options = parser.parse_args(argv)
    kinds, pool = options.kinds, recordings(options.utterances)
    print(f"{options.files} files, {options.utterances:,} recordings of 1 s")
    with tempfile.TemporaryDirectory() as temporary:
        if "shard" in kinds or "foreign" in kinds:
            read_tars(Path(options.keep or temporary), kinds, options, pool)
        if "parquet" in kinds:
            folder = write_parquet(Path(temporary), pool, options.files, options.utterances)
            print(prepare(folder, Path(temporary) / "out", options.utterances))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
