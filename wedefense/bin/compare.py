"""Compare systems on the same trials: each less the first in every metric, the interval, and whether it is chance.

By chance of the trials, that is; or of the seeds, where each system is several trainings, joined by commas: means,
standard deviations, and p by Welch's test.
"""

import json
from dataclasses import asdict

from wedefense.metrics.detection import DetectionCosts
from wedefense.utils.arguments import command_parser
from wedefense.utils.files import atomic_write, require_writable


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("compare", __doc__)
    parser.add_argument("first", help="experiment folder, or scores NAME SCORE, or A,B,... of several seeds: what the "
                                      "others are compared with")
    parser.add_argument("others", nargs="+", help="more of them")
    parser.add_argument("--keys", required=True,
                        help="file NAME bonafide|spoof: <data>/<set>/utt2lab, where <set> says which scores of "
                             "an experiment are meant")
    parser.add_argument("--groups", help="draw whole groups, by a table NAME GROUP (utt2spk)")
    parser.add_argument("--over", nargs="+", default=["seed"], metavar="KEY",
                        help="settings that seeds of one system may differ in (default: seed)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--costs", nargs=3, type=float, default=(0.05, 1, 10), metavar=("P_SPOOF", "C_MISS", "C_FA"))
    parser.add_argument("--common", action="store_true", help="compare on the utterances that all files have")
    parser.add_argument("--json", metavar="OUT")
    parser.add_argument("--html", metavar="REPORT", help="write a page with tables and figures to this file")
    options = parser.parse_args(argv)
    require_writable(options.json, options.html)

    from wedefense.scoring.comparison import compare_systems, comparison_table

    costs = DetectionCosts(*options.costs)
    compared = compare_systems([options.first, *options.others], options.keys, options.groups, costs,
                               options.resamples, options.common, options.over)
    print(f"{comparison_table(compared.found, compared.first)}\n\n{compared.explanation}")
    if options.json:
        with atomic_write(options.json, "w") as stream:
            json.dump({"first": compared.first, "others": {
                name: {d.metric: asdict(d) | {"difference": d.value} for d in each}
                for name, each in compared.found.items()}}, stream, indent=1)
    if options.html:
        from wedefense.report.comparison import write_comparison

        write_comparison(options.html, compared, costs, vars(options))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
