"""Stage 7: metrics of the scored sets of an experiment, pooled and by attack, and its report."""

import argparse
from pathlib import Path

from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.report.render import FONTS
from wedefense.utils.arguments import add_sets, command_parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("results", __doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment folder")
    parser.add_argument("--data", required=True, help="data folder; labels and conditions in <data>/<set>/utt2*")
    add_sets(parser, "the sets to report: dev eval")
    parser.add_argument("--dev_set", default="dev", help="calibration is fitted on this set")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples for intervals (0: none)")
    parser.add_argument("--by", default=BootstrapOptions.by, metavar="COLUMN",
                        help="draw whole groups instead of trials: spk for those of utt2spk")
    parser.add_argument("--costs", nargs=3, type=float, default=[0.05, 1, 10], metavar=("P_SPOOF", "C_MISS", "C_FA"))
    parser.add_argument("--fonts", choices=FONTS, default="sans", help="of the figures as PDF: latex, times for papers")
    parser.add_argument("--listen", type=int, default=3, metavar="N", help="worst of each class and set, to listen to")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    from wedefense.report.localization import save_heads
    from wedefense.report.model_card import write_card
    from wedefense.report.write import write_report
    from wedefense.scoring.results import evaluate_sets, load_set, save_results
    from wedefense.scoring.segments import localize_sets

    names = list(dict.fromkeys(options.sets))
    sets = [load_set(options.exp_dir, options.data, name) for name in names]
    bootstrap = BootstrapOptions(options.bootstrap, by=options.by) if options.bootstrap else None
    results, calibration = evaluate_sets(sets, options.dev_set, bootstrap, costs=DetectionCosts(*options.costs))
    folder = ExperimentFolder(options.exp_dir)
    for name, found in localize_sets(folder, Path(options.data), names, options.dev_set, options.bootstrap).items():
        results["sets"][name]["localization"] = found
    print(save_results(folder, results))
    if where := save_heads(folder, results):
        print(f"\n{where}")
    if calibration:
        calibration.save(folder.calibration)
    else:
        folder.calibration.unlink(missing_ok=True)
    write_report(folder, results, sets, calibration, options.fonts, options.listen)
    write_card(folder)
    print(f"wrote {folder.summary}, {NAMES.results}, {NAMES.report}, {NAMES.card}")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
