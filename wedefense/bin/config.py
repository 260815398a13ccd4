"""Check a config and print what is in use, with defaults and what each key means; explain a key; compare two."""

from wedefense.config.explain import commented, difference, explain
from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.utils.arguments import command_parser
from wedefense.utils.errors import InputError


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("config", __doc__)
    parser.add_argument("--config", help="YAML file")
    parser.add_argument("--explain", metavar="KEY", help="value, meaning, type, default, and where it was set")
    parser.add_argument("--diff", nargs=2, metavar=("A", "B"), help="YAML files or experiment folders: what differs")
    parser.add_argument("--schema", action="store_true", help="print a JSON schema of all keys, for editors")
    parser.add_argument("--print", dest="what", default="all", metavar="WHAT",
                        choices=["all", "num_gpus", "use_pruning_loss", "eval_frms", "newest_weights"],
                        help="one value alone, for scripts: num_gpus, use_pruning_loss, eval_frms or newest_weights")
    arguments, overrides = parser.parse_known_args(argv)
    if sum(map(bool, (arguments.config, arguments.diff, arguments.schema))) != 1 or arguments.schema and overrides:
        parser.error("give either --config FILE, --diff A B, or --schema alone")
    if arguments.schema:
        from wedefense.config.json_schema import schema_text

        print(schema_text())
    elif arguments.diff:
        print(differences(arguments.diff, overrides))
    elif arguments.explain:
        print(explain(arguments.config, overrides, arguments.explain))
    else:
        print(told(load_config(arguments.config, overrides), arguments.what))
    return 0


def told(config: Config, what: str) -> str:
    for_recipes = {"num_gpus": len(config.gpus), "use_pruning_loss": str(config.use_pruning_loss).lower(),
                   "eval_frms": config.dataset_args.eval_frms}
    if what in for_recipes:
        return str(for_recipes[what])
    if what == "newest_weights":
        from wedefense.experiment.resume import newest_weights

        return str(newest_weights(config.exp_dir))
    from wedefense.frontend.names import require_known

    require_known(config)
    return commented(config)


def differences(places: list[str], overrides: list[str]) -> str:
    from wedefense.experiment.folder import config_of

    if overrides:
        raise InputError(f"{overrides[0]}: --diff takes two configs as they are")
    found = difference(*map(config_of, places))
    return "\n".join([f"{key}: {here} -> {there}" for key, here, there in found] or ["no difference"])


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
