"""A table of recordings and labels as a corpus: CSV, TSV, JSON lines or parquet, or a folder in Hugging Face's layout.

Columns are found by their usual names (path, label, speaker, attack, language, split, start, end), labels by their
usual words (real, human, fake, ai ...). Sets come from the split column or are made: a speaker or attack is in one set.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from wedefense.data.duplicates import same_content
from wedefense.data.prepare import Entry, write_sets
from wedefense.data.split import SETS, require_both_classes, split_by_group
from wedefense.data.table_corpus import COLUMNS, LABELS, Choice, entries_of, find_columns, unused_columns
from wedefense.data.tabular import read_rows
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.files import atomic_write, flush_all
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.owner import sweep
from wedefense.utils.parallel_map import default_workers
from wedefense.utils.tables import count_text, first_few, plural, read_lines

log = get_logger()
CLASSES = ("bonafide", "spoof")
_SHARES = (8.0, 1.0, 1.0)  # of the sets that are made


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, type=Path, help="FILE.csv|tsv|jsonl|parquet, or a folder")
    parser.add_argument("--audio", type=Path, help="the folder of its files: relative paths start there, and where "
                        "they name nothing there, beside the table (default: that of the table)")
    parser.add_argument("--out", required=True, type=Path, help="where the data folders go")
    parser.add_argument("--columns", nargs="+", default=[], type=_pair, metavar="KIND=NAME",
                        help=f"which column is what ({', '.join(COLUMNS)}); any other KIND becomes a table utt2KIND")
    parser.add_argument("--labels", nargs="+", default=[], type=_pair, metavar="LABEL=bonafide|spoof",
                        help="what labels mean, such as 0=bonafide 1=spoof")
    parser.add_argument("--split", type=_shares, metavar="TRAIN:DEV:EVAL",
                        help="make sets of these shares (default: by the split column, else 8:1:1); 0 leaves a set out")
    parser.add_argument("--by", choices=["speaker", "attack", "recording"],
                        help="what is in one made set alone (default: speaker where there is one)")
    parser.add_argument("--seed", type=int, default=0, help="of made sets (default: %(default)d)")
    parser.add_argument("--duplicates", choices=["stop", "drop", "ignore"], default="stop",
                        help="rows of one file, and files of equal content (default: %(default)s; drop keeps the "
                        "first)")
    parser.add_argument("--num_workers", type=int, default=default_workers())
    parser.add_argument("--allow_problems", action="store_true",
                        help="leave unusable utterances out (problems.txt lists them) instead of stopping")
    return parser.parse_args(argv)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got '{text}'")
    return name, value


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in text.split(":"))
    except ValueError:
        shares = ()
    if len(shares) != len(SETS) or min(shares) < 0 or sum(shares) <= 0:
        raise argparse.ArgumentTypeError(f"expected three shares like 8:1:1, got '{text}'")
    return shares


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    setup_logging()
    if not options.table.exists():
        raise InputError(f"{options.table}: no such table")
    for name, value in options.labels:
        if value not in CLASSES:
            raise InputError(f"--labels {name}={value}: a label is one of the classes{did_you_mean(value, CLASSES)}")
    first, rows = read_rows(options.table)
    columns = find_columns(first, dict(options.columns))
    log.info("%s: %s", options.table, ", ".join(f"{kind} is column '{name}'" for kind, name in columns.items()))
    if unused := unused_columns(first, columns):
        log.info("%s: nothing is made of %s; --columns KIND=NAME says what a column is", options.table,
                 first_few(unused, 12))
    labels = {**LABELS, **{name.lower(): value for name, value in options.labels}}
    sweep(options.out)
    made = entries_of(rows, Choice(columns, labels, options.audio, options.out / "audio"),
                      lambda splits: _refuse_stale(options.out, _names(splits, options)))
    if "start" in columns or "end" in columns:
        flush_all()
    made = _without_duplicates(made, options)
    write_sets(options.out, _sets(made, columns, options), options.num_workers, options.allow_problems)
    return 0


def _without_duplicates(made: list[tuple[Entry, str]], options) -> list[tuple[Entry, str]]:
    if options.duplicates == "ignore":
        return made
    wavs = {entry.key: str(entry.wav) for entry, _ in made}
    known = {entry.key: entry.digest for entry, _ in made if entry.digest}
    groups = same_content(wavs, options.num_workers, known)
    rows: dict[str, list[int]] = defaultdict(list)
    for number, (entry, _) in enumerate(made):
        rows[entry.key].append(number)
    grouped = {key for group in groups for key in group}
    groups += [[key] for key, found in rows.items() if len(found) > 1 and key not in grouped]
    if not groups:
        return made

    def is_torn(group: list[str]) -> bool:
        return len({made[number][0].label for key in group for number in rows[key]}) > 1

    def told(group: list[str]) -> str:
        names = (f"{key} in {len(rows[key])} rows" if len(rows[key]) > 1 else key for key in group)
        return f"{' = '.join(names)}{' with different labels' if is_torn(group) else ''}"

    if options.duplicates == "drop" and (torn := list(filter(is_torn, groups))):
        raise InputError(f"{options.table}: {plural(len(torn), 'recording')} of more than one label: "
                         f"{first_few(map(told, torn))}; correct the table, --duplicates drop cannot know which is "
                         "right")
    if options.duplicates == "stop":
        raise InputError(f"{options.table}: {plural(len(groups), 'recording')} more than once: "
                         f"{first_few(map(told, groups))}; --duplicates drop keeps the first of each, --duplicates "
                         "ignore keeps all, of one set those of several names")
    left_out = {number for group in groups for number in sorted(n for key in group for n in rows[key])[1:]}
    log.warning("%s: %s left out, whose content is that of others: %s", options.table, plural(len(left_out), "row"),
                first_few(map(told, groups)))
    return [row for number, row in enumerate(made) if number not in left_out]


def _by_column(splits: list[str], options) -> bool:
    return options.split is None and options.by is None and any(splits)


def _names(splits: list[str], options) -> set[str]:
    """Of the sets that will be there."""
    if _by_column(splits, options):
        return set(splits)
    return {name for name, share in zip(SETS, options.split or _SHARES) if share}


def _sets(made: list[tuple[Entry, str]], columns: dict[str, str], options) -> dict[str, list[Entry]]:
    entries, splits = [entry for entry, _ in made], [split for _, split in made]
    if _by_column(splits, options):
        if not all(splits):
            first = entries[splits.index("")].key
            raise InputError(f"{options.table}: {splits.count('')} rows have no split, first {first}; fill them in, or "
                             f"make the sets: --split 8:1:1")
        told = f"sets by the column '{columns.get('split', 'split')}'"
    else:
        by = options.by or ("speaker" if "speaker" in columns else "recording")
        shares = options.split or _SHARES
        told = f"sets made {':'.join(f'{share:g}' for share in shares)} by {by}, seed {options.seed}"
        splits = split_by_group(_groups(entries, by, options.table), [e.label for e in entries], shares, options.seed)
        require_both_classes(splits, [entry.label for entry in entries], shares, f"{options.table}: {told}")
    sets: dict[str, list[Entry]] = defaultdict(list)
    for entry, split in zip(entries, splits):
        sets[split].append(entry)
    if missing := [name for name in SETS if name not in sets and options.split is None]:
        log.warning("%s: no set is %s; --split 8:1:1 makes sets of all that is there", options.table,
                    " and none is ".join(missing))
    lines = [told, *(f"{name}: {count_text(Counter(e.label for e in sets[name]))}" for name in sorted(sets))]
    log.info("%s", "\n  ".join(lines))
    with atomic_write(options.out / "split.txt", "w") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return dict(sets)


def _refuse_stale(out: Path, sets: Iterable[str]) -> None:
    """A set of an earlier call that this one does not make anew: its recordings may be in another set by now."""
    told = read_lines(out / "split.txt") if (out / "split.txt").exists() else []
    for name in (line.partition(":")[0] for line in told[1:]):
        if name not in sets and (out / name / "utt2lab").exists():
            raise InputError(f"{out / name}: is of an earlier call, and what it holds may be in {' or '.join(sets)} "
                             "now; remove it, or give another --out")


def _groups(entries: list[Entry], by: str, table: Path) -> list[str]:
    """What stays together; bona fide recordings have no attack, theirs is the speaker. `-` is nobody."""
    names = {"speaker": ("utt2spk",), "attack": ("utt2attack", "utt2spk"), "recording": ()}[by]
    if by != "recording" and names[0] not in {name for entry in entries for name in entry.tables}:
        raise InputError(f"{table}: --by {by}, but no column is the {by}; say --columns {by}=NAME")
    return [next((f"{name} {entry.tables[name]}" for name in names if entry.tables.get(name, "-") != "-"),
                 f"recording {entry.wav}") for entry in entries]


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
