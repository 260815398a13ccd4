"""The published detectors that load by name: what they are, where they come from, what they reach."""

from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    command_parser("models", __doc__).parse_args(argv)

    from wedefense.detect.published import MODELS
    from wedefense.metrics.catalogue import MAIN
    from wedefense.report.published import NONE, load

    for model in MODELS.values():
        table, row = model.result
        rates = [f"{model.corpus}{name} {cell}" for name, metric, cell in load(table).row(row).values
                 if metric == MAIN and cell != NONE]
        print(model.name)
        print(f"  from    {model.hub_id or model.where}")
        if model.files:
            print(f"  files   {', '.join(model.files)}")
        print(f"  paper   {model.paper}")
        print(f"  EER %   {', '.join(rates)} (published)")
    print("\nwedefense score --model NAME AUDIO ...   (or the path of a file or folder that you have)")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
