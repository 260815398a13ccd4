"""Check a data folder and list it for the loaders: raw.list, or tar shards and shard.list."""

import time
from pathlib import Path

from wedefense.utils.arguments import command_parser, positive_number
from wedefense.utils.parallel_map import default_workers


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("make_list", __doc__)
    parser.add_argument("--data_dir", required=True, help="a folder with wav.scp and utt2lab")
    parser.add_argument("--data_type", choices=["raw", "shard"], default="raw")
    parser.add_argument("--num_utts_per_shard", type=positive_number, default=1000)
    parser.add_argument("--num_workers", type=positive_number, default=default_workers())
    parser.add_argument("--allow_problems", action="store_true",
                        help="leave unusable utterances out (problems.txt lists them) instead of stopping")
    parser.add_argument("--force", action="store_true", help="make the list again even if it is up to date")
    parser.add_argument("--task", default="any", help="detection: every label must be bona fide or spoof")
    parser.add_argument("--labels", nargs="+", default=[], metavar="WORD=LABEL",
                        help="what other labels mean: bonafide or spoof; utt2lab is rewritten, given_labels keeps what "
                             "it said")
    arguments = parser.parse_args(argv)

    from wedefense.data import label_words
    from wedefense.data.lists import list_path, write_raw_list, write_shards
    from wedefense.data.span_checks import read_with_spans
    from wedefense.experiment.lineage import listing
    from wedefense.utils.log import setup_logging
    from wedefense.utils.owner import owned, sweep

    setup_logging()
    folder, data_type, per_shard = Path(arguments.data_dir), arguments.data_type, arguments.num_utts_per_shard
    if folder.is_dir() and (arguments.labels or arguments.task == "detection"):
        label_words.settle(folder, label_words.parse(arguments.labels))
    path, step = list_path(folder, data_type), listing(folder, data_type, per_shard, arguments.allow_problems)
    if not arguments.force and step.is_up_to_date():
        sweep(folder)
        print(f"{path} is of these tables and this audio: nothing to do (--force makes it again)")
        return 0
    started, (manifest, report) = time.monotonic(), read_with_spans(folder, arguments.num_workers)
    with owned(folder), step.making() as outputs:
        print(report)
        manifest.require_sound(arguments.allow_problems, folder / "problems.txt")
        if data_type == "raw":
            write_raw_list(manifest, path)
        else:
            outputs += write_shards(manifest, path, per_shard, arguments.num_workers)
        outputs.append(path)
    print(f"wrote {path}{f' and {len(outputs) - 1} shards' * (len(outputs) > 1)} in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
