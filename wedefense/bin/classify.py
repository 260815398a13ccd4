"""Stage 7 of emotion recognition: accuracy of the scored sets of an experiment, or the mean over folds."""

from wedefense.experiment.folder import NAMES
from wedefense.report.render import FONTS
from wedefense.utils.arguments import add_sets, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("classify", __doc__)
    parser.add_argument("--exp_dir", required=True, help=f"experiment folder; {NAMES.results} goes there")
    parser.add_argument("--data", help="data folder; labels in <data>/<set>/utt2lab")
    add_sets(parser, "the sets to report: dev eval", required=False)
    parser.add_argument("--average", nargs="+", default=[], metavar="EXP_DIR", help="folds whose results are averaged")
    parser.add_argument("--fonts", choices=FONTS, default="sans", help="of the figures as PDF: latex, times for papers")
    options = parser.parse_args(argv)
    if bool(options.average) == bool(options.sets) or (options.sets and not options.data):
        parser.error("give either --data and --sets, or --average")
    from wedefense.report.write import write_class_report
    from wedefense.scoring import classes

    if options.average:
        print(classes.average(options.average, options.exp_dir))
    else:
        found = {name: classes.evaluate(options.exp_dir, options.data, name) for name in options.sets}
        print(classes.save(options.exp_dir, options.data, found))
        print(f"wrote {write_class_report(options.exp_dir, found, options.fonts)}")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
