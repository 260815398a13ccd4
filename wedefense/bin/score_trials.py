"""Score speaker verification trials with the embeddings of an experiment, and evaluate the scores."""

import argparse

from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.report.render import FONTS
from wedefense.utils.arguments import Renamed, add_sets, command_parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("score_trials", __doc__)
    parser.add_argument("--exp_dir", required=True, help=f"experiment folder; scores go to {NAMES.scores}/<trials>.txt")
    add_sets(parser, "embedding sets that hold the utterances of the trials")
    parser.add_argument("--trials", required=True, nargs="+", help="`1|0 ENROL TEST` or `ENROL TEST target|nontarget`")
    parser.add_argument("--cohort", help="embedding set of the training speakers")
    parser.add_argument("--cohort_spk", help="utt2spk of the cohort")
    parser.add_argument("--norm", choices=["none", "snorm", "asnorm"], default="none")
    parser.add_argument("--top_n", type=int, default=300, help="cohort speakers for asnorm")
    parser.add_argument("--keep_mean", action="store_true", help="do not subtract the cohort's mean")
    parser.add_argument("--qmf", metavar="TRIALS",
                        help="fit quality measures on these trials, of speakers in neither the lists nor the cohort")
    parser.add_argument("--durations", nargs="+", default=[], metavar="UTT2DUR", help="a quality measure")
    parser.add_argument("--second_sets", "--second_set", nargs="+", default=[], action=Renamed, metavar="SET",
                        help="other embeddings of the utterances, as of a part of each: consistency is a measure")
    parser.add_argument("--fonts", choices=FONTS, default="sans", help="of the figures as PDF: latex, times for papers")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="resamples for intervals")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    from wedefense.report.write import write_report
    from wedefense.scoring.results import evaluate_sets, save_results
    from wedefense.scoring.speaker import verification
    from wedefense.utils.errors import InputError
    from wedefense.utils.tables import read_table

    if (options.cohort is None) != (options.cohort_spk is None):
        raise InputError("--cohort and --cohort_spk go together")
    how = verification.SpeakerOptions(options.norm, options.top_n, not options.keep_mean)
    cohort = verification.read_cohort(options.exp_dir, options.cohort, options.cohort_spk) if options.cohort else None
    durations = {key: value for path in options.durations for key, value in read_table(path).items()} or None
    others = verification.read_embeddings(options.exp_dir, options.second_sets) if options.second_sets else None
    embeddings = verification.read_embeddings(folder := ExperimentFolder(options.exp_dir), options.sets)
    beside = verification.simpler(how, cohort is not None, options.qmf is not None)
    sets = verification.score_lists(options.trials, options.qmf, folder, lambda names, way=how: (
        verification.prepare(names, *embeddings, way, cohort, durations, others)), beside)
    bootstrap = BootstrapOptions(options.bootstrap) if options.bootstrap else None
    results, _ = evaluate_sets(sets, None, bootstrap, verification.CLASSES, verification.COSTS,
                               verification.remark(how, cohort is not None, options.qmf))
    print(save_results(folder, results))
    write_report(folder, results, sets, fonts=options.fonts)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
