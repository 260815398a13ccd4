"""A trained detector for elsewhere, checked against its source: TorchScript or ONNX, of any batch size and length, or
a folder that can be uploaded to a hub as it is."""

import argparse

from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.utils.arguments import add_model_options, command_parser
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
    add_model_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.format == "hub" and (options.int8 or options.data):
        raise InputError("--int8 and --data go with --format torchscript or onnx")

    from wedefense.detect.export import export
    from wedefense.detect.inputs import load_model
    from wedefense.detect.loading import results_of
    from wedefense.detect.share import write_folder
    from wedefense.report.model_card import write_card
    from wedefense.utils.files import require_writable

    require_writable(ExperimentFolder(options.out).card)
    model = load_model(options)
    if options.format == "hub":
        lines = [write_folder(model, options.out)]
    else:
        source, *files = [file.summary()
                          for file in export(model, options.out, options.format, options.int8, options.data)]
        print(f"source {source}")
        lines = files
    print("\n".join(lines))
    exported = options.format != "hub"
    print(write_card(options.out, results_of(model) or options.out, lines, model.remark, exported))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
