"""Stage 4: average the weights of the last epochs (or of the best ones) into models/avg_model.pt."""

from dataclasses import replace

from wedefense.config.loader import load_config
from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("average", __doc__)
    parser.add_argument("--config", required=True, help="YAML file; num_avg and average choose the epochs")
    arguments, overrides = parser.parse_known_args(argv)
    asked = load_config(arguments.config, overrides, scoring=True)

    from wedefense.experiment import lineage, saved_epochs
    from wedefense.experiment.folder import ExperimentFolder
    from wedefense.experiment.records import shares_of_layers
    from wedefense.utils.log import setup_logging
    from wedefense.utils.owner import owned

    setup_logging()
    folder = ExperimentFolder(asked.exp_dir)
    # all else is as it was trained
    config = load_config(folder.config, scoring=True) if folder.config.is_file() else asked
    epochs = saved_epochs.to_average(
        replace(config, exp_dir=asked.exp_dir, num_avg=asked.num_avg, average=asked.average))
    step = lineage.averaging(folder, epochs)
    with owned(folder):
        if not step.is_up_to_date():
            from wedefense.experiment import checkpoint  # with torch, which the rest does without

            with step.making() as outputs:
                weights = checkpoint.average(folder, epochs)
                checkpoint.save(folder.average, weights)
                outputs.append(folder.average)
                step.told["chosen"] = f"{asked.average} {asked.num_avg}"
                step.told["layer_weights"] = shares_of_layers(weights)
    print(f"{folder.average}: average of epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, epochs))}")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
