"""A trained detector for elsewhere, checked against its source: TorchScript or ONNX, of any batch size and length, or
a folder that can be uploaded to a hub as it is."""

import argparse

from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.utils.arguments import add_model_options, add_sharing_options, command_parser
from wedefense.utils.errors import InputError


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("export", __doc__)
    parser.add_argument("model", metavar="MODEL",
                        help="experiment folder, checkpoint, hub id or name (wedefense models)")
    parser.add_argument("--format", default="torchscript", choices=["torchscript", "onnx", "hub"],
                        help="default: %(default)s")
    parser.add_argument("--int8", action="store_true", help="also a variant with 8-bit weights")
    parser.add_argument("--data", help="raw.list with labels: the EER of the source and of each file on it")
    parser.add_argument("--out", required=True,
                        help=f"folder for what is written, with a {NAMES.card} that describes it")
    add_sharing_options(parser.add_argument_group("with --format hub"))
    add_model_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.format == "hub" and (options.int8 or options.data):
        raise InputError("--int8 and --data go with --format torchscript or onnx")
    if options.format != "hub" and (options.onnx or options.license or options.datasets):
        raise InputError("--onnx, --license and --datasets go with --format hub")

    from wedefense.detect.export import export
    from wedefense.detect.inputs import load_model
    from wedefense.detect.loading import results_of
    from wedefense.detect.share import About, share
    from wedefense.report.model_card import write_card
    from wedefense.utils.files import require_writable

    require_writable(ExperimentFolder(options.out).card)
    model = load_model(options)
    if options.format == "hub":
        lines, card = share(model, options.out, About(options.license, tuple(options.datasets)), options.onnx)
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
