"""Audio that the benches of loading and training make on the spot, and the processor time of a family of processes."""

import json
import os
import time
from pathlib import Path

import numpy as np
import soundfile

from wedefense.data.shards import write_shard

SEED, RATE, CROP = 1, 16_000, 48_000


def make_corpus(folder: Path, count: int, suffix: str) -> list[dict]:
    rng = np.random.default_rng(0)
    records = []
    for i in range(count):
        samples = int(rng.integers(3 * RATE, 8 * RATE))
        wav = np.convolve(rng.standard_normal(samples) * 0.1, np.hanning(12) / 6, "same")
        path = folder / f"u{i}.{suffix}"
        soundfile.write(path, wav, RATE)
        records.append({"key": f"u{i}", "wav": str(path), "lab": "ab"[i % 2], "dur": samples / RATE})
    return records


def write_list(folder: Path, records: list[dict], data_type: str) -> Path:
    path = folder / f"{data_type}.list"
    if data_type == "raw":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        write_shard(folder / "shard.tar", [(r["key"], r["lab"], r["wav"], r["dur"]) for r in records])
        path.write_text(f"{folder / 'shard.tar'}\n")
    return path


def make_recordings(folder: Path) -> dict[str, str]:
    """`noise_data` and `reverb_data` as large as those of MUSAN and simulated rooms are on average."""
    rng = np.random.default_rng(1)
    for name, samples in (("musan/noise", 20 * RATE), ("rirs/room", RATE)):
        (folder / name).parent.mkdir()
        for i in range(20):
            decay = np.exp(-np.arange(samples) / 1600) if name == "rirs/room" else 1
            soundfile.write(folder / f"{name}-{i}.wav", 0.1 * rng.standard_normal(samples) * decay, RATE)
    return {"noise_data": str(folder / "musan"), "reverb_data": str(folder / "rirs")}


def cpu_seconds() -> float:
    """Processor time so far of this process and of its living children."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(time.clock_gettime(~int(pid) << 3 | 2) for pid in (os.getpid(), *pids))  # as clock_getcpuclockid(3) does
