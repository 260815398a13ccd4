"""Stage 6: log-likelihood ratios of a set from its logits and the training priors."""

from wedefense.utils.arguments import add_sets, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("llr", __doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment folder")
    add_sets(parser, "names of sets whose logits stage 5 wrote")
    arguments = parser.parse_args(argv)

    from wedefense.data.labels import Labels
    from wedefense.experiment.folder import ExperimentFolder
    from wedefense.scoring.stages import llr_set
    from wedefense.utils.owner import owned

    labels = Labels.load(ExperimentFolder(arguments.exp_dir).labels)
    with owned(arguments.exp_dir):
        for name in arguments.sets:
            print(llr_set(arguments.exp_dir, name, labels))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
