"""A corpus in a few large files: time and memory of opening and reading it, by one rank and by two, with and without
workers, from its beginning and from the middle of an epoch.

    python tools/bench/large_files.py [--files 4] [--utterances 200000] [--kinds shard foreign parquet]

Recordings are 16-bit WAV of 1 s, 32 kB each (`--length`). `shard`: tars with the index that stage 2 writes;
`foreign`: tars without; `parquet`: parquet files of row groups of `--group` rows with the audio inside, from
tools/prepare/table.py (once, and once more with nothing to write) and stage 2 to reading. Seconds of opening are those
of the processor. Memory of a rank is the most that it took, less what Python takes to start; `all` is what ranks and
workers hold together, shared pages counted once. `--keep DIR` leaves the tars there for the next time.
"""

import argparse
import io
import itertools
import multiprocessing
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
from wedefense.bin.make_list import main as make_list
from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.loader import train_loader
from wedefense.data.shards import write_shard

POOL = 500  # different recordings; what comes later repeats them under other names
BATCH = 64
KINDS = ["shard", "foreign", "parquet"]
CROPS = DatasetOptions(frontend="ssl", num_frms=50)


def recordings(count: int, seconds: float) -> list[bytes]:
    rng = np.random.default_rng(SEED)
    made = []
    for _ in range(min(count, POOL)):
        stream = io.BytesIO()
        soundfile.write(stream, 0.1 * rng.standard_normal(round(seconds * RATE)), RATE, format="WAV", subtype="PCM_16")
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


def write_parquet(folder: Path, pool: list[bytes], files: int, utterances: int, group: int) -> Path:
    import pyarrow
    from pyarrow import parquet

    for part in range(files):
        numbers = range(part, utterances, files)
        schema = pyarrow.schema([("audio", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
                                 ("label", pyarrow.string()), ("speaker", pyarrow.string())])
        with parquet.ParquetWriter(folder / f"train-{part:05d}-of-{files:05d}.parquet", schema) as writer:
            for start in range(0, len(numbers), group):
                rows = [_row(number, pool) for number in numbers[start:start + group]]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema), row_group_size=group)
    return folder


def _row(number: int, pool: list[bytes]) -> dict:
    key, label = name_of(number)
    content = pool[number % len(pool)][:-4] + number.to_bytes(4, "little")  # no two alike
    return {"audio": {"bytes": content, "path": f"{key.replace('/', '_')}.wav"}, "label": label,
            "speaker": key.partition("/")[0]}


def peak() -> float:
    """MiB (Linux; the counter of `getrusage` begins with what the process that started this one had)."""
    return _kib("/proc/self/status", "VmHWM:") / 1024


def shared_fairly(pid: int | str) -> float:
    """MiB of a process, each page divided by how many hold it (Linux)."""
    return _kib(f"/proc/{pid}/smaps_rollup", "Pss:") / 1024


def _kib(path: str, name: str) -> int:
    return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(name))


def read_by_rank(listed: Path, rank: int, ranks: int, workers: int, seconds: float, barrier, sender) -> None:
    """One rank: opens, reads for so long, and then what comes first when one goes on from the middle of the epoch."""
    multiprocessing.set_start_method("fork", force=True)  # of workers, as outside of benches
    before, began = peak(), time.process_time()
    loader = train_loader(listed, listed.stem, CROPS, DataLoaderOptions(batch_size=BATCH, num_workers=workers),
                          seed=SEED, rank=rank, world_size=ranks)
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


def read_by_ranks(listed: Path, ranks: int, workers: int, seconds: float) -> str:
    """A line of the table."""
    context = multiprocessing.get_context("spawn")
    barrier, ends = context.Barrier(ranks), [context.Pipe(duplex=False) for _ in range(ranks)]
    processes = [context.Process(target=read_by_rank, args=(listed, rank, ranks, workers, seconds, barrier, sender))
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


def measured(what: str, utterances: int, main, arguments: list[str]) -> None:
    """Time and memory of a command, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(main, arguments, sender))
    process.start()
    sender.close()
    taken, busy, memory = receiver.recv()
    process.join()
    print(f"{what}: {taken:.0f} s ({busy:.0f} s of the processor), {utterances / taken:.0f} utterances a second, "
          f"{memory:.0f} MiB", flush=True)


def _measured(main, arguments: list[str], sender) -> None:
    before, began, busy = peak(), time.perf_counter(), time.process_time()
    main(arguments)
    sender.send((time.perf_counter() - began, time.process_time() - busy, peak() - before))


def read_parquet(folder: Path, options: argparse.Namespace, pool: list[bytes]) -> None:
    corpus, data = folder / "corpus", folder / "data"
    corpus.mkdir()
    write_parquet(corpus, pool, options.files, options.utterances, options.group)
    table = ["--table", str(corpus), "--out", str(data), "--num_workers", "1"]
    measured("parquet packed by table.py", options.utterances, read_table_corpus, table)
    measured("again, packed already", options.utterances, read_table_corpus, table)
    measured("raw.list by stage 2", options.utterances, make_list,
             ["--data_dir", str(data / "train"), "--num_workers", "1"])
    read(data / "train/raw.list", f"parquet by {options.group} rows", options)


def read_tars(folder: Path, kinds: list[str], options: argparse.Namespace, pool: list[bytes]) -> None:
    shards = folder / "shard.list"
    if not shards.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tars(folder, pool, options.files, options.utterances)
    size = sum(path.stat().st_size for path in folder.glob("*.tar")) / 1e9
    for kind in (kind for kind in KINDS[:2] if kind in kinds):
        hidden = [path.rename(f"{path}.aside") for path in folder.glob("*.idx")] if kind == "foreign" else []
        read(shards, f"{size:.1f} GB {kind}", options)
        for path in hidden:
            path.rename(path.with_suffix(""))


def read(listed: Path, title: str, options: argparse.Namespace) -> None:
    print(f"{title}\nranks x workers {'open':>8} {'first batch':>12} {'from middle':>11} {'utt/s':>8} "
          f"{'a rank':>11} {'all':>12}")
    for ranks, workers in itertools.product(options.ranks, options.workers):
        print(read_by_ranks(listed, ranks, workers, options.seconds), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--utterances", type=int, default=200_000)
    parser.add_argument("--length", type=float, default=1, help="seconds of a recording")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--group", type=int, default=1000, help="rows of a row group of parquet files")
    parser.add_argument("--keep", metavar="DIR", help="where the tars stay (default: they go in the end)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--seconds", type=float, default=10, help="of reading, in each line")
    options = parser.parse_args(argv)
    kinds, pool = options.kinds, recordings(options.utterances, options.length)
    print(f"{options.files} files, {options.utterances:,} recordings of {options.length:g} s")
    with tempfile.TemporaryDirectory() as temporary:
        if "shard" in kinds or "foreign" in kinds:
            read_tars(Path(options.keep or temporary), kinds, options, pool)
        if "parquet" in kinds:
            read_parquet(Path(temporary), options, pool)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
