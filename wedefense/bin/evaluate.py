"""Evaluate scores against their keys: EER, minDCF, actDCF, Cllr, by attack, with confidence intervals."""

import sys

from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.tandem import AsvRates
from wedefense.report import evaluate, localization
from wedefense.utils.arguments import command_parser
from wedefense.utils.files import require_writable


def parse(argv: list[str] | None):
    parser = command_parser("evaluate", __doc__)
    parser.add_argument("--scores", required=True, help="file NAME SCORE, higher = more bona fide")
    parser.add_argument("--keys", required=True, help="file NAME bonafide|spoof (utt2lab)")
    parser.add_argument("--meta", nargs="+", default=[], help="tables to break the result down by: utt2attack ...")
    parser.add_argument("--bootstrap", type=int, metavar="N", help="resamples for 95 %% intervals, such as 1000")
    parser.add_argument("--groups", help="draw whole groups in the bootstrap, by a table NAME GROUP (utt2spk)")
    parser.add_argument("--costs", nargs=3, type=float, default=[0.05, 1, 10], metavar=("P_SPOOF", "C_MISS", "C_FA"))
    parser.add_argument("--common", action="store_true", help="evaluate what both files have instead of stopping")
    parser.add_argument("--rocch", action="store_true", help="show the EER on the ROC convex hull too")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--sasv", action="store_true", help="ASVspoof 5 track 2: five-column scores, four-column keys")
    kinds.add_argument("--segments", type=float, metavar="SECONDS", help="of a frame: NAME SCORE ..., label files")
    kinds.add_argument("--classes", action="store_true", help="NAME CLASS (emotions), or class scores under a header")
    parser.add_argument("--label_shift", type=float, metavar="SECONDS", help="of the labels, unless their name says it")
    parser.add_argument("--dev", nargs=2, metavar=("SCORES", "KEYS"), help="frames of dev, for the thresholds")
    parser.add_argument("--audio", metavar="WAV_SCP", help="with --segments and --html: timelines that can be heard")
    parser.add_argument("--asv_rates", nargs=3, type=float, metavar=("MISS", "FA_NON", "FA_SPF"), help="for the t-DCF")
    parser.add_argument("--json", metavar="OUT", help="write the results (fractions, not per cent) to this file")
    parser.add_argument("--html", metavar="REPORT", help="write a page with tables and figures to this file")
    options = parser.parse_args(argv)
    for kind, others in {"sasv": "bootstrap groups", "classes": "bootstrap groups meta", "segments": "groups"}.items():
        if clash := [other for other in others.split() if getattr(options, kind) and getattr(options, other)]:
            parser.error(f"--{clash[0]} does not go with --{kind}")
    if options.segments is None and (options.dev or options.audio):
        parser.error(f"--{'dev' if options.dev else 'audio'} does not go without --segments")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    require_writable(options.json, options.html)
    files = evaluate.ScoreFiles(options.scores, options.keys, tuple(options.meta), options.groups, options.common)
    shared = DetectionCosts(*options.costs), options.bootstrap, options.rocch
    if options.classes or options.sasv:
        found = evaluate.classes(files) if options.classes else evaluate.sasv(files, shared[0], AsvRates(
            *options.asv_rates or ()))
    elif options.segments is not None:
        found = localization.segment(files, options.segments, options.label_shift, options.dev, options.audio, *shared)
    else:
        found = evaluate.detection(files, *shared)
    print(found.text)
    print("".join(f"warning: {doubt}\n" for doubt in found.result.get("doubts", [])), end="", file=sys.stderr)
    found.write(options.json, options.html, vars(options))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
