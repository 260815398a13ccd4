"""Check a data folder and list it for the loaders: raw.list, or tar shards and shard.list."""

import argparse
import time
from pathlib import Path

from wedefense.utils.parallel_map import default_workers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense make_list", description=__doc__)
    parser.add_argument("--data_dir", required=True, help="a folder with wav.scp and utt2lab")
    parser.add_argument("--data_type", choices=["raw", "shard"], default="raw")
    parser.add_argument("--num_utts_per_shard", type=_positive, default=1000)
    parser.add_argument("--num_workers", type=_positive, default=default_workers())
    parser.add_argument("--allow_problems", action="store_true",
                        help="leave unusable utterances out (problems.txt lists them) instead of stopping")
    parser.add_argument("--force", action="store_true", help="make the list again even if it is newer than the tables")
    arguments = parser.parse_args(argv)

    from wedefense.data.lists import list_path, up_to_date, write_raw_list, write_shards
    from wedefense.data.manifest import read_data_dir

    folder, data_type, per_shard = Path(arguments.data_dir), arguments.data_type, arguments.num_utts_per_shard
    path = list_path(folder, data_type)
    if not arguments.force and up_to_date(folder, data_type, per_shard):
        print(f"{path} is newer than wav.scp and utt2lab: nothing to do (--force makes it again)")
        return 0
    started = time.monotonic()
    manifest = read_data_dir(folder, arguments.num_workers)
    print(manifest.report())
    manifest.require_sound(arguments.allow_problems, folder / "problems.txt")
    if data_type == "raw":
        write_raw_list(manifest, path)
        written = str(path)
    else:
        written = f"{path} and {write_shards(manifest, path, per_shard, arguments.num_workers)} shards"
    print(f"wrote {written} in {time.monotonic() - started:.1f} s")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
