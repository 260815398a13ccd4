"""The recipes that came with WeDefense: a list of them, and copies to run."""

import shlex

from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("recipes", __doc__)
    copying = parser.add_subparsers(dest="action").add_parser(
        "copy", help="lay egs/, conf/ and tools/ down in a folder, ready to run")
    copying.add_argument("recipe", nargs="+", help="names as `wedefense recipes` prints them, or all")
    copying.add_argument("dir", help="a folder; recipes can be added to it later")
    args = parser.parse_args(argv)

    from wedefense import __version__
    from wedefense.config.recipes import copy, titles

    if args.action is None:
        rows = titles()
        width = max(map(len, rows))
        for name, title in rows.items():
            print(f"{name:<{width}}  {title}")
        print("\nwedefense recipes copy NAME DIR   (or all; then run DIR/egs/NAME/run.sh)")
        return 0
    for name in copy(args.recipe, args.dir):
        print(f"{shlex.quote(f'{args.dir}/egs/{name}/run.sh')}   (WeDefense {__version__})")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
