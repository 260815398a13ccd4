"""Read a corpus as it was released into data folders, by its row of tools/layouts.yaml or by a reader from outside.

    python tools/prepare/corpus.py                                  # which corpora there are, licence and page of each
    python tools/prepare/corpus.py decro --corpus DIR --out data    # data/<set>/wav.scp, utt2lab, utt2spk, ...
"""

import argparse
from pathlib import Path

from wedefense.config.components import readers
from wedefense.config.registry import found
from wedefense.data.layouts import Layout, read_layouts
from wedefense.data.prepare import run
from wedefense.utils.errors import InputError, did_you_mean

LAYOUTS = Path(__file__).parents[1] / "layouts.yaml"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--sets", nargs="+", help="read these sets alone")
    parser.add_argument("--subset", action="store_true", help="the corpus is meant to be smaller than the release")
    parser.add_argument("--layouts", type=Path, default=LAYOUTS, help="another table of layouts")
    arguments, rest = parser.parse_known_args(argv)
    plugins, layouts = readers(), read_layouts(arguments.layouts)
    if arguments.name is None:
        print(listing(layouts) if not rest else f"{__doc__}\n{listing(layouts)}")
        return 0
    if arguments.name in plugins or ":" in arguments.name:
        name = plugins[arguments.name].value if arguments.name in plugins else arguments.name
        return found(name, "corpus reader")(rest)
    if arguments.name not in layouts:
        known = (*layouts, *plugins)
        raise InputError(f"{arguments.layouts}: no corpus '{arguments.name}'{did_you_mean(arguments.name, known)}")
    layout = layouts[arguments.name].restricted_to(arguments.sets or layouts[arguments.name].sets)
    return run(layout.read, f"{layout.title}: {layout.page}", {} if arguments.subset else layout.complaints, rest)


def listing(layouts: dict[str, Layout]) -> str:
    width = max(map(len, layouts))
    return "\n".join(f"{name:<{width}}  {layout.title}; {layout.licence}; {layout.page}"
                     for name, layout in sorted(layouts.items()))


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
