"""Check a config and print it with every default filled in."""

import argparse

import yaml

from wedefense.config.loader import load_config
from wedefense.config.typed import to_builtin


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense config", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file")
    parser.add_argument("--print", dest="what", default="all",
                        choices=["all", "num_gpus", "use_pruning_loss", "eval_frms", "newest_weights"])
    arguments, overrides = parser.parse_known_args(argv)
    config = load_config(arguments.config, overrides)
    if arguments.what == "num_gpus":
        print(len(config.gpus))
    elif arguments.what == "use_pruning_loss":
        print(str(config.use_pruning_loss).lower())
    elif arguments.what == "eval_frms":
        print(config.dataset_args.eval_frms)
    elif arguments.what == "newest_weights":
        from wedefense.experiment.resume import newest_weights

        print(newest_weights(config.exp_dir))
    else:
        print(yaml.safe_dump(to_builtin(config), sort_keys=False, allow_unicode=True), end="")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
