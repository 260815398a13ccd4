"""Names that come from elsewhere, as they may be shown: they never speak to a terminal or to a spreadsheet."""

import io
import re

# control characters, line and paragraph separators, marks that turn the direction of writing, halves of characters
# (which stand for the bytes of names that are not UTF-8)
_SPEAKS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@")


def visible(text: str, but: str = "") -> str:
    r"""With what a terminal would obey written out; `but` stays as it is.

    >>> print(visible("\x1b[2J\n"))
    \x1b[2J\x0a
    >>> print(visible("a\nb\t\x07", but="\n\t"))
    a
    b	\x07
    """
    return _SPEAKS.sub(lambda found: found[0] if found[0] in but else _written(ord(found[0])), text)


def _written(code: int) -> str:
    if 0xdc80 <= code <= 0xdcff:  # a byte that is no UTF-8
        code -= 0xdc00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def cell(text: str) -> str:
    """A cell of a table that spreadsheets read: none of them takes it for a formula.

    >>> cell("=cmd|' /C calc'!A0"), cell("a.wav")
    ("'=cmd|' /C calc'!A0", 'a.wav')
    """
    text = visible(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def from_cell(text: str) -> str:
    """The inverse of `cell`, for what was harmless before."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text


class Guarded:
    """A text stream through which nothing speaks to a terminal; `stream` is the one behind it."""

    def __init__(self, stream):
        self.stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the terminal's own encoding lacks a character

    def write(self, text: str) -> int:
        self.stream.write(visible(text, but="\n\t"))
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)
