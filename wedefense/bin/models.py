"""The published detectors that load by name: what they are, where they come from, what they reach."""

from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("models", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="tell of these alone; the beginning of a name will do")
    names = tuple(name.lower().replace("-", "_") for name in parser.parse_args(argv).names)

    from wedefense.detect.published import MODELS
    from wedefense.metrics.catalogue import MAIN
    from wedefense.report.published import NONE, load
    from wedefense.utils.errors import InputError, did_you_mean

    chosen = [model for name, model in MODELS.items() if not names or name.startswith(names)]
    for name in names:
        if not any(model.name.startswith(name) for model in chosen):
            raise InputError(f"unknown model '{name}'{did_you_mean(name, MODELS)}")
    for model in chosen:
        table, row = model.result
        rates = [f"{model.corpus}{name} {cell}" for name, metric, cell in load(table).row(row).values
                 if metric == MAIN and cell != NONE]
        print(model.name)
        print(f"  from    {model.hub_id or model.where}")
        if model.files:
            print(f"  files   {', '.join(model.files)}")
        print(f"  licence {model.licence}")
        print(f"  paper   {model.paper}")
        print(f"  hears   {model.hears}")
        print(f"  score   {model.score}")
        print(f"  EER %   {', '.join(rates)} (published)")
    print("\nwedefense score --model NAME AUDIO ...   (or the path of a file or folder that you have)")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
