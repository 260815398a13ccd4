"""Stage 4: average the weights of the last epochs (or of the best ones) into models/avg_model.pt."""

import argparse

from wedefense.config.loader import load_config


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense average", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file; num_avg and average choose the epochs")
    arguments, overrides = parser.parse_known_args(argv)
    config = load_config(arguments.config, overrides)

    from wedefense.experiment import checkpoint
    from wedefense.experiment.folder import ExperimentFolder

    epochs = checkpoint.epochs_to_average(config)
    target = ExperimentFolder(config.exp_dir).average
    checkpoint.save(target, checkpoint.average(config.exp_dir, epochs))
    print(f"{target}: average of epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, epochs))}")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
