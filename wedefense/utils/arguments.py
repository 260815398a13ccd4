"""Options that several commands have, said once."""

import argparse
import difflib
import sys
from collections.abc import Sequence

from wedefense.utils.examples import EXAMPLES, NOTES
from wedefense.utils.log import get_logger

Values = str | Sequence[str] | None


def command_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `wedefense COMMAND`; its help ends with examples."""
    lines = [f"  {line}" for line in EXAMPLES[command]]
    return _Parser(prog=f"wedefense {command}", description=description, formatter_class=_Paragraphs,
                   epilog="\n".join([NOTES.get(command, ""), "\nexamples:", *lines]).strip())


class _Parser(argparse.ArgumentParser):
    """An option that there is not is named before one that is missing, with the nearest that there is."""

    def parse_args(self, args=None, namespace=None):
        known = sorted({name[2:] for action in self._actions for name in action.option_strings if name[:2] == "--"})
        for word in sys.argv[1:] if args is None else args:
            name = word.partition("=")[0]
            if word == "--":
                break
            if name.startswith("--") and not any(option.startswith(name[2:]) for option in known):
                near = difflib.get_close_matches(name[2:], known, 1, 0.5)
                self.error(f"unknown option {name}" + (f", did you mean --{near[0]}?" if near else "; see -h"))
        return super().parse_args(args, namespace)


class _Paragraphs(argparse.HelpFormatter):
    """Fills each paragraph for itself; examples stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(part if part.startswith(("examples:", "  ")) else super(_Paragraphs, self)._fill_text(
            part, width, indent) for part in paragraphs)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """How a detector is found and loaded, beside its name."""
    parser.add_argument("--config", help="the YAML of a checkpoint that does not lie in its experiment")
    parser.add_argument("--download_dir", help="where downloads are kept (default: ~/.cache/wedefense)")
    parser.add_argument("--revision", help="of a hub id: branch, tag or commit; owner/model@REVISION says the same")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    parser.add_argument("--trust", action="store_true",
                        help="a folder of mine: its config may name code and files elsewhere")


def add_sharing_options(parser: argparse._ActionsContainer) -> None:
    """What goes into a shared folder beside the detector."""
    parser.add_argument("--license", default="", help="for the card, as hubs call it: cc-by-4.0, mit ... (unknown)")
    parser.add_argument("--datasets", nargs="+", default=[], help="for the card: what it was trained on, ids or names")
    parser.add_argument("--onnx", action="store_true", help="put an ONNX file beside it")


def add_sets(parser: argparse.ArgumentParser, help: str, required: bool = True) -> None:
    """`--sets dev eval`, one name for it in all commands; `"dev eval"` in one piece is taken too."""
    parser.add_argument("--sets", "--set", nargs="+", default=[], required=required, action=_Sets, help=help)


def positive_number(text: str) -> int:
    """A type of options."""
    return count(text, 1)


def count(text: str, least: int = 0) -> int:
    """Another."""
    if int(text) < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
    return int(text)


class Renamed(argparse.Action):
    """Stores a value; its first name is the one it has now, and by an older one it is told."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Values,
                 option_string: str | None = None) -> None:
        now = self.option_strings[0]
        if option_string not in (None, now):
            get_logger().warning("%s is called %s now; the old name still does", option_string, now)
        setattr(namespace, self.dest, values)


class _Sets(Renamed):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Values,
                 option_string: str | None = None) -> None:
        super().__call__(parser, namespace, " ".join(values or ()).split(), option_string)


class Switch(argparse.Action):
    """An option without a value; with true or false, as some were written once, it is told."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest, nargs="?", const="", default=False, choices=["", "true", "false"],
                         help=help, metavar="true|false")

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Values,
                 option_string: str | None = None) -> None:
        if values:
            get_logger().warning("%s %s: say %s alone, or leave it out; the old way still does", option_string, values,
                                 option_string)
        setattr(namespace, self.dest, values != "false")
