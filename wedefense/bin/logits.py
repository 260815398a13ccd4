"""Stage 5: logits of a set from its embeddings."""

from wedefense.experiment.folder import NAMES
from wedefense.utils.arguments import add_sets, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("logits", __doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment folder")
    add_sets(parser, "names of sets that stage 4 embedded")
    parser.add_argument("--model", default=None, help=f"weights (default: {NAMES.average} of the experiment)")
    parser.add_argument("--trust", action="store_true", help="the experiment is mine, see wedefense score -h")
    arguments = parser.parse_args(argv)

    from wedefense.api import load_experiment
    from wedefense.scoring.stages import logits_set
    from wedefense.utils.owner import owned

    experiment = load_experiment(arguments.exp_dir, arguments.model, arguments.trust)
    with owned(arguments.exp_dir):
        for name in arguments.sets:
            print(logits_set(experiment.detector, experiment.weights, arguments.exp_dir, name))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
