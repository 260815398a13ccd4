#!/usr/bin/env python
"""A small corpus of synthetic voices and attacks on them, in the layout of PartialSpoof."""

import argparse
import time
from collections import Counter
from pathlib import Path

from minicorpus.layout import claim, settings, tables, wav_path, write_tables, write_utterance
from minicorpus.plan import SETS, catalogue

from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.parallel_map import default_workers, parallel_map
from wedefense.utils.tables import count_text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="the folder of the corpus, new or made by this program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of utterances")
    parser.add_argument("--num_workers", type=int, default=default_workers())
    arguments = parser.parse_args(argv)
    setup_logging()
    if not 0 < arguments.scale <= 1000:
        raise InputError(f"--scale {arguments.scale}: must be above 0, at most 1000")
    make(arguments.out, arguments.seed, arguments.scale, arguments.num_workers)
    return 0


def make(folder: Path, seed: int, scale: float, num_workers: int) -> None:
    """Write what is missing; a complete corpus is left alone."""
    log, started = get_logger(), time.monotonic()
    claim(folder, settings(seed, scale))
    items = catalogue(seed, scale)
    missing = [item for item in items if not wav_path(folder, item).exists()]
    if not missing and all(path.exists() for path in tables(folder)):
        log.info("%s is complete, nothing to do", folder)
        return
    parallel_map(write_utterance, missing, num_workers, "making speech", "file", folder, seed)
    write_tables(folder, items, seed)
    for name in SETS:
        counts = Counter(item.label for item in items if item.set == name)
        log.info("%s/%s: %s", folder, name, count_text(counts))
    log.info("wrote %d of %d utterances to %s in %.0f s", len(missing), len(items), folder, time.monotonic() - started)


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
