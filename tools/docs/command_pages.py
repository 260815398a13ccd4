"""The page of commands: what `wedefense COMMAND -h` prints of each."""

import contextlib
import io
import os

from wedefense.cli import COMMANDS, main

INTRO = """`wedefense -h` lists them, `wedefense COMMAND -h` prints what stands here. A command ends with 0; with 1
where something was left out, such as a recording that cannot be read; with 2 where an error says in one line what is
wrong and how to mend it."""


def page() -> str:
    lines = ["# Commands", "", INTRO, ""]
    for command, text in COMMANDS.items():
        lines += [f"## {command}", "", f"{text[0].upper()}{text[1:]}.", "", "```text", _help(command), "```", ""]
    return "\n".join(lines)


def _help(command: str) -> str:
    printed, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([command, "-h"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return printed.getvalue().strip()
