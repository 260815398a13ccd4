"""Compare systems on the same trials: each less the first in every metric, the interval, and whether it is chance.

By chance of the trials, that is: of seeds, `wedefense experiments` gives mean, deviation and number.
"""

import json
from dataclasses import asdict

from wedefense.metrics.confidence import compare
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.keys import read_meta
from wedefense.utils.arguments import command_parser
from wedefense.utils.files import atomic_write, require_writable


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("compare", __doc__)
    parser.add_argument("first", help="experiment folder, or scores NAME SCORE: what the others are compared with")
    parser.add_argument("others", nargs="+", help="more of them")
    parser.add_argument("--keys", required=True,
                        help="file NAME bonafide|spoof: <data>/<set>/utt2lab, where <set> says which scores of "
                             "an experiment are meant")
    parser.add_argument("--groups", help="draw whole groups, by a table NAME GROUP (utt2spk)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--costs", nargs=3, type=float, default=(0.05, 1, 10), metavar=("P_SPOOF", "C_MISS", "C_FA"))
    parser.add_argument("--common", action="store_true", help="compare on the utterances that all files have")
    parser.add_argument("--json", metavar="OUT")
    parser.add_argument("--html", metavar="REPORT", help="write a page with tables and figures to this file")
    options = parser.parse_args(argv)
    require_writable(options.json, options.html)

    from wedefense.scoring.comparison import comparison_table, explanation, load_systems

    systems = load_systems([options.first, *options.others], options.keys, options.common)
    (first, trials), *_ = systems.items()
    groups = next(iter(read_meta(options.groups, trials.names).values())) if options.groups else None
    costs = DetectionCosts(*options.costs)
    differences = compare([each.scores for each in systems.values()], trials.is_bonafide, groups, costs,
                          options.resamples)
    found = dict(zip([name for name in systems if name != first], differences))
    print(comparison_table(found, first))
    print(f"\n{explanation(found, first, trials, options.resamples)}")
    if options.json:
        with atomic_write(options.json, "w") as stream:
            json.dump({"first": first, "others": {
                name: {d.metric: asdict(d) | {"difference": d.value} for d in each} for name, each in found.items()}},
                stream, indent=1)
    if options.html:
        from wedefense.report.comparison import write_comparison

        write_comparison(options.html, systems, found, costs, groups, vars(options))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
