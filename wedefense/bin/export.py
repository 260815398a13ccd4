"""A trained detector as TorchScript or ONNX, of any batch size and length, checked against its source."""

import argparse


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wedefense export", description=__doc__)
    parser.add_argument("model", metavar="EXP", help="experiment folder, checkpoint, hub id or name (wedefense models)")
    parser.add_argument("--config", help="the YAML of a checkpoint that does not lie in its experiment")
    parser.add_argument("--format", default="torchscript", choices=["torchscript", "onnx"])
    parser.add_argument("--int8", action="store_true", help="also a variant with 8-bit weights")
    parser.add_argument("--data", help="raw.list with labels: the EER of the source and of each file on it")
    parser.add_argument("--out", required=True, help="folder for the files, MODEL.md and export.json")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    from wedefense.api import load_detector
    from wedefense.detect.card import write_card
    from wedefense.detect.export import export
    from wedefense.detect.loading import results_of
    from wedefense.frontend.ssl.download import set_offline

    if options.offline:
        set_offline()
    model = load_detector(options.model, config=options.config)
    written = export(model, options.out, options.format, options.int8, options.data)
    for file in written:
        print(file.told())
    print(write_card(options.out, results_of(model) or options.out, [file.told() for file in written[1:]], model.remark))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
