"""Stage 3: train the detector that a config describes; an interrupted run goes on where it was."""

import argparse
import os

from wedefense.config.loader import load_config, save_config
from wedefense.experiment.folder import ExperimentFolder


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="wedefense train", description=__doc__,
        epilog="every config key is an option too: --num_epochs 3 --dataloader_args.batch_size 64")
    parser.add_argument("--config", required=True, help="YAML file")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    arguments, overrides = parser.parse_known_args(argv)
    config = load_config(arguments.config, overrides)  # refuses before anything heavy is imported
    if os.environ.get("RANK", "0") == "0":
        save_config(config, ExperimentFolder(config.exp_dir).config)

    from wedefense.train.run import train

    train(config, arguments.device)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
