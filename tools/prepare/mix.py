"""Several data folders as one, a mixture: its table utt2corpus says what is from where, and what is held out stays out.

    python tools/prepare/mix.py --out data/mix a=data_a/train b=data_b/train --held_out data_a/dev data_b/eval

`dataset_args.sampling` then says how often each is drawn: [{column: corpus, weights: {a: 3, b: 1}}, {column: label}].
"""

import argparse
from pathlib import Path

from wedefense.data.mixture import SPANS, Tables, mixed, mixed_spans, shared_files, without, write_mixture
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.owner import sweep
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
    parser.add_argument("--duplicates", choices=["stop", "drop"],
                        help="look for recordings that the mixture has twice, under whatever names: stop, or keep the "
                             "first (default: do not look; --held_out tells them)")
    parser.add_argument("--num_workers", type=int, default=default_workers())
    return parser.parse_args(argv)


def _part(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not folder or not name.replace("-", "_").isidentifier():
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, got '{text}'")
    return name, Path(folder)


def _without_leaks(tables: Tables, leaks: list[tuple[str, str]], what: str) -> Tables:
    if not leaks:
        return tables
    told = (f"{len(leaks)} files of the mixture are held out too: "
            f"{first_few([f'{ours} = {other}' for ours, other in leaks])}")
    if what == "stop":
        raise InputError(f"{told}. --leaks drop leaves them out of the mixture, --leaks ignore trains on them")
    log.warning("%s; left out", told)
    return without(tables, {ours for ours, _ in leaks})


def _without_repeats(tables: Tables, repeated: list[list[str]], what: str | None) -> Tables:
    labels = tables["utt2lab"]
    groups = [group for keys in repeated if len(group := [key for key in keys if key in labels]) > 1]
    torn = [group for group in groups if len({labels[key] for key in group}) > 1]
    if torn:
        said = [" = ".join(f"{key} ({labels[key]})" for key in group) for group in torn]
        raise InputError(f"{len(torn)} recordings of the mixture have more than one label: {first_few(said)}; correct "
                         "utt2lab, or take them out of a part")
    if not groups:
        return tables
    told = f"{len(groups)} recordings are in the mixture more than once: {first_few(list(map(' = '.join, groups)))}"
    if what == "stop":
        raise InputError(f"{told}. --duplicates drop keeps the first of each")
    if what is None:
        log.warning("%s; --duplicates drop keeps the first of each", told)
        return tables
    log.warning("%s; the first of each is kept", told)
    return without(tables, {key for group in groups for key in group[1:]})


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    setup_logging()
    parts = dict(options.parts)
    if len(parts) < len(options.parts):
        raise InputError("two parts have one name; utt2corpus could not tell them apart")
    tables = mixed(parts)
    held_out = [] if options.leaks == "ignore" else options.held_out
    if held_out or options.duplicates:
        leaks, repeated = shared_files(tables["wav.scp"], held_out, options.num_workers)
        tables = _without_leaks(tables, leaks, options.leaks)
        tables = _without_repeats(tables, repeated, options.duplicates)
    spans = mixed_spans(parts)
    if not spans and (having := [name for name, folder in parts.items() if (folder / SPANS).exists()]):
        lacking = [f"{parts[name] / SPANS}" for name in parts if name not in having]
        log.warning("the mixture does not say where utterances are fake, which %s does: %s missing; of those that are "
                    "of one class throughout its lines are KEY 0 SECONDS LABEL", ", ".join(having), first_few(lacking))
    sweep(options.out)
    counts = write_mixture(options.out, tables, spans)
    log.info("%s: %d utterances; %s", options.out, sum(counts.values()), count_text(counts))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
