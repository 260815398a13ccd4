"""What a checkpoint is: family, layers, parameters, format, normalisation."""

import argparse


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense info", description=__doc__)
    parser.add_argument("path", nargs="?", help="file, folder, hub id, URL or name; without it, the known names")
    parser.add_argument("--download_dir", help="where downloads are kept (default: ~/.cache/wedefense)")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    arguments = parser.parse_args(argv)
    if arguments.path is None:
        print_names()
        return 0

    from wedefense.config.frontend import FRONTENDS
    from wedefense.frontend.load import frontend_of
    from wedefense.utils.download import set_offline
    from wedefense.utils.errors import InputError

    if arguments.offline:
        set_offline()
    kind = frontend_of(arguments.path)
    if FRONTENDS.row(kind).self_contained:
        raise InputError(f"{kind} has no checkpoint: all there is to it are its options, dataset_args.{kind}_args")
    rows = FRONTENDS.load(kind).summary(arguments.path, arguments.download_dir)
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")
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
