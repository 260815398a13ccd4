"""Score recordings: log-likelihood ratio, probability of a spoof, decision, and what they mean."""

import argparse
import sys

from wedefense.metrics.detection import DetectionCosts
from wedefense.utils.arguments import add_model_options, command_parser
from wedefense.utils.checks import PRECISIONS


def parse(argv: list[str] | None) -> argparse.Namespace:
    costs = DetectionCosts()
    parser = command_parser("score", __doc__)
    parser.add_argument("--model", required=True, help="experiment, checkpoint, hub id or name (wedefense models)")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="files, folders, tables NAME.scp, or - for a pipe")
    parser.add_argument("--prior", type=float, default=costs.p_spoof, help="share of spoofs (default: %(default)g)")
    parser.add_argument("--cost_miss", type=float, default=costs.c_miss, help="of a bona fide rejected (%(default)g)")
    parser.add_argument("--cost_fa", type=float, default=costs.c_fa, help="of an accepted spoof (default: %(default)g)")
    parser.add_argument("--window", type=float, metavar="SECONDS", help="heard at once (default: all up to 60, or 30)")
    parser.add_argument("--format", choices=["table", "json", "csv", "scores"],
                        help="scores: NAME LLR, for `wedefense evaluate` (default: as --out ends, in csv or json, "
                        "else table)")
    parser.add_argument("--names", default="path", choices=["path", "stem"],
                        help="of files: as given, or without folders and suffix (default: path)")
    parser.add_argument("--out", help="write there instead of printing")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: the experiment's on a GPU")
    add_model_options(parser)
    options = parser.parse_args(argv)
    ending = (options.out or "").lower().rpartition(".")[2]
    options.format = options.format or (ending if ending in ("csv", "json") else "table")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    from wedefense.detect.inputs import collect, costs_of, load_model
    from wedefense.detect.output import failure_lines, rendered
    from wedefense.utils.distributed import start
    from wedefense.utils.files import atomic_write, require_writable

    require_writable(options.out)
    costs, (sources, passed_over) = costs_of(options), collect(options.audio, options.names == "stem")
    model = load_model(options, options.precision)
    model.to(start(device=options.device).device)
    scores, failures = model.score_files(sources, costs=costs, window=options.window)
    text = rendered(scores, failures, model, costs, options.format)
    if options.out:
        with atomic_write(options.out, "w") as stream:
            stream.write(f"{text}\n")
        text = f"{options.out}: {len(scores)} of {len(sources)} recordings"
    print(text)
    for line in (*passed_over, *failure_lines(failures)):
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
