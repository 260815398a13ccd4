"""Stage 2: from a checked set to `raw.list`, or to tar shards and their `shard.list`."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from wedefense.data.manifest import Manifest, Recording
from wedefense.data.shards import write_shard
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.parallel_map import parallel_map

_SHARD_NAME = re.compile(r"shards_\d{6}\.tar(\.idx)?")


def list_path(data_dir: str | os.PathLike, data_type: str) -> Path:
    return Path(data_dir) / f"{data_type}.list"


@contextlib.contextmanager
def _explain_write_errors(path):
    """A full disk or a missing permission, in words."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); nothing of it was kept. "
                         f"Mend the cause and run this stage again") from None


def write_raw_list(manifest: Manifest, path: str | os.PathLike) -> None:
    with _explain_write_errors(path), atomic_write(path, "w") as stream:
        for recording in manifest.recordings:
            record = {"key": recording.key, "wav": os.path.abspath(recording.wav), "lab": recording.label,
                      "dur": round(recording.info.seconds, 6)}
            record |= {"spans": recording.spans} if recording.spans else {}
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_shards(manifest: Manifest, path: str | os.PathLike, num_utts_per_shard: int, num_workers: int) -> list[Path]:
    """Write the shards into a folder `shards` beside the list `path`, then the list; returns the shards.

    Utterances go to shards in a fixed random order, so that each shard holds a mixture of the classes.
    """
    path = Path(path)
    folder = path.parent / "shards"
    mixed = sorted(manifest.recordings, key=lambda r: hashlib.blake2b(r.key.encode(), digest_size=8).digest())
    starts = range(0, len(mixed), num_utts_per_shard)
    jobs = [(str(folder / f"shards_{number:06d}.tar"), mixed[start:start + num_utts_per_shard])
            for number, start in enumerate(starts)]
    path.unlink(missing_ok=True)  # from here on, until the new list is written, old and new shards lie mixed
    parallel_map(_write_shard, jobs, num_workers, f"writing {folder}", "shard")
    names = [name for name, _ in jobs]
    with _explain_write_errors(path), atomic_write(path, "w") as stream:
        stream.writelines(f"{os.path.abspath(name)}\n" for name in names)
    for old in folder.iterdir():
        if _SHARD_NAME.fullmatch(old.name) and str(old).removesuffix(".idx") not in names:
            old.unlink()
    return list(map(Path, names))


def _write_shard(job: tuple[str, Sequence[Recording]]) -> int:
    path, recordings = job
    with _explain_write_errors(path):
        return write_shard(path, [(r.key, r.label, r.wav, round(r.info.seconds, 6)) for r in recordings],
                           {r.key: r.spans for r in recordings if r.spans})
