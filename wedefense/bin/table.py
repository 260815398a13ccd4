"""Stage 9: an experiment beside a published row; or a published table as it is, or filled with experiments."""

import argparse
from pathlib import Path

from wedefense.experiment.folder import NAMES
from wedefense.experiment.records import read_results
from wedefense.report import published
from wedefense.report.typeset import FORMATS, comparison_rows, filled_rows, published_rows
from wedefense.utils.arguments import Renamed, command_parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("table", __doc__)
    parser.add_argument("--table", help="name of a published table (without it the tables are listed)")
    parser.add_argument("--row", help="name of a row to put the experiment beside")
    parser.add_argument("--exp_dir", help=f"experiment folder with {NAMES.results} of stage 7")
    parser.add_argument("--filled", nargs="+", default=[], metavar="ROW=EXP_DIR",
                        help="the table with these experiments")
    parser.add_argument("--rename", "--set", nargs="+", default=[], action=Renamed, metavar="SET=OURS",
                        help="sets that go by another name here")
    parser.add_argument("--calibrated", action="store_true", help="compare the calibrated scores")
    parser.add_argument("--format", nargs="+", choices=sorted(FORMATS), default=["markdown"])
    options = parser.parse_args(argv)
    if (options.row is None) != (options.exp_dir is None) or (options.row and not options.table):
        parser.error("a comparison needs --table, --row and --exp_dir")
    if any("=" not in pair for pair in (*options.rename, *options.filled)):
        parser.error("--rename wants SET=OURS, --filled ROW=EXP_DIR")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.table is None:
        for name in published.names():
            print(f"{name:<26} {published.load(name).title}")
        return 0
    table = published.load(options.table)
    caption = f"{table.title}. Source: {table.source}."
    if options.filled:
        pairs = [pair.rpartition("=") for pair in options.filled]  # a row's name may have a = in it
        header, rows = filled_rows(table, {table.row(row).name: _comparisons(table.row(row), Path(folder), options)
                                           for row, _, folder in pairs})
    elif options.row is None:
        header, rows = published_rows(table)
    else:
        row, folder = table.row(options.row), Path(options.exp_dir)
        header, rows = comparison_rows(_comparisons(row, folder, options), folder.resolve().name)
        caption += f" Published row: {row.name}. The interval is that of the difference to the number as printed."
    print("\n\n".join(FORMATS[name](header, rows, caption) for name in options.format))
    return 0


def _comparisons(row: published.PublishedRow, folder: Path, options: argparse.Namespace) -> list[published.Comparison]:
    return published.compare(row, read_results(folder), dict(pair.split("=", 1) for pair in options.rename),
                             options.calibrated)


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
