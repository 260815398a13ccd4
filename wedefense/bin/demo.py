"""A page in the browser that takes a recording, from a file or the microphone, and shows what one or two models say:
the score in words, the decision, where it is fake, and where the model looks."""

import argparse

from wedefense.utils.arguments import add_model_options, command_parser
from wedefense.utils.errors import InputError


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command_parser("demo", __doc__)
    parser.add_argument("--model", required=True, nargs="+", action="extend", metavar="MODEL",
                        help="experiment, checkpoint, hub id or name (wedefense models); two stand side by side")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for other machines too (default: %(default)s)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--share", action="store_true", help="also by a public link, through a server of gradio's")
    parser.add_argument("--longest", type=float, default=300.0, metavar="SECONDS",
                        help="of a recording (default: %(default)g)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add_model_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if len(options.model) > 1 and (options.config or options.revision):
        raise InputError("--config and --revision go with one --model; owner/model@REVISION names a revision of each")

    from wedefense.detect.demo.page import library, named_models, opened_page
    from wedefense.detect.inputs import load_model
    from wedefense.utils.distributed import start

    library()
    named, device = named_models(options.model), start(device=options.device).device
    models = {name: load_model(argparse.Namespace(**vars(options) | {"model": path})).to(device)
              for name, path in named.items()}
    opened = opened_page(models, options.host, options.port, options.share, options.longest)
    print(f"open {opened.share_url or opened.local_url} in a browser; Ctrl-C ends it", flush=True)
    opened.block_thread()
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
