"""Small corpora that the tests of this folder make."""

import json
from dataclasses import replace

import numpy as np
import soundfile

from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.shards import write_shard


def noise(samples, seed=0, scale=0.1):
    return (np.random.default_rng(seed).standard_normal(samples) * scale).astype(np.float32)


class Corpus:
    """Recordings in a folder and the lists over them, a few lines each."""

    def __init__(self, folder):
        self.folder, self.records = folder, []

    def add(self, key, wav, label="bonafide", rate=16000, suffix="wav", subtype=None):
        path = self.folder / f"{key.replace('/', '_')}.{suffix}"
        soundfile.write(path, wav, rate, subtype=subtype)
        return self.add_file(key, path, label, len(wav) / rate)

    def add_file(self, key, path, label="bonafide", dur=None):
        self.records.append({"key": key, "wav": str(path), "lab": label} | ({"dur": dur} if dur is not None else {}))
        return path

    def raw_list(self):
        path = self.folder / "raw.list"
        path.write_text("".join(json.dumps(record) + "\n" for record in self.records))
        return path

    def shard_list(self, per_shard=5):
        rows = [(r["key"], r["lab"], r["wav"], r.get("dur")) for r in self.records]
        paths = []
        for number, start in enumerate(range(0, len(rows), per_shard)):
            paths.append(self.folder / f"shards_{number:06d}.tar")
            write_shard(paths[-1], rows[start:start + per_shard])
        listed = self.folder / "shard.list"
        listed.write_text("".join(f"{path}\n" for path in paths))
        return listed


CROPS = DatasetOptions(frontend="ssl", num_frms=20)  # 0.4 s


def loading(batch_size=4, workers=0, **options):
    return replace(DataLoaderOptions(batch_size=batch_size, num_workers=workers), **options)
