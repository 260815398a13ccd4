"""All components that a config may name, kind by kind: what each is, and where it comes from."""

from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("list", __doc__)
    parser.add_argument("kind", nargs="?", help="this kind alone, such as back-end")

    from wedefense.config.components import READERS, TABLES, components, first_line, origin, readers
    from wedefense.config.registry import imported
    from wedefense.train import loggers
    from wedefense.utils.errors import InputError, did_you_mean

    kinds = {table.kind: (key, table) for key, table in TABLES.items()}
    chosen = parser.parse_args(argv).kind
    if chosen not in (None, "corpus reader", "logger", *kinds):
        raise InputError(f"unknown kind '{chosen}'{did_you_mean(chosen, (*kinds, 'corpus reader', 'logger'))}")
    for kind, (key, table) in kinds.items():
        if chosen in (None, kind):
            print(f"{kind} ({key}; plug-ins: {table.group})")
            for row in components(table):
                print(f"  {row.name:<32} {row.says}" + ("" if row.origin == "wedefense" else f" [{row.origin}]"))
    if chosen in (None, "logger"):
        print(f"logger (loggers; plug-ins: {loggers.GROUP})")
        for name, target, source in loggers.known():
            print(f"  {name:<32} {first_line(imported(target))}" + f" [{source}]" * bool(source))
    if chosen in (None, "corpus reader"):
        print(f"corpus reader (corpora of a recipe; plug-ins: {READERS}; those of WeDefense stand in tools/prepare)")
        for name, point in readers().items():
            print(f"  {name:<32} {first_line(imported(point.value))} [{origin(point)}]")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
