"""Experiments side by side: what came out, and by which settings they differ. Trainings that differ in the seed alone
are one row, of their mean and standard deviation.
"""

import sys

from wedefense.report import experiments
from wedefense.report.typeset import FORMATS
from wedefense.utils.arguments import add_sets, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("experiments", __doc__)
    parser.add_argument("exp_dir", nargs="+", help="experiment folders with the results of stage 7: exp/*")
    parser.add_argument("--over", nargs="+", default=["seed"], metavar="KEY",
                        help="settings that the mean is taken over (default: seed)")
    add_sets(parser, "sets to show (default: all but dev)", required=False)
    parser.add_argument("--metrics", nargs="+", default=[], metavar="METRIC", help="such as eer min_dcf (default: all)")
    parser.add_argument("--calibrated", action="store_true", help="show the calibrated scores")
    parser.add_argument("--format", nargs="+", choices=sorted(FORMATS), default=["markdown"])
    options = parser.parse_args(argv)
    trained = experiments.read(options.exp_dir, options.calibrated)
    sets = experiments.chosen_sets(trained, options.sets)
    header, rows, caption = experiments.side_by_side(trained, options.over, sets, options.metrics)
    print("\n\n".join(FORMATS[name](header, rows, caption) for name in options.format))
    for line in experiments.remarks(trained, sets):
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
