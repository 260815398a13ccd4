"""Several data folders as one, a mixture: its table utt2corpus says what is from where, and what is held out stays out.

    python tools/prepare/mix.py --out data/mix a=data_a/train b=data_b/train --held_out data_a/dev data_b/eval

`dataset_args.sampling` then says how often each is drawn: [{column: corpus, weights: {a: 3, b: 1}}, {column: label}].
"""

import argparse
from pathlib import Path

from wedefense.data.mixture import held_out_too, mixed, write_mixture
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.parallel_map import default_workers
from wedefense.utils.tables import count_text, first_few

log = get_logger()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", type=_part, metavar="NAME=DIR", help="data folders and what to call them")
    parser.add_argument("--out", required=True, type=Path, help="the data folder of the mixture")
    parser.add_argument("--held_out", nargs="+", default=[], type=Path, metavar="DIR",
                        help="data folders of sets that no file of the mixture may be in")
    parser.add_argument("--leaks", choices=["stop", "drop", "ignore"], default="stop",
                        help="files of the mixture that are held out too (default: %(default)s; drop leaves them out)")
    parser.add_argument("--num_workers", type=int, default=default_workers())
    return parser.parse_args(argv)


def _part(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not folder or not name.replace("-", "_").isidentifier():
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, got '{text}'")
    return name, Path(folder)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    setup_logging()
    parts = dict(options.parts)
    if len(parts) < len(options.parts):
        raise InputError("two parts have one name; utt2corpus could not tell them apart")
    tables = mixed(parts)
    leaks = [] if options.leaks == "ignore" else held_out_too(tables["wav.scp"], options.held_out, options.num_workers)
    if leaks:
        pairs = [f"{ours} = {other}" for ours, other in leaks]
        told = f"{len(leaks)} files of the mixture are held out too: {first_few(pairs)}"
        if options.leaks == "stop":
            raise InputError(f"{told}. --leaks drop leaves them out of the mixture, --leaks ignore trains on them")
        log.warning("%s; left out", told)
        gone = {ours for ours, _ in leaks}
        tables = {name: {key: value for key, value in table.items() if key not in gone}
                  for name, table in tables.items()}
    counts = write_mixture(options.out, tables)
    log.info("%s: %d utterances; %s", options.out, sum(counts.values()), count_text(counts))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
