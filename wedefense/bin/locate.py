"""Where recordings are fake: spans with times, scores and a decision, as a table, label files and pictures."""

import argparse
import sys

from wedefense.utils.arguments import add_model_options, command_parser
from wedefense.utils.checks import PRECISIONS


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("locate", __doc__)
    parser.add_argument("--model", required=True, help="experiment, checkpoint, hub id or name (wedefense models)")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="files, folders, tables NAME.scp, or - for a pipe")
    parser.add_argument("--threshold", metavar="T", help="a frame at or below it is fake: a number, or the file of "
                        "evaluate --segments --json (default: that of the dev set in the experiment's results, else 0)")
    parser.add_argument("--smooth", type=float, default=0.0, metavar="SECONDS", help="the median over them decides")
    parser.add_argument("--resolution", type=int, metavar="MS", help="of a frame, of those that it was trained for")
    parser.add_argument("--format", choices=["table", "csv", "json", "rttm", "textgrid", "audacity"],
                        help="default: what the name of --out says, else a table")
    parser.add_argument("--out", help="write there instead of printing; a folder for textgrid and audacity")
    parser.add_argument("--plot", metavar="DIR", help="a picture of each recording: sound, scores, spans")
    parser.add_argument("--segments", metavar="FILE", help="true spans, of any kind that `wedefense segments` reads")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: the experiment's on a GPU")
    add_model_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    from wedefense.detect.inputs import collect, load_model
    from wedefense.detect.locate_output import LABEL_FILES, check_names, kind_for, located
    from wedefense.detect.output import failure_lines
    from wedefense.utils.distributed import start
    from wedefense.utils.files import require_writable
    from wedefense.utils.tables import plural

    style, (sources, passed_over) = kind_for(options.format, options.out), collect(options.audio)
    if options.plot or options.segments or style in LABEL_FILES:
        check_names(sources, style)
    if options.out and style not in ("textgrid", "audacity"):
        require_writable(options.out)
    model = load_model(options, options.precision).to(start(device=options.device).device)
    report = located(model, sources, options.threshold, options.smooth, options.resolution, options.segments)
    if options.out:
        files = report.write(options.out, style)
        print(f"wrote {plural(len(files), 'file')}: {len(report.found)} of {plural(len(sources), 'recording')}")
    else:
        print(report.text(style).rstrip("\n"))
    if options.plot:
        print(f"{options.plot}: {plural(len(report.draw(options.plot)), 'picture')}", file=sys.stderr)
    for line in (*passed_over, *failure_lines(report.failures)):
        print(line, file=sys.stderr)
    return 1 if report.failures else 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
