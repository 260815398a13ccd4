"""A trained detector for elsewhere, checked against its source: TorchScript or ONNX, of any batch size and length, or
a folder that can be uploaded to a hub as it is, as a model or as a Space with the page of `wedefense demo`."""

import argparse

from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.utils.arguments import add_model_options, add_sharing_options, command_parser
from wedefense.utils.errors import InputError


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("export", __doc__)
    parser.add_argument("model", metavar="MODEL", help="experiment, checkpoint, hub id or name (wedefense models)")
    parser.add_argument("--format", default="torchscript", help="default: %(default)s",
                        choices=["torchscript", "onnx", "hub", "space"])
    parser.add_argument("--int8", action="store_true", help="also a variant with 8-bit weights")
    parser.add_argument("--data", help="raw.list with labels: the EER of the source and of each file on it")
    parser.add_argument("--out", required=True, help=f"folder to write to, with a {NAMES.card} or README of it")
    sharing = parser.add_argument_group("with --format hub or space")
    sharing.add_argument("--package", default="", metavar="URL", help="what a Space installs WeDefense from")
    add_sharing_options(sharing)
    add_model_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    shared = options.format in ("hub", "space")
    if shared and (options.int8 or options.data):
        raise InputError("--int8 and --data go with --format torchscript or onnx")
    if (not shared and (options.license or options.datasets)) or (options.onnx and options.format != "hub") or (
            options.package and options.format != "space"):
        raise InputError("--onnx goes with --format hub, --package with space, --license and --datasets with both")

    from wedefense.detect.demo.space import write_space
    from wedefense.detect.export import export
    from wedefense.detect.inputs import load_model
    from wedefense.detect.loading import results_of
    from wedefense.detect.share import About, share
    from wedefense.report.model_card import write_card
    from wedefense.utils.files import require_writable

    require_writable(ExperimentFolder(options.out).card)
    model = load_model(options)
    about = About(options.license, tuple(options.datasets))
    if options.format == "space":
        lines, card = write_space(model, options.model, options.out, about, options.package, options.revision)
    elif options.format == "hub":
        lines, card = share(model, options.out, about, options.onnx)
    else:
        source, *lines = [file.summary()
                          for file in export(model, options.out, options.format, options.int8, options.data)]
        print(f"source {source}")
        card = write_card(options.out, results_of(model) or options.out, lines, model.remark, exported=True)
    print("\n".join([*lines, str(card)]))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
