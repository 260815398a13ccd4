"""Stage 3: train the detector that a config describes; an interrupted run goes on where it was."""

from dataclasses import replace

from wedefense.config.loader import load_config
from wedefense.experiment.resume import newest_weights
from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("train", __doc__)
    parser.add_argument("--config", required=True, help="YAML file")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--fork", metavar="DIR", help="begin a new training in this folder, from the last weights of "
                                                      "--exp_dir; settings may differ")
    arguments, overrides = parser.parse_known_args(argv)
    config = load_config(arguments.config, overrides)  # refuses before anything heavy is imported
    if arguments.fork:
        config = replace(config, exp_dir=arguments.fork, model_init=str(newest_weights(config.exp_dir)))

    from wedefense.train.run import train

    train(config, arguments.device)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
