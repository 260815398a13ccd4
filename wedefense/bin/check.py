"""Whether an experiment's artefacts are of the data, weights, settings and code that are here now.

Recipes ask before they start in the middle (`--stage 5`): an error names what changed and the stage to go back to.
"""

from wedefense.config.loader import load_config
from wedefense.utils.arguments import Switch, add_sets, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("check", __doc__)
    parser.add_argument("--config", required=True, help="YAML file; every config key is an option too")
    parser.add_argument("--stage", required=True, type=int, help="the stage that is to start")
    parser.add_argument("--data", required=True, help="data folder of the recipe")
    add_sets(parser, "the sets that are scored: dev eval", required=False)
    parser.add_argument("--train_sets", nargs="+", default=[], help="the sets that are trained on")
    parser.add_argument("--skip_bad", action=Switch, help="stage 4 is to leave out what cannot be read")
    parser.add_argument("--task", default="detection", choices=["detection", "speaker", "classes"])
    parser.add_argument("--as_trained", action=Switch,
                        help="settings and training data may be others than those of the weights")
    arguments, overrides = parser.parse_known_args(argv)
    config = load_config(arguments.config, overrides, scoring=arguments.as_trained)

    from wedefense.experiment.check import check, lists_of

    lists = lists_of(arguments.data, config.data_type, [*arguments.train_sets, *arguments.sets])
    check(config, arguments.stage, lists, arguments.sets, arguments.skip_bad, arguments.task,
          arguments.as_trained)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
