"""Turn scores into calibrated log-likelihood ratios: fit on a development set, apply to another set."""

import argparse

from wedefense.scoring.calibration import Calibration, CalibrationOptions, fit_files, read_qualities, read_systems
from wedefense.utils.arguments import command_parser
from wedefense.utils.files import require_writable
from wedefense.utils.tables import write_table


def main(argv: list[str] | None = None, systems: str = "?") -> int:
    """`systems` says how many score files each of the options takes."""
    several = systems != "?"
    parser = command_parser("fuse" if several else "calibrate", "Combine the scores of several systems into "
                            "log-likelihood ratios: fit on a development set, apply to another set." if several
                            else __doc__)
    parser.add_argument("--dev_scores", nargs=systems, help="file NAME SCORE of the development set")
    parser.add_argument("--dev_keys", help="its keys, NAME bonafide|spoof; without both, --model is applied")
    parser.add_argument("--scores", nargs=systems, help="scores to turn into LLRs")
    parser.add_argument("--out", help="where the LLRs go, NAME LLR")
    parser.add_argument("--model", help="small JSON file that keeps the fit")
    parser.add_argument("--dev_quality", nargs="+", default=[], help="quality measures, NAME NUMBER, such as utt2dur")
    parser.add_argument("--quality", nargs="+", default=[], help="the same measures of the set to score")
    parser.add_argument("--prior", type=float, default=CalibrationOptions.prior, help="of bona fide, in the fit")
    parser.add_argument("--average", action="store_true", help="write the plain mean of --scores, nothing is fitted"
                        if several else argparse.SUPPRESS)
    options = parser.parse_args(argv)
    require_writable(options.out, options.model if options.dev_scores else None)
    if options.average and options.scores and options.out and several:
        names, scores = read_systems(options.scores)
        write_table(options.out, dict(zip(names, map(repr, scores.mean(axis=1).tolist()))))
        return 0
    if options.average:
        parser.error("--average needs --scores of several systems and --out")
    if bool(options.dev_scores) != bool(options.dev_keys) or not (options.dev_scores or options.model):
        parser.error("give --dev_scores and --dev_keys to fit, or --model alone to apply it")
    if bool(options.scores) != bool(options.out) or not (options.out or options.model):
        parser.error("give --scores and --out to write LLRs, or --model to keep the fit")

    def files(given) -> list[str]:
        return given if several else [given]

    if options.dev_scores:
        model = fit_files(files(options.dev_scores), options.dev_keys, CalibrationOptions(options.prior),
                          options.dev_quality)
        if options.model:
            model.save(options.model)
    else:
        model = Calibration.load(options.model)
    print(model.formula())
    if options.scores:
        names, scores = read_systems(files(options.scores))
        model.refuse_known(names)
        llrs = model.apply(scores, read_qualities(options.quality, names))
        write_table(options.out, dict(zip(names, map(repr, llrs.tolist()))))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
