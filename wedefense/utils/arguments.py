"""Options that several commands have, said once."""

import argparse


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """How a detector is found and loaded, beside its name."""
    parser.add_argument("--config", help="the YAML of a checkpoint that does not lie in its experiment")
    parser.add_argument("--download_dir", help="where downloads are kept (default: ~/.cache/wedefense)")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    parser.add_argument("--trust", action="store_true", help="its config may name code and files elsewhere")
