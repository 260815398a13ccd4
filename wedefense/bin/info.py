"""What a thing is: a detector or encoder and its parts, an experiment, data, scores, results, a config, a recording."""

import shutil
import textwrap

from wedefense.utils.arguments import add_model_options, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("info", __doc__)
    parser.add_argument("path", nargs="?", help="folder or file of any kind, hub id, URL, name; none: known names")
    add_model_options(parser)
    arguments = parser.parse_args(argv)
    if arguments.path is None:
        print_names()
        return 0

    from wedefense.detect.about_files import about

    rows = None if arguments.config else about(arguments.path, arguments.trust)
    if rows is None:
        from wedefense.detect.about import model_or_checkpoint  # it loads torch, which takes seconds

        rows = model_or_checkpoint(arguments)
    width = max(map(len, rows)) + 2
    room = shutil.get_terminal_size((0, 0)).columns - width  # none in a pipe or a file, where a value is one line
    for key, value in rows.items():
        lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False) if room > 0 else [value]
        print(f"{key:<{width}}" + f"\n{'':<{width}}".join(lines))
    return 0


def print_names() -> None:
    from wedefense.frontend.ssl.zoo import MODELS

    for model in MODELS.values():
        architecture = model.architecture
        print(f"{model.name:<32} {architecture.num_blocks:>2} blocks of {architecture.dim:>4}  "
              f"{model.hub_id or 'seeded random weights' if model.seed or model.hub_id else model.files[0]}")


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
