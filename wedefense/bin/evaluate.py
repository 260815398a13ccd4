"""Evaluate scores against their keys: EER, minDCF, actDCF, Cllr, by attack, with confidence intervals."""

import argparse
import json
import sys

from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.evaluation import BootstrapOptions, evaluate_detection, evaluate_sasv
from wedefense.metrics.keys import load_trials, read_meta
from wedefense.metrics.sasv_keys import load_sasv_trials
from wedefense.metrics.table import result_table
from wedefense.metrics.tandem import AsvRates, TandemCosts
from wedefense.utils.files import atomic_write


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wedefense evaluate", description=__doc__)
    parser.add_argument("--scores", required=True, help="file NAME SCORE, higher = more bona fide")
    parser.add_argument("--keys", required=True, help="file NAME bonafide|spoof (utt2lab)")
    parser.add_argument("--meta", nargs="+", default=[], help="tables to break the result down by: utt2attack ...")
    parser.add_argument("--bootstrap", type=int, metavar="N", help="resamples for 95 %% intervals, such as 1000")
    parser.add_argument("--groups", help="draw whole groups in the bootstrap, by a table NAME GROUP (utt2spk)")
    parser.add_argument("--costs", nargs=3, type=float, default=(0.05, 1, 10), metavar=("P_SPOOF", "C_MISS", "C_FA"))
    parser.add_argument("--common", action="store_true", help="evaluate what both files have instead of stopping")
    parser.add_argument("--rocch", action="store_true", help="show the EER on the ROC convex hull too")
    parser.add_argument("--sasv", action="store_true", help="ASVspoof 5 track 2: five-column scores, four-column keys")
    parser.add_argument("--asv_rates", nargs=3, type=float, metavar=("MISS", "FA_NONTARGET", "FA_SPOOF"),
                        help="of the ASV system behind the t-DCF (default: the ASVspoof 5 organisers')")
    parser.add_argument("--json", metavar="OUT", help="write the results (fractions, not per cent) to this file")
    options = parser.parse_args(argv)
    if options.sasv and (options.bootstrap or options.groups):
        parser.error("--bootstrap and --groups do not go with --sasv")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    costs = DetectionCosts(*options.costs)
    trials = (load_sasv_trials if options.sasv else load_trials)(options.scores, options.keys, options.common)
    meta = {title: column for path in options.meta for title, column in read_meta(path, trials.names).items()}
    if options.sasv:
        asv = AsvRates(*options.asv_rates) if options.asv_rates else AsvRates()
        result = evaluate_sasv(trials, meta, TandemCosts.like(costs), asv)
    else:
        by, groups = next(iter(read_meta(options.groups, trials.names).items())) if options.groups else ("trial", None)
        bootstrap = None if options.bootstrap is None else BootstrapOptions(options.bootstrap, by=by)
        result = evaluate_detection(trials, meta, costs, bootstrap, groups)
    print(result_table(result, options.rocch))
    for doubt in result.get("doubts", []):
        print(f"warning: {doubt}", file=sys.stderr)
    if options.json:
        with atomic_write(options.json, "w") as stream:
            json.dump(result, stream, indent=1)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
