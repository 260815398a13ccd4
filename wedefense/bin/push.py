"""Share a trained detector on a hub: weights, config, labels, calibration and a card with its results, in one commit.

The token is that of `hf auth login`, or $HF_TOKEN; another hub than huggingface.co is named in $HF_ENDPOINT.
"""

from wedefense.utils.arguments import add_model_options, add_sharing_options, command_parser
from wedefense.utils.hub import Push


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("push", __doc__)
    parser.add_argument("model", metavar="MODEL", help="experiment folder or checkpoint")
    parser.add_argument("hub_id", metavar="OWNER/MODEL", help="made if there is none")
    parser.add_argument("--branch", help="to commit to, made if there is none (default: main)")
    parser.add_argument("--private", action="store_true", help="where it has to be made")
    parser.add_argument("--message", default=Push.message, help="of the commit (default: %(default)s)")
    add_sharing_options(parser)
    add_model_options(parser)
    options = parser.parse_args(argv)

    from wedefense.detect.inputs import load_model

    print(load_model(options).push_to_hub(options.hub_id, revision=options.branch, private=options.private,
                                          message=options.message, license=options.license, datasets=options.datasets,
                                          onnx=options.onnx))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
